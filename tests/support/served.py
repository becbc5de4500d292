"""A device at work on the scripted engine, without HTTP, and what is on its record afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from in_process import REPLY

import verity
from verity.engines.scripted import ScriptedEngine
from verity.server.answering import Asking, Ended
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
