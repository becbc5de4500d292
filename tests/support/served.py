"""A device at work on the scripted engine, without HTTP or with it, and what is on its record afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from in_process import REPLY

import verity
from verity.engines.scripted import ScriptedEngine
from verity.server.answering import Asking, Ended
from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys
from verity.server.patience import Patience
from verity.server.serving import Serving, Settings
from verity.statements.receipt import Message


def asking(text: str = "Why?", **options: Any) -> Asking:
    options = {"sampling": {"temperature": 0.0}, "max_tokens": 100, **options}
    return Asking(model="scripted", messages=[Message("user", text)], **options)


async def collect(serving: Serving, wanted: Asking) -> tuple[str, Ended, str]:
    answer = await serving.answer(wanted)
    text = "".join([piece.text async for piece in answer])
    assert answer.ended is not None
    return text, answer.ended, answer.receipt


@asynccontextmanager
async def opened(home: Path, engine: ScriptedEngine, **settings: Any) -> AsyncIterator[Serving]:
    serving = Serving(home, Settings(parallel=engine.sequences, **settings), engine=engine)
    await serving.start()
    try:
        yield serving
    finally:
        await serving.stop(0.0)


def run(home: Path, work: Callable[[Serving], Awaitable[None]], engine: ScriptedEngine | None = None, **settings: Any):  # type: ignore[no-untyped-def]
    async def main() -> None:
        async with opened(home, engine or ScriptedEngine(REPLY, sequences=4), **settings) as serving:
            await work(serving)

    asyncio.run(main())


def finishes(home: Path) -> list[str]:
    """How every receipt of the device ended, in the order of the log."""
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        assert node.check_log() == []
        kept = list(node.exporter.receipts.all())
        assert all(k.result_position is not None for k in kept)
        return [node.exporter.receipts.private(k)[1].result["output/finish"] for k in kept]


OWNER = "verity-owner-" + "k" * 32


@asynccontextmanager
async def over_http(home: Path, engine: ScriptedEngine, **settings: Any) -> AsyncIterator[tuple[Serving, str]]:
    """A whole server in this loop, on a real socket, and its address."""
    async with opened(home, engine, **settings) as serving, served(make_app(serving, Rules(Keys(OWNER)))) as port:
        yield serving, f"http://127.0.0.1:{port}"


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    """The port of an application on connections that have patience."""
    config = uvicorn.Config(app, http=Patience, lifespan="off", ws="none", log_config=None, port=0)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.force_exit = True
        await server.shutdown()


def places(server: Serving) -> tuple[int, int, int, int]:
    """Answers admitted, tasks, answers under way, leases: all zero when nothing is."""
    leases = sum(resident.leases for resident in server.worker._residents.values())
    return server._admitted, len(server._tasks), len(server._answers), leases


async def settled(server: Serving) -> None:
    """Once the worker has done what was called for, nothing is held any more."""
    await asyncio.wrap_future(server.worker.call(lambda _: None))
    await asyncio.sleep(0)
    assert places(server) == (0, 0, 0, 0)
