"""Faults and races below HTTP: nobody waits for ever, no place is lost, and every intent has its result."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import REPLY, in_process
from served import asking, collect, finishes, run, settled

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import Busy, EngineError, StoreError
from verity.server.running import begin
from verity.server.serving import Serving, Settings
from verity.store.receipts import Receipts


def test_stopping_while_an_answer_is_opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = threading.Event()

    def slow(*arguments: Any) -> Any:
        opening.set()
        time.sleep(0.2)
        return begin(*arguments)

    monkeypatch.setattr("verity.server.serving.begin", slow)

    async def main() -> None:
        server = Serving(home, Settings(parallel=1), engine=ScriptedEngine(REPLY, delay_s=0.01))
        await server.start()
        asked = asyncio.ensure_future(server.answer(asking()))
        await asyncio.to_thread(opening.wait)
        await server.stop(0.0)
        answer = await asked
        assert answer.ended is not None
        assert answer.ended.finish == "cancelled"

    asyncio.run(asyncio.wait_for(main(), 30))
    assert finishes(home) == ["cancelled"]


def test_stopping_while_a_model_takes_long_to_load(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verity.server.serving._LAST_S", 0.05)
    loading, go_on = threading.Event(), threading.Event()

    def loads(_: Any) -> None:
        loading.set()
        go_on.wait()

    async def main() -> None:
        server = Serving(home, Settings(parallel=1), engine=ScriptedEngine(REPLY))
        await server.start()
        asked = asyncio.ensure_future(server.answer(asking()))
        server.worker.call(loads)
        await asyncio.to_thread(loading.wait)
        more = [asyncio.ensure_future(server.answer(asking())), asyncio.ensure_future(server.embed("scripted", ["?"]))]
        stopping = asyncio.ensure_future(server.stop(0.0))
        await asyncio.sleep(0.1)
        go_on.set()
        await stopping
        ended = await asyncio.gather(asked, *more, return_exceptions=True)
        assert all(isinstance(each, Busy) for each in ended[1:])

    asyncio.run(asyncio.wait_for(main(), 30))
    assert set(finishes(home)) <= {"cancelled"}


def test_a_closed_desk_does_not_open_again(home: Path) -> None:
    async def main() -> None:
        server = Serving(home, engine=ScriptedEngine(REPLY))
        await server.start()
        await server.stop(0.0)
        with pytest.raises(Busy):
            await server.desk.run(lambda node: node.home)
        assert server.desk._node is None

    asyncio.run(main())


def test_a_worker_that_stops_between_intent_and_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: Serving) -> None:
        def stops(*arguments: Any) -> Any:
            opened = begin(*arguments)
            server.worker.stop()
            return opened

        monkeypatch.setattr("verity.server.serving.begin", stops)
        answer = await server.answer(asking())
        with pytest.raises(Busy):
            async for _ in answer:
                pass

    run(home, work)
    assert finishes(home) == ["error"]


@pytest.mark.parametrize(("fault", "told"), [(StoreError("the disk is full"), StoreError), (ValueError(), EngineError)])
def test_a_result_that_cannot_be_recorded(
    home: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, told: type[Exception]
) -> None:
    def fails(*_: Any) -> None:
        raise fault

    async def work(server: Serving) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Receipts, "finish", fails)
            answer = await server.answer(asking())
            with pytest.raises(told):
                async for _ in answer:
                    pass
            await answer.cancel()
        await settled(server)
        assert (await collect(server, asking()))[0] == REPLY

    run(home, work)
    assert finishes(home) == ["aborted", "end"]


class Faulty(ScriptedEngine):
    faults = 0

    def step(self, parts: Any) -> Any:
        rows = super().step(parts)
        if self.faults and len(self._tokens[0]) > 20:
            self.faults -= 1
            raise ZeroDivisionError
        return rows


def test_after_a_fault_in_the_engines_thread_answers_are_what_they_were(home: Path) -> None:
    engine = Faulty(REPLY, sequences=2)

    async def work(server: Serving) -> None:
        await server.preload("scripted")
        engine.faults = 1
        with pytest.raises(EngineError, match="fault of its own"):
            await collect(server, asking())
        await settled(server)
        text, ended, receipt = await collect(server, asking(sampling={"temperature": 1.5}))
        assert ended.text == text
        report = verity.verify(await server.bundle(receipt, disclose=True), home=home, replayer=in_process)
        assert report.check("replayed-exact").status == "passed", str(report)

    run(home, work, engine)
    assert finishes(home) == ["error", "end"]


def test_a_call_that_was_given_up_does_not_end_the_worker(home: Path) -> None:
    async def work(server: Serving) -> None:
        go_on = threading.Event()
        server.worker.call(lambda _: go_on.wait())
        given_up = server.worker.lease("scripted")
        assert given_up.cancel()
        go_on.set()
        assert (await collect(server, asking()))[0] == REPLY
        await settled(server)

    run(home, work)


def test_calls_of_a_worker_whose_thread_ended_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(BaseException):
        pass

    def breaks(_: Any) -> None:
        raise Broken

    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    async def work(server: Serving) -> None:
        server.worker.call(breaks)
        for _ in range(2):
            with pytest.raises(Busy):
                await asyncio.wait_for(server.answer(asking()), 30)
        assert server._admitted == 0

    run(home, work)


def test_an_answer_whose_loop_is_closed(home: Path) -> None:
    kept: list[Any] = []

    async def work(server: Serving) -> None:
        kept.append(await server.answer(asking()))

    run(home, work)
    kept[0]._tell(None)
