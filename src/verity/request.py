"""One request, complete: from what a caller asks for to every field that the intent commits to."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from verity.engines.engine import Engine
from verity.engines.grammar import Grammar
from verity.engines.numerics import Numerics
from verity.engines.output import MAX_STOP_BYTES, MAX_STOPS
from verity.engines.tool_calls import check_tools
from verity.errors import ContextOverflow, UsageError
from verity.sampling.noise import derive_seed, read_nonce
from verity.sampling.parameters import SamplingParameters
from verity.statements.adapters import AdapterUse
from verity.statements.receipt import ROLES, Choice, Message, PreviousTurn, input_field
from verity.statements.request import CanonicalRequest, Issued
from verity.statements.segments import Retention
from verity.store.clock import now

DEFAULT_MAX_TOKENS = 256
PROMISED_RETENTION = Retention(segments_s=7 * 24 * 3600)
"""What a device promises unless its owner says otherwise: it can compute states again as long as it has the model."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for, checked.

    ``max_tokens`` None is DEFAULT_MAX_TOKENS or what fits; ``tools`` are the texts of those offered; a ``raw`` prompt
    is one message that the chat template does not touch.
    """

    messages: list[Message]
    parameters: SamplingParameters
    max_tokens: int | None
    stops: list[str]
    adapters: list[AdapterUse] = []
    grammar: Grammar | None = None
    tools: list[str] = []
    raw: bool = False
    previous: PreviousTurn | None = None
    choice: Choice = Choice(0, 1)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing that changes the answer is outside it, but for the model and its engine. Without a nonce yet there is no
    seed: the intent is signed first."""

    asked: Asked
    max_tokens: int
    nonce: bytes | None
    nonce_from: str
    prompt_tokens: list[int]
    clock: str | None
    issued: Issued | None = None

    @property
    def seed(self) -> bytes:
        assert self.nonce is not None
        return derive_seed(self.nonce, self.asked.choice.index)

    def seed_fields(self) -> dict[str, Any]:
        """Fields ``nonce`` and ``seed``: of the intent, or of the result when the nonce came after it."""
        assert self.nonce is not None
        return {"nonce": {"hex": self.nonce.hex(), "chosen_by": self.nonce_from}, "seed": self.seed.hex()}


def check_asked(
    prompt: str | Sequence[Message],
    *,
    system: str | None = None,
    max_tokens: int | None = None,
    stops: Sequence[str] = (),
    sampling: Mapping[str, Any],
    **more: Any,
) -> Asked:
    """Check what a caller asks for; ``more`` are the other members of Asked. Raises UsageError, FormatError."""
    messages, parameters = _messages(prompt, system), _parameters(sampling)
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise UsageError("max_tokens must be a whole number, at least 1", "leave it out for the default")
    if isinstance(stops, str) or len(stops) > MAX_STOPS:
        raise UsageError(f"stops is a list of at most {MAX_STOPS} strings", "put a single one in a list too")
    if not all(0 < len(_encoded(stop, "a stop string")) <= MAX_STOP_BYTES for stop in stops):
        raise UsageError(f"a stop string has 1 to {MAX_STOP_BYTES} bytes", "leave empty ones out")
    if more.get("raw") and [m.role for m in messages] != ["user"]:
        raise UsageError("a raw prompt is one message of the user", "leave `raw` out for a conversation")
    check_tools(more.get("tools", ()), messages)
    return Asked(messages=messages, parameters=parameters, max_tokens=max_tokens, stops=list(stops), **more)


def asked_by(request: CanonicalRequest) -> Asked:
    """The same from a canonical request. Raises UsageError for what no device could do."""
    return check_asked(request.messages, max_tokens=request.max_tokens, stops=request.stops, sampling=request.sampling)


