"""What comes out of ``ask`` and ``stream``: an answer with its receipt, and an answer as it is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import msgspec

from verity.engines import SCRIPTED
from verity.engines.numerics import Numerics
from verity.statements.bundle import Bundle
from verity.statements.receipt import ToolCall
from verity.store import bundles


class Answer(msgspec.Struct, frozen=True):
    """One answer. ``receipt`` is the receipt's id, ``bundle`` all that somebody needs to check it."""

    text: str
    tokens: list[int]
    finish: str
    receipt: str
    bundle: Bundle
    numerics: Numerics
    engine: str
    tool_calls: list[ToolCall] = []

    @property
    def grade(self) -> str:
        """What the receipt can be checked for, in a few words."""
        if self.engine == SCRIPTED:
            return "signed, logged; written by the scripted engine, which no verification accepts"
        return "signed, logged, replayable " + ("bit for bit" if self.numerics.exact else "statistically only")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bundle, disclosure included (0600)."""
        return bundles.save(self.bundle, path)


class Stream(Iterator[str]):
    """Pieces of an answer's text as they come. ``answer`` is there when it is over, also when it was cut off.

    Leaving the loop early, an interrupt or an error cuts the answer off: the result is logged all the same, as
    ``cancelled`` or ``error`` with the tokens so far.
    """

    def __init__(self, run: Callable[[Stream], Generator[str, None, None]]) -> None:
        self.answer: Answer | None = None
        self._pieces = run(self)

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Cut the answer off here."""
        self._pieces.close()
