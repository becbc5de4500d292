"""One request, complete: from what a caller asks for to every field that the intent commits to."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from verity.engines.engine import Engine, Message
from verity.engines.numerics import Numerics
from verity.errors import ContextOverflow, UsageError
from verity.sampling.noise import derive_seed
from verity.sampling.parameters import SamplingParameters
from verity.statements.receipt import input_field

DEFAULT_MAX_TOKENS = 256
MIN_NONCE, MAX_NONCE = 16, 64


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing that changes the answer is outside it, but for the model and its engine."""

    messages: list[Message]
    parameters: SamplingParameters
    max_tokens: int
    stops: list[str]
    nonce: bytes
    nonce_from: str
    prompt_tokens: list[int]
    clock: str | None

    @property
    def seed(self) -> bytes:
        return derive_seed(self.nonce)


def make_request(
    engine: Engine,
    prompt: str | Sequence[Message],
    *,
    system: str | None,
    max_tokens: int | None,
    stops: Sequence[str],
    nonce: bytes | None,
    sampling: Mapping[str, Any],
) -> Request:
    """Check what the caller asks for and turn it into prompt tokens. Raises UsageError, ContextOverflow."""
    messages = _messages(prompt, system)
    parameters = _parameters(sampling)
    if max_tokens is not None and max_tokens < 1:
        raise UsageError("max_tokens must be at least 1")
    if any(not stop for stop in stops):
        raise UsageError("a stop string must not be empty")
    if nonce is not None and not MIN_NONCE <= len(nonce) <= MAX_NONCE:
        raise UsageError(f"a nonce has {MIN_NONCE} to {MAX_NONCE} bytes", "32 random bytes are a good one")
    clock = now() if engine.template_clock else None
    prompt_tokens = engine.tokenize(engine.render(messages, clock))
    return Request(
        messages=messages,
        parameters=parameters,
        max_tokens=_fit(len(prompt_tokens), max_tokens, engine.context_size),
        stops=list(stops),
        nonce=nonce or secrets.token_bytes(32),
        nonce_from="caller" if nonce else "device",
        prompt_tokens=prompt_tokens,
        clock=clock,
    )


def _messages(prompt: str | Sequence[Message], system: str | None) -> list[Message]:
    messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
    if system is not None:
        messages.insert(0, Message("system", system))
    if not any(m.content.strip() for m in messages if m.role == "user"):
        raise UsageError("the prompt is empty", "give a question, as in: verity ask 'Why is the sky blue?'")
    try:
        "".join(m.content for m in messages).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError("the prompt is not valid Unicode text", "save it as UTF-8") from error
    return messages


def _parameters(sampling: Mapping[str, Any]) -> SamplingParameters:
    unknown = sorted(set(sampling) - set(SamplingParameters.__struct_fields__))
    if unknown:
        known = ", ".join(SamplingParameters.__struct_fields__)
        raise UsageError(f"there is no parameter {unknown[0]!r}", f"sampling has {known}")
    return SamplingParameters(**sampling)


def _fit(prompt: int, max_tokens: int | None, context: int) -> int:
    """How many tokens may be written. Context overflow is an error, never a shift."""
    if prompt + (max_tokens or 1) > context:
        wanted = f" and up to {max_tokens:,} of output" if max_tokens else ""
        raise ContextOverflow(
            f"a prompt of {prompt:,} tokens{wanted} does not fit a context of {context:,}",
            f"shorten the prompt, ask for fewer tokens, or use a larger --context (now {context:,})",
        )
    return max_tokens or min(DEFAULT_MAX_TOKENS, context - prompt)


def intent_fields(request: Request, engine: Engine, model: Mapping[str, Any], numerics: Numerics) -> dict[str, Any]:
    """Every field of the intent (spec/receipt.md). None and [] say that a later version's feature is not in use."""
    p = request.parameters
    return {
        "adapters": [],
        "batch": None,
        "choice": {"index": 0, "of": 1},
        "context": engine.context,
        "engine": engine.description,
        "grammar": None,
        "limits/max_tokens": request.max_tokens,
        "limits/stops": request.stops,
        "model": dict(model),
        "nonce": {"hex": request.nonce.hex(), "chosen_by": request.nonce_from},
        "normalisation": None,
        "numerics": msgspec.to_builtins(numerics),
        "pooling": None,
        "previous_turn": None,
        "prompt_tokens": request.prompt_tokens,
        "request": None,
        "retention": None,
        "seed": request.seed.hex(),
        "template": {"sha256": engine.template_digest, "add_generation_prompt": True, "clock": request.clock},
        "time/started": now(),
        "tokenizer": engine.tokenizer,
        "tools": [],
        **{f"sampling/{name}": getattr(p, name) for name in p.__struct_fields__},
        **{input_field(i): msgspec.to_builtins(m) for i, m in enumerate(request.messages)},
    }


def now() -> str:
    """The device's clock, UTC, RFC 3339. Its word: nobody else vouches for it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
