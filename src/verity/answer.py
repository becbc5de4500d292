"""What comes out of ``ask`` and ``stream``: an answer with its receipt, and an answer as it is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from verity.engines import SCRIPTED
from verity.engines.numerics import Numerics
from verity.statements.bundle import Bundle
from verity.statements.receipt import PreviousTurn, ToolCall, statement_digest
from verity.store import bundles
from verity.typed import partial

_T = TypeVar("_T")


class Answer(msgspec.Struct, frozen=True):
    """One answer. ``receipt`` is the receipt's id, ``bundle`` all that somebody needs to check it; ``rounds`` are the
    answers before it in which tools were called, oldest first."""

    text: str
    tokens: list[int]
    finish: str
    receipt: str
    bundle: Bundle
    numerics: Numerics
    engine: str
    tool_calls: list[ToolCall] = []
    rounds: list[Answer] = []

    @property
    def turn(self) -> PreviousTurn:
        """How the receipt of the next turn names this one."""
        return PreviousTurn(id=self.receipt, result=statement_digest(self.bundle.receipt.result.payload_bytes()))

    @property
    def grade(self) -> str:
        """What the receipt can be checked for, in a few words."""
        if self.engine == SCRIPTED:
            return "signed, logged; written by the scripted engine, which no verification accepts"
        return "signed, logged, replayable " + ("bit for bit" if self.numerics.exact else "statistically only")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bundle, disclosure included (0600)."""
        return bundles.save(self.bundle, path)


class TypedAnswer(Answer, Generic[_T], frozen=True, kw_only=True):
    """An answer whose text is a ``value`` of the type that was asked for."""

    value: _T


def typed(answer: Answer, value: Any) -> TypedAnswer[Any]:
    """``answer`` with the value that its text spells."""
    return TypedAnswer(**msgspec.structs.asdict(answer), value=value)


class Stream(Iterator[str]):
    """Pieces of an answer's text as they come; ``text`` is what came so far. ``answer`` is there when it is over, also
    when it was cut off.

    Leaving the loop early, an interrupt or an error cuts the answer off: the result is logged all the same, as
    ``cancelled`` or ``error`` with the tokens so far.
    """

    def __init__(self, run: Callable[[Stream], Generator[str, None, None]]) -> None:
        self.answer: Answer | None = None
        self.text = ""
        self._pieces = run(self)

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.text += piece
        return piece

    def partial(self) -> Iterator[Any]:
        """Of a typed answer, the value as far as it goes, as plain dicts, lists and strings, each time it has grown."""
        last: Any = None
        for _ in self:
            value = partial(self.text)
            if value is not None and value != last:
                last = value
                yield value

    def close(self) -> None:
        """Cut the answer off here."""
        self._pieces.close()


def complete(stream: Stream) -> Answer:
    """The answer, once the rest of it is written."""
    for _ in stream:
        pass
    assert stream.answer is not None
    return stream.answer
