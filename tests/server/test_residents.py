"""Models in memory: within the bound, the least recently used idle one goes first, and one that answers stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from gguf import tiny

import verity
from verity.errors import Busy, UsageError
from verity.server.answering import Asking
from verity.server.serving import Serving, Settings
from verity.statements.receipt import Message
from verity.store.pull import pull

pytestmark = pytest.mark.model
ONE = 300_000
"""Bytes in which one of the tiny models has room, and two have not."""
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def asking(model: str) -> Asking:
    return Asking(model=model, messages=[Message("user", "Why?")], max_tokens=8)


@pytest.fixture
def models(home: Path) -> dict[str, str]:
    """Three models of one size; digests by name."""
    found = {}
    with verity.open(home, threads=1) as node:
        for name in "abc":
            (home / f"{name}.gguf").write_bytes(tiny(TEMPLATE + name))
            found[name] = pull(str(home / f"{name}.gguf"), node.blobs).blake3
    return found


def run(home: Path, memory_bytes: int, work: Callable[[Serving], Awaitable[None]]) -> None:
    async def main() -> None:
        settings = Settings(parallel=1, context_size=128, threads=1, memory_bytes=memory_bytes)
        serving = Serving(home, settings)
        await serving.start()
        try:
            await work(serving)
        finally:
            await serving.stop(0.0)

    asyncio.run(main())


async def ask(serving: Serving, model: str) -> None:
    answer = await serving.answer(asking(model))
    async for _ in answer:
        pass
    assert answer.ended is not None
    assert answer.ended.completion_tokens >= 1


def loaded(serving: Serving, models: dict[str, str]) -> str:
    return "".join(sorted(name for name, digest in models.items() if digest in serving.worker.loaded()))


def test_the_least_recently_used_goes(home: Path, models: dict[str, str]) -> None:
    async def work(serving: Serving) -> None:
        for name, left in (("a", "a"), ("b", "ab"), ("a", "ab"), ("c", "ac"), ("b", "bc")):
            await ask(serving, name)
            assert loaded(serving, models) == left
        assert {info.id for info in await serving.models() if info.loaded} == {"b", "c"}

    run(home, 2 * ONE, work)


def test_one_that_answers_stays(home: Path, models: dict[str, str]) -> None:
    async def work(serving: Serving) -> None:
        lease = await asyncio.wrap_future(serving.worker.lease("a"))
        with pytest.raises(Busy, match="fill the memory"):
            await serving.answer(asking("b"))
        assert loaded(serving, models) == "a"
        serving.worker.give_back(lease)
        await ask(serving, "b")
        assert loaded(serving, models) == "b"
        assert serving._admitted == 0

    run(home, ONE, work)


@pytest.mark.parametrize("bound", [50_000, 150_000])  # smaller than the file; smaller than what it needs
def test_one_that_is_too_large_is_refused(home: Path, models: dict[str, str], bound: int) -> None:
    async def work(serving: Serving) -> None:
        for _ in range(2):
            with pytest.raises(UsageError, match="the server may use"):
                await serving.answer(asking("a"))
        assert loaded(serving, models) == ""
        assert serving._admitted == 0

    run(home, bound, work)
