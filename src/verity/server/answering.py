"""What the HTTP layer needs of the service below it: who asks what, and how an answer comes. Types only."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Protocol

import msgspec

from verity.engines.grammar import Grammar
from verity.statements.receipt import Message, ToolCall


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """One answer that is wanted; all sizes in tokens.

    raw           the one user message goes to the model as it is, without a chat template
    nonce         16 to 64 bytes, from ``nonce_from``; None: the device draws one
    seed          the number that the nonce was derived from, for the record
    choice        number of this answer, of ``choices`` to one request
    tools         each one tool's JSON text; ``messages`` tell of them already, ``grammar`` which may be called
    adapters      names or digests with their scales, in order
    top_logprobs  how many alternatives to each token; None: no logprobs at all
    """

    model: str
    messages: list[Message]
    raw: bool = False
    sampling: dict[str, float] = {}
    max_tokens: int | None = None
    stops: list[str] = []
    seed: int | None = None
    nonce: bytes | None = None
    nonce_from: Literal["caller", "device"] = "caller"
    choice: int = 0
    choices: int = 1
    grammar: Grammar | None = None
    tools: list[str] = []
    adapters: list[tuple[str, float]] = []
    top_logprobs: int | None = None


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token of the output, its natural log-probability, and the likeliest alternatives (token, bytes, logprob)."""

    token: str
    bytes: list[int]
    logprob: float
    top: list[tuple[str, builtins.bytes, float]]


class Piece(msgspec.Struct, frozen=True):
    """A little more of the text; ``logprobs`` of its tokens when they were asked for."""

    text: str
    logprobs: list[TokenLogprob] = []


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is over, its result in the log."""

    finish: Literal["end", "stop", "length", "cancelled", "error"]
    text: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    tool_calls: list[ToolCall] = []


class Answering(Protocol):
    """An answer being written. ``receipt`` and ``nonce`` are hex; ``parameters`` are those in effect."""

    @property
    def receipt(self) -> str: ...
    @property
    def nonce(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def numerics(self) -> Mapping[str, Any]: ...
    @property
    def model(self) -> Mapping[str, Any]: ...
    @property
    def device(self) -> str: ...
    @property
    def ended(self) -> Ended | None: ...

    def __aiter__(self) -> AsyncIterator[Piece]:
        """The pieces; ``ended`` is set after the last. Raises TimedOut, EngineError."""

    async def cancel(self) -> None:
        """Cut it off, and return when that is on record; does nothing when it is over."""


class Embedded(msgspec.Struct, frozen=True):
    """A vector for each text, and the receipt over all of them; ``tokens`` were read."""

    vectors: list[list[float]]
    receipt: str
    tokens: int


class ModelInfo(msgspec.Struct, frozen=True):
    """A model of this device; ``created`` in seconds since 1970."""

    id: str
    created: int
    blake3: str
    loaded: bool


class Service(Protocol):
    """The device at work for many callers at once."""

    async def start(self) -> None:
        """Open the device. Raises StoreError."""

    async def preload(self, model: str) -> None:
        """Have a model in memory before the first caller asks. Raises as ``answer`` does."""

    async def stop(self, grace_s: float) -> None:
        """Let answers under way go on for ``grace_s`` seconds, cut off the others, and close the device."""

    async def answer(self, asking: Asking) -> Answering:
        """Begin an answer: its intent is in the log.

        Raises Busy, TimedOut, UsageError, ContextOverflow, ModelNotFound, EngineError, StoreError.
        """

    async def embed(self, model: str, texts: list[str]) -> Embedded:
        """Embed texts. Raises as ``answer`` does."""

    async def models(self) -> list[ModelInfo]:
        """The models of this device."""

    async def bundle(self, receipt_id: str, disclose: bool) -> bytes:
        """A receipt's bundle (JSON), everything opened or nothing. Raises UsageError when there is none."""

    async def states(self, receipt_id: str, segments: list[int], key: str | None) -> bytes:
        """The states (statements/states.py) before the last of ``segments``, for the owner (None) or for whoever shows
        the ``key`` of the full disclosure. Raises UsageError when there are none or the key is
        another, Busy, EngineError, ModelNotFound."""

    async def verify(self, bundle: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
        """The report on a bundle; options as in ``verity.verify``.

        Raises Busy, UsageError, FormatError, SignatureError.
        """
