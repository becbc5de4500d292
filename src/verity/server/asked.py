"""From a request on the wire to the answers that it asks for. Tools and schemas become messages and a grammar here."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any, Literal

from verity.engines.grammar import Grammar, json_schema
from verity.sampling.noise import read_nonce
from verity.sampling.parameters import SamplingParameters
from verity.server.answering import Asking
from verity.server.failures import Failure, blaming
from verity.server.wire import ChatRequest, CompletionRequest, ScaledAdapter, Tool, WireMessage
from verity.statements.receipt import Message, ToolCall
from verity.tools import Turn, fold, grammar_for

_SEED_DOMAIN = b"verity/openai-seed/v1"
_SAMPLING = SamplingParameters.__struct_fields__


def chat_askings(request: ChatRequest, nonce: str | None) -> list[Asking]:
    """One for each choice. Raises Failure."""
    choice = _tool_choice(request)
    tools = [_tool_text(tool) for tool in request.tools or []] if choice != "none" else []
    with blaming("messages"):
        messages = fold([_turn(message) for message in request.messages], tools)
    common = _common(request, nonce)
    if request.max_completion_tokens is not None:
        common["max_tokens"] = request.max_completion_tokens
    if request.logprobs:
        common["top_logprobs"] = request.top_logprobs or 0
    common |= {"grammar": _grammar(request, tools, choice), "tools": tools}
    choices = request.n or 1
    return [Asking(messages=messages, choice=number, choices=choices, **common) for number in range(choices)]


def completion_askings(request: CompletionRequest, nonce: str | None) -> list[Asking]:
    """One for each choice to each prompt. Raises Failure."""
    common = {**_common(request, nonce), "raw": True, "top_logprobs": request.logprobs}
    choices = request.n or 1
    return [
        Asking(messages=[Message("user", prompt)], choice=number, choices=choices, **common)
        for prompt in request.prompts
        for number in range(choices)
    ]


def seed_nonce(seed: int) -> bytes:
    """The nonce of OpenAI's ``seed``: 32 bytes, the same for the same number."""
    return hashlib.sha256(_SEED_DOMAIN + str(seed).encode()).digest()


def _common(request: ChatRequest | CompletionRequest, nonce: str | None) -> dict[str, Any]:
    several = isinstance(request, CompletionRequest) and len(request.prompts) > 1
    value, chosen_by = _nonce(nonce, request.seed, several or (request.n or 1) > 1)
    sampling = {name: getattr(request, name) for name in _SAMPLING if getattr(request, name) is not None}
    for name, number in sampling.items():
        with blaming(name):
            SamplingParameters(**{name: number})
    return {
        "model": request.model,
        "sampling": sampling,
        "max_tokens": request.max_tokens,
        "stops": [request.stop] if isinstance(request.stop, str) else request.stop or [],
        "seed": request.seed if nonce is None else None,
        "nonce": value,
        "nonce_from": chosen_by,
        "adapters": [_adapter(adapter) for adapter in request.adapters or []],
    }


def _nonce(header: str | None, seed: int | None, several: bool) -> tuple[bytes | None, Literal["caller", "device"]]:
    if header is not None:
        with blaming("x-verity-nonce"):
            return read_nonce(header.lower()), "caller"
    if seed is not None:
        return seed_nonce(seed), "caller"
    return (secrets.token_bytes(32) if several else None), "device"  # all choices have one nonce


def _adapter(adapter: str | ScaledAdapter) -> tuple[str, float]:
    return (adapter, 1.0) if isinstance(adapter, str) else (adapter.name, adapter.scale)


def _turn(message: WireMessage) -> Turn:
    """What the model is told of a message. Results are told in their order; ids are not shown."""
    role = "system" if message.role == "developer" else message.role
    calls = [ToolCall(name=c.function.name, arguments=c.function.arguments) for c in message.tool_calls or []]
    return Turn(role=role, content=message.text, calls=calls)


def _tool_text(tool: Tool) -> str:
    return json.dumps(tool.model_dump(exclude_none=True), ensure_ascii=False)


def _tool_choice(request: ChatRequest) -> str:
    """auto, none, required, or the name of a tool."""
    if not request.tools or request.tool_choice is None:
        return "auto" if request.tools else "none"
    if isinstance(request.tool_choice, str):
        return request.tool_choice
    name = request.tool_choice.function.name
    if name not in {tool.function.name for tool in request.tools}:
        raise Failure(400, f"there is no tool {name!r} to choose", param="tool_choice", code="invalid_value")
    return name


def _grammar(request: ChatRequest, tools: list[str], choice: str) -> Grammar | None:
    with blaming("tools"):
        grammar = grammar_for(tools, choice, parallel=request.parallel_tool_calls is not False)
    form = request.response_format
    if form is None or form.type == "text":
        return grammar
    if grammar is not None:
        message = "an answer that may call tools cannot also be bound to a schema; set tool_choice to none"
        raise Failure(400, message, param="response_format", code="invalid_value")
    with blaming("response_format"):
        return json_schema((form.json_schema and form.json_schema.schema_) or {"type": "object"})
