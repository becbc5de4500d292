"""What Verity asks of an engine: the seam between receipts and models. ``llama`` and ``scripted`` fulfil it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from verity.engines.pooling import Hidden
from verity.statements.receipt import Message

if TYPE_CHECKING:
    from verity.engines.grammar import Constraint, Grammar

__all__ = ["AdapterFile", "Engine", "Logits", "Message", "Part", "State"]

Logits = npt.NDArray[np.float32]


class Part(NamedTuple):
    """Tokens to append to one sequence in a step that others share."""

    sequence: int
    tokens: Sequence[int]


class State(NamedTuple):
    """A sequence's memory: how it is encoded (spec/segments.md), and its rows in chunks that follow each other."""

    encoding: dict[str, Any]
    chunks: Sequence[bytes]


OTHER_ADAPTERS = "this sequence was begun under other adapters, which must not be mixed: reset it first"


class AdapterFile(NamedTuple):
    """An adapter to compute with: its BLAKE3 digest, its file, and the factor for what it changes."""

    blake3: str
    path: Path
    scale: int | float


class Engine(Protocol):
    """One model, loaded, with one sequence of tokens in its context, or several.

    ``advance`` and ``advance_all`` work on sequence 0; ``step`` on many at once, which changes no bit of any.
    """

    @property
    def sequences(self) -> int:
        """How many sequences there are, numbered from 0."""

    @property
    def memory_bytes(self) -> int:
        """What it takes, roughly: the weights and the sequences."""

    @property
    def widest(self) -> int:
        """The most tokens of one step."""

    @property
    def description(self) -> dict[str, Any]:
        """Committed as field ``engine``: ``name``, ``version`` and the SHA-256 of the library that computes."""

    @property
    def tokenizer(self) -> dict[str, Any]:
        """Committed as field ``tokenizer``: the SHA-256 of the vocabulary and its attributes."""

    @property
    def context(self) -> dict[str, Any]:
        """Committed as field ``context``: all options that may change logits, and ``size`` in tokens."""

    @property
    def template_digest(self) -> str:
        """SHA-256 (hex) of the chat template."""

    @property
    def template_clock(self) -> bool:
        """Whether the template asks for the time; then ``render`` needs a clock and the receipt commits to it."""

    @property
    def vocabulary(self) -> int:
        """The number of tokens."""

    @property
    def context_size(self) -> int:
        """The number of tokens that fit."""

    def render(self, messages: Sequence[Message], clock: str | None) -> str:
        """The prompt as the model's chat template writes it. ``clock`` is RFC 3339. Raises EngineError."""

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a rendered prompt."""

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` adds to the output; none for control tokens."""

    def is_end(self, token: int) -> bool:
        """Whether the model ends its answer with ``token``."""

    def constrain(self, grammar: Grammar) -> Constraint:
        """What the grammar allows, token by token. Raises UsageError for one that cannot be compiled."""

    def reset(self) -> None:
        """Forget all sequences."""

    def keep(self, sequence: int, length: int) -> None:
        """Forget what follows the first ``length`` tokens of a sequence. Raises EngineError."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Make ``target`` the first ``length`` tokens of ``source``, without computing them. Raises EngineError."""

    def state(self, sequence: int, bounds: Sequence[tuple[int, int]]) -> State | None:
        """What a sequence remembers of its tokens, cut at ``bounds`` (start, end), which follow each other; None for a
        model whose memory is not one row for each position. Raises EngineError."""

    def restore(self, sequence: int, state: State) -> None:
        """Make a sequence what ``state``, which begins at position 0, says that it was, under the adapters in use.

        Raises EngineError when it is not of this model's form. The rows may be a stranger's: any bytes are taken.
        """

    def step(self, parts: Sequence[Part]) -> list[Logits]:
        """Append each part's tokens to its sequence (no two parts one), ``widest`` at most in all; the logits after the
        last token of each. Valid until the next call. Raises EngineError."""

    def advance(self, tokens: Sequence[int]) -> Logits:
        """Append ``tokens``; the logits (vocabulary,) after the last. Valid until the next call. Raises EngineError."""

    def advance_all(self, tokens: Sequence[int], skip: int = 0, at_least: int = 1) -> Iterator[Logits]:
        """Append ``tokens`` in batches; yields the logits after each, but for the first ``skip``. Each is valid until
        the next is asked for. ``at_least`` widens the batches to that many tokens (PROBE_BATCH at most), for the probe
        of numerics. Raises EngineError."""

    @property
    def adapters(self) -> Sequence[AdapterFile]:
        """The adapters in use, in order; none at first."""

    def use_adapters(self, adapters: Sequence[AdapterFile]) -> None:
        """Compute with these from now on, and no others, in this order; nothing happens if they are in use already.

        What was evaluated before stays as it was: a sequence can go on only under the adapters that it was begun under,
        so forget it, or take it up again when they are in use. Raises EngineError when a file does not fit the model;
        then none is in use.
        """

    @property
    def dimensions(self) -> int:
        """The length of a hidden state."""

    def hidden(self, tokens: Sequence[int]) -> Iterator[Hidden]:
        """The final hidden state (dimensions,) after each of a text's ``tokens``, apart from every sequence. Each is
        valid until the next is asked for. Raises EngineError, ContextOverflow."""

    def close(self) -> None:
        """Free the model."""
