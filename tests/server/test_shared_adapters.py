"""Answers with different adapters at once on one engine: each is what it is alone, and replays exactly."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from calling import CHAT
from gguf import tiny
from in_process import REPLY, in_process
from lora import TINY, lora
from served import OWNER, asking, collect, run, served

import verity
from verity.engines.scripted import ScriptedEngine
from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys
from verity.server.serving import Serving, Settings
from verity.store.adapters import Adapters
from verity.store.pull import pull
from verity.verify.report import Report

SETS: list[Any] = [None, ["calm"], [{"name": "short", "scale": 0.5}], ["calm", {"name": "short", "scale": 0.5}]]
Got = list[tuple[str, bytes]]
"""Texts with their bundles, in the order of SETS."""


def with_adapters(home: Path, base: str) -> None:
    with verity.open(home, threads=1) as node:
        for number, name in enumerate(("calm", "short")):
            (home / f"{name}.gguf").write_bytes(lora(base, seed=number, shapes=TINY, strength=1.0))
            Adapters(node.blobs).add(home / f"{name}.gguf")


async def ask(http: httpx.AsyncClient, model: str, adapters: Any) -> tuple[str, bytes]:
    asked = {"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 40}
    asked |= {"temperature": 1.2, "seed": 5} | ({} if adapters is None else {"adapters": adapters})
    response = await http.post(CHAT, json=asked)
    assert response.status_code == 200, response.text
    reply = response.json()
    bundle = await http.get(f"/v1/receipts/{reply['verity']['receipt']}")
    named = [each["name"] for each in reply["verity"]["parameters"].get("adapters", [])]
    assert named == [each if isinstance(each, str) else each["name"] for each in adapters or []]
    return reply["choices"][0]["message"]["content"], bundle.content


def answers(home: Path, model: str, engine: ScriptedEngine | None) -> tuple[Got, Got]:
    """With each of SETS three times: all at once, twelve answers in four places, and then alone."""

    async def main() -> tuple[Got, Got]:
        serving = Serving(home, Settings(parallel=4, threads=1, context_size=256), engine=engine)
        await serving.start()
        try:
            async with (
                served(make_app(serving, Rules(Keys(OWNER)))) as port,
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {OWNER}"}, timeout=120
                ) as http,
            ):
                together = await asyncio.gather(*(ask(http, model, each) for each in SETS * 3))
                return together, [await ask(http, model, each) for each in SETS]
        finally:
            await serving.stop(0.0)

    return asyncio.run(main())


def compare(together: Got, alone: Got) -> None:
    assert [text for text, _ in together] == [text for text, _ in alone] * 3
    assert len({text for text, _ in alone}) > 1


def exact(report: Report) -> bool:
    return report.check("replayed-exact").status == "passed"


def test_on_the_scripted_engine(home: Path) -> None:
    engine = ScriptedEngine(REPLY, sequences=4, delay_s=0.001)
    with_adapters(home, engine.model["blake3"])
    together, alone = answers(home, "scripted", engine)  # some begin while new numerics are measured
    compare(together, alone)
    for _, bundle in together + alone:
        report = verity.verify(bundle, home=home, replayer=in_process)
        assert exact(report), str(report)


def test_measuring_an_engine_that_is_answering_changes_no_answer(home: Path) -> None:
    engine = ScriptedEngine(REPLY, sequences=2)
    with_adapters(home, engine.model["blake3"])

    async def work(serving: Serving) -> None:
        await serving.preload("scripted")
        engine._delay_s = 0.01
        first = await serving.answer(asking())
        pieces = aiter(first)
        text = (await anext(pieces)).text
        await (await serving.answer(asking(adapters=[("calm", 1.0)]))).cancel()  # measures
        text += "".join([piece.text async for piece in pieces])
        assert text == (await collect(serving, asking()))[0] == REPLY

    run(home, work, engine)


@pytest.mark.model
def test_on_a_real_engine(home: Path) -> None:
    with verity.open(home, threads=1) as node:
        (home / "tiny.gguf").write_bytes(tiny())
        base = pull(str(home / "tiny.gguf"), node.blobs).blake3
    with_adapters(home, base)
    together, alone = answers(home, "tiny", None)
    compare(together, alone)
    for _, bundle in together[: len(SETS)]:
        report = verity.verify(bundle, home=home, model=base, threads=1)
        assert exact(report), str(report)
