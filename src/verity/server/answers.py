"""The answers to one request, running: begun and read together, and none left running when the caller has gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from verity.errors import EngineError
from verity.server.answering import Answering, Asking, Ended, Piece, Service, TokenLogprob
from verity.server.failures import shutting_down

_T = TypeVar("_T")
_Item = tuple[int, Piece | Ended]


class ClientGone(Exception):
    """Nobody waits for this any more."""


class Answers:
    """Use it as ``async for number, piece_or_end in answers``, and ``cancel`` it however that ends.

    What was read is in ``logprobs`` and ``ended``, by choice.
    """

    def __init__(self) -> None:
        self.answerings: list[Answering] = []
        self.logprobs: list[list[TokenLogprob]] = []
        self.ended: list[Ended] = []
        self._queue: asyncio.Queue[tuple[int, Piece | Ended | Exception]] = asyncio.Queue()
        self._readers: list[asyncio.Task[None]] = []

    @classmethod
    async def begin(cls, service: Service, askings: Sequence[Asking]) -> Answers:
        """Begin all, or none. Raises what ``Service.answer`` raises."""
        answers = cls()
        try:
            for number, asking in enumerate(askings):
                answering = await service.answer(asking)
                answers.answerings.append(answering)
                # Each is read from the start: one that nobody reads could keep the next from beginning.
                answers._readers.append(asyncio.create_task(answers._read(number, answering)))
        except BaseException:
            await answers.cancel()
            raise
        return answers

    @property
    def receipts(self) -> list[str]:
        return [answering.receipt for answering in self.answerings]

    async def __aiter__(self) -> AsyncIterator[_Item]:
        self.logprobs = [[] for _ in self.answerings]
        ended: dict[int, Ended] = {}
        while len(ended) < len(self.answerings):
            number, item = await self._queue.get()
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Piece):
                self.logprobs[number] += item.logprobs
            else:
                ended[number] = item
                self.ended = [ended[n] for n in sorted(ended)]
            yield number, item

    async def read(self) -> None:
        """Read all to the end. Raises what an answer that failed raises."""
        async for _ in self:
            pass

    async def cancel(self) -> None:
        """Cut off what still runs; waits until that is on record."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await asyncio.gather(*(answering.cancel() for answering in self.answerings), return_exceptions=True)

    async def _read(self, number: int, answering: Answering) -> None:
        try:
            async for piece in answering:
                self._queue.put_nowait((number, piece))
            self._queue.put_nowait((number, _whole(answering.ended)))
        except Exception as error:
            self._queue.put_nowait((number, error))


def _whole(ended: Ended | None) -> Ended:
    """An answer that the model ended; others are errors to whoever asked, whatever their receipts say."""
    if ended is None or ended.finish == "error":
        raise EngineError("the answer broke off", "its receipt says how far it came")
    if ended.finish == "cancelled":
        raise shutting_down()
    return ended


async def unless_gone(receive: Callable[[], Awaitable[Any]], work: Coroutine[Any, Any, _T]) -> _T:
    """Do the work, or cancel it when the client disconnects; the request's body must have been read.

    Raises ClientGone.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for other in (task, gone):
            if not other.done():
                other.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await other


async def _disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
