"""Beside answers: embeddings take their turn, checks are made one at a time, and failures are not logged."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import REPLY
from served import asking, collect, finishes, run, settled

from verity.engines.scripted import ScriptedEngine
from verity.errors import Busy, EngineError
from verity.server.serving import Serving


class Noting(ScriptedEngine):
    """Notes what is computed, in order."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.done: list[str] = []

    def step(self, parts: Any) -> Any:
        self.done.append("step")
        return super().step(parts)

    def hidden(self, tokens: Any) -> Any:
        self.done.append("text")
        time.sleep(0.002)
        return super().hidden(tokens)


def test_embeddings_do_not_starve_answers(home: Path) -> None:
    engine = Noting(REPLY, sequences=2)

    async def work(server: Serving) -> None:
        embeddings = [asyncio.ensure_future(server.embed("scripted", ["text"] * 60)) for _ in range(4)]
        while "text" not in engine.done:
            await asyncio.sleep(0.001)
        engine.done.clear()
        assert (await collect(server, asking()))[0] == REPLY
        assert "text step" in " ".join(engine.done)
        assert "text text" not in " ".join(engine.done[engine.done.index("step") : _last(engine.done, "step")])
        assert [len((await each).vectors) for each in embeddings] == [60] * 4
        await settled(server)

    run(home, work, engine)
    assert sorted(set(finishes(home))) == ["end"]


def _last(done: list[str], what: str) -> int:
    return len(done) - done[::-1].index(what)


def test_an_embedding_keeps_its_place_until_it_is_over(home: Path) -> None:
    engine = Noting(REPLY)

    async def work(server: Serving) -> None:
        asked = asyncio.ensure_future(server.embed("scripted", ["text"] * 1000))
        while "text" not in engine.done:
            await asyncio.sleep(0.001)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert server._admitted == 1
        await asyncio.wait(server._tasks)
        await settled(server)
        assert engine.done.count("text") < 1000

    run(home, work, engine)
    assert finishes(home) == ["cancelled"]


def test_a_failure_that_nobody_waits_for_is_not_logged(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(server: Serving) -> None:
        await server.preload("scripted")
        wrong = (
            server.answer(asking(sampling={"my secret": 1.0})),
            server.embed("scripted", ["my secret " * 1000]),
            server.verify(b"my secret", {}),
        )
        for each in wrong:
            task = asyncio.ensure_future(each)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if server._tasks:
            await asyncio.wait(server._tasks)
        assert server.checker._present is not None
        await asyncio.gather(asyncio.wrap_future(server.checker._present), return_exceptions=True)
        await settled(server)

    run(home, work)
    gc.collect()
    assert caplog.text == ""


def test_a_check_that_nobody_waits_for_still_keeps_others_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hangs(*_: Any, **__: Any) -> Any:
        begun.set()
        go_on.wait()
        raise EngineError("over")

    monkeypatch.setattr("verity.verify", hangs)

    async def work(server: Serving) -> None:
        first = asyncio.ensure_future(server.verify(b"{}", {}))
        await asyncio.to_thread(begun.wait)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(Busy):
            await server.verify(b"{}", {})
        go_on.set()
        present = server.checker._present
        assert present is not None
        with pytest.raises(EngineError):
            await asyncio.wrap_future(present)
        with pytest.raises(EngineError):
            await server.verify(b"{}", {})

    try:
        run(home, work)
    finally:
        go_on.set()
