"""``kill -9`` under load: what callers were told is on record, and what was accepted is closed at the next start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from calling import CHAT
from command import PROGRAM
from scripted_server import REPLY

import verity
from verity.engines.scripted import ScriptedEngine
from verity.node import Node
from verity.server.traffic import RECEIPT_HEADER

CLIENTS = 16
SCRIPT = Path(__file__).parent.parent / "support" / "scripted_server.py"
Seen = dict[str, str | None]
"""By receipt: the text that a client got in full, or None while it was under way."""


@contextlib.contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server's process and its address; killed at the end."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        yield process, json.loads(line)["url"] if line.startswith("{") else line
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def client(address: str, number: int, model: str, seen: Seen) -> None:
    """Asks again and again until the server is gone, streams and whole answers in turn."""
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        for turn in range(1000):
            body: dict[str, Any] = {
                "model": model,
                "messages": [{"role": "user", "content": f"Client {number}, turn {turn}: why?"}],
            }
            body |= {"temperature": 0.0, "max_tokens": 20 + 40 * (number % 3), "stream": (number + turn) % 2 == 0}
            async with http.stream("POST", CHAT, json=body) as response:
                assert response.status_code == 200
                receipt = response.headers[RECEIPT_HEADER]
                seen[receipt] = None
                text = (await response.aread()).decode()
            seen[receipt] = _streamed(text) if body["stream"] else json.loads(text)["choices"][0]["message"]["content"]


def _streamed(text: str) -> str:
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    deltas = [json.loads(event.removeprefix("data: "))["choices"] for event in events[:-2]]
    return "".join(choice["delta"].get("content") or "" for choices in deltas for choice in choices)


async def load(process: subprocess.Popen[str], address: str, model: str, seen: Seen, draw: random.Random) -> None:
    """All clients at once, and in the middle of it the kill: after some answers, at any moment."""
    clients = [asyncio.ensure_future(client(address, number, model, seen)) for number in range(CLIENTS)]
    before, wanted = len(seen), draw.randint(3, 30)
    while len(seen) < before + wanted and not all(each.done() for each in clients):
        await asyncio.sleep(0.01)
    await asyncio.sleep(draw.uniform(0.0, 0.1))
    process.kill()
    for ended in await asyncio.gather(*clients, return_exceptions=True):
        assert isinstance(ended, httpx.TransportError), ended


def check(node: Node, seen: Seen) -> dict[str, int]:
    """Everything on record holds together, and with what clients saw; returns how many ended in which way."""
    assert node.check_log() == []
    results: dict[str, dict[str, Any]] = {}
    places = []
    for kept in node.exporter.receipts.all():
        assert kept.result_position is not None, f"{kept.id} is open"
        places += [kept.intent_position, kept.result_position]
        assert kept.intent_position < kept.result_position
        if kept.kind == "generation":
            results[kept.id] = node.exporter.receipts.private(kept)[1].result or {}
    assert len(set(places)) == len(places)  # each intent has one result
    assert len(places) + 1 == node.log.size()  # and the log nothing else, but the numerics that were declared
    for receipt, text in seen.items():
        assert receipt in results
        if text is not None:
            assert results[receipt]["output/text"] == text
            assert results[receipt]["output/finish"] in ("end", "length")
    ends = [result["output/finish"] for result in results.values()]
    return {end: ends.count(end) for end in ends}


def rounds(home: Path, environment: dict[str, str], count: int, seed: int) -> None:
    draw, seen, ends = random.Random(seed), Seen(), dict[str, int]()
    command = [sys.executable, str(SCRIPT), str(home), "0.004"]
    for _ in range(count):
        with started(command, environment) as (process, address):  # its start closes what the one before left
            with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
                ends = check(node, seen)
            asyncio.run(load(process, address, "scripted", seen, draw))
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        node.recorder.close_orphans()
        ends = check(node, seen)
    assert ends["aborted"] >= count
    assert any(seen.values())


def test_kill_under_load(home: Path, command_environment: dict[str, str]) -> None:
    rounds(home, command_environment, 3, seed=1)


@pytest.mark.slow
def test_kill_under_load_ten_times(home: Path, command_environment: dict[str, str]) -> None:
    rounds(home, command_environment, 10, seed=2)


@pytest.mark.slow
@pytest.mark.model
def test_kill_under_load_on_the_real_model(model_home: Path, command_environment: dict[str, str]) -> None:
    name, seen = "smollm2-135m-instruct", Seen()
    options = ["--port", "0", "--json", "--model", name, "--parallel", "4", "--context", "256", "--threads", "1"]
    command = [sys.executable, "-c", PROGRAM, "serve", *options, "--home", str(model_home)]
    with started(command, command_environment) as (process, address):
        asyncio.run(load(process, address, name, seen, random.Random(3)))
    with verity.open(model_home, threads=1) as node:
        node.recorder.close_orphans()
        assert node.check_log() == []
        kept = {each.id: each for each in node.exporter.receipts.all()}
        assert all(each.result_position is not None for each in kept.values())
        assert set(seen) <= set(kept)
