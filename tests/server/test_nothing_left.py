"""Requests of every kind and every end leave nothing behind in the server's memory."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from calling import CHAT, TEXT
from in_process import REPLY
from served import finishes, over_http, places

from verity.engines.scripted import ScriptedEngine
from verity.errors import EngineError
from verity.server.running import Running
from verity.server.serving import Serving

REQUESTS = 300


class Moody(ScriptedEngine):
    """Fails at whatever begins with a sad prompt."""

    def step(self, parts: Any) -> Any:
        rows = super().step(parts)
        if any(b"sad" in bytes(token % 256 for token in self._tokens[part.sequence][:40]) for part in parts):
            raise EngineError("no more")
        return rows


def body(content: str, **members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"model": "scripted", "messages": messages, "temperature": 0, "max_tokens": 30, **members}


async def whole(http: httpx.AsyncClient, number: int) -> None:
    assert (await http.post(CHAT, json=body(f"Whole {number}", n=1 + number % 2))).status_code in (200, 500)


async def stream(http: httpx.AsyncClient, number: int) -> None:
    await http.post(CHAT, json=body(f"Stream {number}", stream=True, logprobs=True))


async def text(http: httpx.AsyncClient, number: int) -> None:
    await http.post(TEXT, json={"model": "scripted", "prompt": [f"{number}", "Once"], "max_tokens": 5})


async def leaves_stream(http: httpx.AsyncClient, number: int) -> None:
    async with http.stream("POST", CHAT, json=body(f"Leaving {number}", stream=True)) as response:
        async for _ in response.aiter_bytes():
            return


async def leaves_early(http: httpx.AsyncClient, number: int) -> None:
    task = asyncio.ensure_future(http.post(CHAT, json=body(f"Early {number}", stream=bool(number % 2))))
    await asyncio.sleep(0.001 * (number % 8))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def embeds(http: httpx.AsyncClient, number: int) -> None:
    await http.post("/v1/embeddings", json={"model": "scripted", "input": ["one", f"text {number}"]})


async def errs(http: httpx.AsyncClient, number: int) -> None:
    for wrong in (body("x" * 6000), body("?", top_p=7.0), body("sad", stream=bool(number % 2)), {"model": 5}):
        assert (await http.post(CHAT, json=wrong)).status_code in (200, 400, 500)


KINDS = (whole, stream, text, leaves_stream, leaves_early, embeds, errs)


async def asked(address: str) -> None:
    """All the requests, a few at a time."""
    draw, few = random.Random(1), asyncio.Semaphore(12)

    async with httpx.AsyncClient(base_url=address, timeout=120) as http:

        async def one(number: int) -> None:
            async with few:
                await draw.choice(KINDS)(http, number)

        await asyncio.gather(*(one(number) for number in range(REQUESTS)))


async def idle(serving: Serving) -> None:
    """Returns when nothing is held, nor comes any more: who left early may still be on his way in."""
    quiet = 0
    while quiet < 10:
        await asyncio.wrap_future(serving.worker.call(lambda _: None))
        await asyncio.sleep(0.01)
        quiet = 0 if any(places(serving)) else quiet + 1


def test_requests_of_every_end(home: Path) -> None:
    async def main() -> None:
        async with over_http(home, Moody(REPLY, sequences=4, delay_s=0.0005), queue=60) as (serving, address):
            await asked(address)
            await asyncio.wait_for(idle(serving), 60)
            scheduler = next(iter(serving.worker._residents.values())).scheduler
            assert not scheduler.busy
            assert not serving.worker._calls
            gc.collect()
            assert [each for each in gc.get_objects() if isinstance(each, Running)] == []

    asyncio.run(main())
    assert {"end", "cancelled", "error", "length"} <= set(finishes(home))


def test_answers_that_time_out(home: Path) -> None:
    async def main() -> None:
        engine = ScriptedEngine(REPLY, sequences=2)
        async with over_http(home, engine, queue=60, timeout_s=0.2) as (serving, address):
            await serving.preload("scripted")
            engine._delay_s = 0.02
            async with httpx.AsyncClient(base_url=address, timeout=120) as http:
                got = await asyncio.gather(*(http.post(CHAT, json=body(f"{n}")) for n in range(10)))
            assert {response.status_code for response in got} == {504}
            await asyncio.wait_for(idle(serving), 60)

    asyncio.run(main())
    assert set(finishes(home)) == {"cancelled"}


@pytest.mark.parametrize("kind", [leaves_stream, leaves_early])
def test_a_server_of_one_place_serves_the_next_caller(home: Path, kind: Any) -> None:
    async def main() -> None:
        engine = ScriptedEngine(REPLY, delay_s=0.002)
        async with (
            over_http(home, engine, queue=0) as (serving, address),
            httpx.AsyncClient(base_url=address, timeout=120) as http,
        ):
            for number in range(5):
                await kind(http, number)
                await asyncio.wait_for(idle(serving), 60)
            assert (await http.post(CHAT, json=body("And now?"))).status_code == 200

    asyncio.run(main())


def test_who_does_not_read_his_stream_keeps_no_place(home: Path) -> None:
    async def main() -> None:
        async with (
            over_http(home, ScriptedEngine(REPLY * 40), queue=0) as (serving, address),
            httpx.AsyncClient(base_url=address, timeout=120) as http,
        ):
            asked = json.dumps(body("Never read", stream=True, logprobs=True, top_logprobs=20) | {"max_tokens": 1500})
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            with socket.create_connection((http.base_url.host, http.base_url.port)) as reader:
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.sendall(f"{head}Content-Length: {len(asked)}\r\n\r\n{asked}".encode())
                while not any(places(serving)):
                    await asyncio.sleep(0.001)
                await asyncio.wait_for(idle(serving), 60)
                assert (await http.post(CHAT, json=body("And now?"))).status_code == 200

    asyncio.run(main())
    assert finishes(home) == ["length", "length"]