def make_request(engine: Engine, asked: Asked, *, nonce: bytes | None = None, issued: Issued | None = None) -> Request:
    """Turn what was asked into prompt tokens. The nonce is the issuer's if one ``issued`` this (None: revealed later),
    else ``nonce``, else drawn here. Raises UsageError, ContextOverflow, EngineError."""
    if issued is None and nonce is not None:
        read_nonce(nonce.hex() if isinstance(nonce, bytes) else "")
    clock = (issued.request.clock if issued else now()) if engine.template_clock and not asked.raw else None
    prompt = asked.messages[0].content if asked.raw else engine.render(asked.messages, clock)
    prompt_tokens = engine.tokenize(prompt)
    return Request(
        asked=asked,
        max_tokens=_fit(len(prompt_tokens), asked.max_tokens, engine.context_size),
        nonce=issued.nonce if issued else nonce or secrets.token_bytes(32),
        nonce_from="caller" if nonce or issued else "device",
        prompt_tokens=prompt_tokens,
        clock=clock,
        issued=issued,
    )


def _messages(prompt: str | Sequence[Message], system: str | None) -> list[Message]:
    messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
    if system is not None:
        messages.insert(0, Message("system", system))
    for message in messages:
        if message.role not in ROLES:
            raise UsageError(f"a message has no role {message.role!r}", f"the roles are {', '.join(ROLES)}")
        _encoded(message.content, "the prompt")
    if not any(m.content.strip() for m in messages if m.role == "user"):
        raise UsageError("the prompt is empty", "give a question, as in: verity ask 'Why is the sky blue?'")
    return messages


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is not valid Unicode text", "save it as UTF-8") from error


def _parameters(sampling: Mapping[str, Any]) -> SamplingParameters:
    names = SamplingParameters.__struct_fields__
    unknown = sorted(set(sampling) - set(names))
    if unknown:
        raise UsageError(f"there is no parameter {unknown[0]!r}", f"sampling has {', '.join(names)}")
    try:
        return msgspec.convert(dict(sampling), SamplingParameters, strict=True)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"a sampling parameter has the wrong type: {error}", "top_k is whole, the others numbers"
        ) from error


def _fit(prompt: int, max_tokens: int | None, context: int) -> int:
    """How many tokens may be written. Context overflow is an error, never a shift."""
    if prompt + (max_tokens or 1) > context:
        wanted = f" and up to {max_tokens:,} of output" if max_tokens else ""
        raise ContextOverflow(
            f"a prompt of {prompt:,} tokens{wanted} does not fit a context of {context:,}",
            f"shorten the prompt, ask for fewer tokens, or use a larger --context (now {context:,})",
        )
    return max_tokens or min(DEFAULT_MAX_TOKENS, context - prompt)


def intent_fields(
    request: Request,
    engine: Engine,
    model: Mapping[str, Any],
    numerics: Numerics,
    retention: Retention | None = PROMISED_RETENTION,
) -> dict[str, Any]:
    """Every field of the intent (spec/receipt.md). None and [] say that a later version's feature is not in use."""
    asked, p = request.asked, request.asked.parameters
    template = {"sha256": engine.template_digest, "add_generation_prompt": True, "clock": request.clock}
    return {
        "adapters": msgspec.to_builtins(asked.adapters),
        "batch": None,
        "choice": msgspec.to_builtins(asked.choice),
        "context": engine.context,
        "engine": engine.description,
        "grammar": msgspec.to_builtins(asked.grammar),
        "limits/max_tokens": request.max_tokens,
        "limits/stops": asked.stops,
        "model": dict(model),
        "normalisation": None,
        "numerics": msgspec.to_builtins(numerics),
        "pooling": None,
        "previous_turn": msgspec.to_builtins(asked.previous),
        "prompt_tokens": request.prompt_tokens,
        "request": request.issued.name if request.issued else None,
        "retention": msgspec.to_builtins(retention),
        "template": None if asked.raw else template,
        "time/started": now(),
        "tokenizer": engine.tokenizer,
        "tools": asked.tools,
        **{f"sampling/{name}": getattr(p, name) for name in p.__struct_fields__},
        **{input_field(i): msgspec.to_builtins(m) for i, m in enumerate(asked.messages)},
        **(request.seed_fields() if request.nonce and not (request.issued and request.issued.intent) else {}),
    }
