"""One device at work for many callers: every answer on record once, whatever becomes of its caller."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from in_process import REPLY, in_process
from served import asking, collect, finishes, run

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import Busy, ContextOverflow, EngineError, ModelNotFound, TimedOut, UsageError
from verity.server.answering import Asking, Piece
from verity.server.serving import Serving, Settings
from verity.statements.bundle import decode_bundle
from verity.statements.receipt import Message


def test_many_at_once_are_each_what_they_are_alone(home: Path) -> None:
    prompts = [f"Question {n}: why is the sky blue?" for n in range(20)]
    options: dict[str, Any] = {"sampling": {"temperature": 1.5}, "nonce": bytes(32)}

    async def work(serving: Serving) -> None:
        got = await asyncio.gather(*(collect(serving, asking(p, **options)) for p in prompts))
        assert len({receipt for _, _, receipt in got}) == len(prompts)
        assert any(ended.cached_tokens for _, ended, _ in got)
        for text, ended, receipt in got:
            assert ended.text == text
            bundle = await serving.bundle(receipt, disclose=True)
            report = verity.verify(bundle, home=home, replayer=in_process)
            assert report.check("replayed-exact").status == "passed", str(report)

    run(home, work)
    assert len(finishes(home)) == len(prompts)


def test_an_answer_that_nobody_reads_is_on_record(home: Path) -> None:
    async def work(serving: Serving) -> None:
        answer = await serving.answer(asking())
        await answer.cancel()
        assert answer.ended is not None
        assert answer.ended.finish == "cancelled"

    run(home, work, ScriptedEngine(REPLY, delay_s=0.01))
    assert finishes(home) == ["cancelled"]


def test_a_caller_that_leaves_before_the_intent_is_logged(home: Path) -> None:
    async def work(serving: Serving) -> None:
        task = asyncio.ensure_future(serving.answer(asking()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(home, work, ScriptedEngine(REPLY, delay_s=0.01))
    assert finishes(home) in ([], ["cancelled"])


def test_more_than_the_queue_holds_is_refused(home: Path) -> None:
    async def work(serving: Serving) -> None:
        first = [await serving.answer(asking()) for _ in range(3)]
        with pytest.raises(Busy) as caught:
            await serving.answer(asking())
        assert 1 <= caught.value.retry_after_s <= 60
        for answer in first:
            assert "".join([piece.text async for piece in answer]) == REPLY
        assert (await collect(serving, asking()))[0] == REPLY

    run(home, work, ScriptedEngine(REPLY, sequences=2, delay_s=0.005), queue=1)
    assert finishes(home) == ["end"] * 4


def test_an_answer_that_takes_too_long(home: Path) -> None:
    async def work(serving: Serving) -> None:
        answers = [await serving.answer(asking()) for _ in range(2)]  # the second waits for the first
        for answer in answers:
            with pytest.raises(TimedOut):
                async for _ in answer:
                    pass

    run(home, work, ScriptedEngine(REPLY, delay_s=0.05), timeout_s=0.3)
    assert finishes(home) == ["cancelled", "cancelled"]


def test_stopping_lets_answers_end_or_cuts_them_off(home: Path) -> None:
    async def work(serving: Serving, grace_s: float) -> None:
        answer = await serving.answer(asking())
        await serving.stop(grace_s)
        assert answer.ended is not None
        assert answer.ended.finish == ("end" if grace_s else "cancelled")
        with pytest.raises(Busy):
            await serving.answer(asking())

    async def main() -> None:
        for grace_s in (30.0, 0.0):
            serving = Serving(home, Settings(parallel=1), engine=ScriptedEngine(REPLY, delay_s=0.01))
            await serving.start()
            await work(serving, grace_s)

    asyncio.run(main())
    assert finishes(home) == ["end", "cancelled"]


class Failing(ScriptedEngine):
    broken = False

    def step(self, parts: Any) -> Any:
        if self.broken:
            raise EngineError("the machine is on fire")
        return super().step(parts)


def test_an_engine_that_fails_ends_the_answers_and_no_others(home: Path) -> None:
    engine = Failing(REPLY, sequences=2, delay_s=0.01)

    async def work(serving: Serving) -> None:
        answers = [await serving.answer(asking()) for _ in range(2)]
        engine.broken = True
        for answer in answers:
            with pytest.raises(EngineError, match="on fire"):
                async for _ in answer:
                    pass
        engine.broken = False
        assert (await collect(serving, asking()))[0] == REPLY

    run(home, work, engine)
    assert finishes(home) == ["error", "error", "end"]


class Forgetting(ScriptedEngine):
    """Its copies fail after they have emptied their target."""

    def copy(self, source: int, target: int, length: int) -> None:
        self.keep(target, 0)
        raise EngineError("the copy failed")


def test_a_slot_whose_copy_failed_is_not_trusted(home: Path) -> None:
    async def work(serving: Serving) -> None:
        long = "Why is the sky blue? " * 3
        first = await serving.answer(asking(long))
        await collect(serving, asking("Quite another question", max_tokens=3))
        with pytest.raises(EngineError, match="the copy failed"):  # into the second slot, from the first
            await collect(serving, asking(long + "Or green?"))
        _, ended, _ = await collect(serving, asking("Quite another question", max_tokens=3))
        assert ended.cached_tokens == 0
        await first.cancel()

    run(home, work, Forgetting(REPLY, sequences=2, delay_s=0.01))


def test_what_is_refused_leaves_no_trace_and_takes_no_place(home: Path) -> None:
    async def work(serving: Serving) -> None:
        for wanted, error in (
            (asking("x" * 5000), ContextOverflow),
            (asking(sampling={"temperature": -1.0}), UsageError),
            (asking(sampling={"heat": 1.0}), UsageError),
            (asking(nonce=b"short"), UsageError),
            (asking(max_tokens=0), UsageError),
        ):
            with pytest.raises(error):
                await serving.answer(wanted)
        assert serving._admitted == 0
        await asyncio.gather(*(collect(serving, asking()) for _ in range(4)))

    run(home, work, queue=0)
    assert finishes(home) == ["end"] * 4


def test_logprobs(home: Path) -> None:
    async def work(serving: Serving) -> None:
        answer = await serving.answer(asking(top_logprobs=3, max_tokens=4))
        pieces: list[Piece] = [piece async for piece in answer]
        told = [each for piece in pieces for each in piece.logprobs]
        assert [each.token for each in told] == list(REPLY[:4])
        assert all(len(each.top) == 3 and each.top[0][0] == each.token for each in told)
        assert all(-0.01 < each.logprob <= 0.0 for each in told)

    run(home, work)


def test_models_bundles_and_reports(home: Path) -> None:
    async def work(serving: Serving) -> None:
        assert await serving.models() == []
        _, _, receipt = await collect(serving, asking())
        closed = decode_bundle(await serving.bundle(receipt, disclose=False))
        assert not closed.disclosure
        report = await serving.verify(await serving.bundle(receipt, disclose=True), {"replay": False})
        assert {"signed", "logged"} <= {check["name"] for check in report["checks"] if check["status"] == "passed"}
        with pytest.raises(UsageError):
            await serving.bundle("no such receipt", disclose=True)

    run(home, work)


@pytest.mark.model
def test_mixed_load_on_the_real_model_replays_exactly(model_home: Path) -> None:
    prompts = ["Name a colour.", "Why is the sky blue? " * 12, "Say hello.", "Count from one to five.", "Name a river."]

    async def main() -> None:
        serving = Serving(model_home, Settings(parallel=3, context_size=512, threads=1))
        await serving.start()
        try:
            wanted = [
                Asking(
                    model="smollm2-135m-instruct",
                    messages=[Message("user", p)],
                    max_tokens=6 + 2 * n,
                    sampling={"temperature": 0.9} if n % 2 else {"top_p": 0.5, "presence_penalty": 0.5},
                )
                for n, p in enumerate(prompts)
            ]
            got = await asyncio.gather(*(collect(serving, each) for each in wanted))
            bundles = [await serving.bundle(receipt, disclose=True) for _, _, receipt in got]
            for report in verity.verify_many(bundles, home=model_home, threads=1):
                assert isinstance(report, verity.Report), str(report)
                assert report.check("replayed-exact").status == "passed", str(report)
            with pytest.raises(ModelNotFound):
                await serving.answer(Asking(model="no such model", messages=[Message("user", "?")]))
        finally:
            await serving.stop(0.0)

    asyncio.run(main())
