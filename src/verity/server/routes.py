"""One function per address. Each says what goes in and out; the work is done by the modules that it names."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.responses import Response

from verity.challenge import KEY_HEADER
from verity.errors import ModelNotFound
from verity.server.answering import ModelInfo, Service
from verity.server.answers import Answers
from verity.server.asked import chat_askings, completion_askings
from verity.server.chat import Chat
from verity.server.completions import Text
from verity.server.failures import Failure, unreadable
from verity.server.gate import OWNER
from verity.server.replies import (
    BundleReply,
    ChatReply,
    Embedding,
    EmbeddingReply,
    EmbeddingUsage,
    EmbeddingVerity,
    ErrorReply,
    Health,
    ModelList,
    ModelReply,
    ModelVerity,
    ReportReply,
    TextReply,
)
from verity.server.sending import StrictRoute, answered, json_reply, while_wanted
from verity.server.shapes import Shape
from verity.server.traffic import RECEIPT_HEADER
from verity.server.wire import ChatRequest, CompletionRequest, EmbeddingRequest, VerifyRequest

_FAILURES = {
    400: "malformed, or cannot be done",
    401: "no key, or a wrong one",
    403: "from a host or web page that is not allowed",
    404: "there is no such model, receipt or address",
    405: "this address has no such method",
    408: "the body came too slowly",
    413: "too large",
    415: "not JSON",
    429: "too much at once: see Retry-After",
    500: "a fault of the device",
    503: "shutting down: see Retry-After",
    504: "it took too long",
}
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": words} for status, words in _FAILURES.items()
}
_STREAMED: dict[int | str, dict[str, Any]] = {
    **FAILURES,
    200: {
        "description": "The answer, or with `stream` its events. The header x-verity-receipt names the receipts.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
}
_NUMBERS = re.compile(r"[0-9]{1,5}(,[0-9]{1,5})*", re.ASCII)
_BYTES = "application/octet-stream"
_STATES: dict[int | str, dict[str, Any]] = {
    **FAILURES,
    200: {"description": "A file of states", "content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}},
}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


router = APIRouter(route_class=StrictRoute, responses=FAILURES)
Given = Annotated[Service, Depends(_service)]
Nonce = Annotated[str | None, Header(alias="x-verity-nonce", description="16 to 64 bytes, in hexadecimal")]
Segments = Annotated[str, Query(max_length=8000, description="Numbers of segments, such as 3,7")]
Disclosed = Annotated[str | None, Header(alias=KEY_HEADER, max_length=64, description="See spec/segments.md")]
ReceiptId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


@router.post("/v1/chat/completions", response_model=ChatReply, responses=_STREAMED)
async def chat(asked: ChatRequest, request: Request, service: Given, nonce: Nonce = None) -> Response:
    """Answer a conversation."""
    askings = await asyncio.to_thread(chat_askings, asked, nonce)  # a grammar is compiled in it

    def shape(answers: Answers) -> Shape:
        calling = bool(asked.tools) and asked.tool_choice != "none"
        return Chat(answers, calling=calling, logprobs=bool(asked.logprobs), include_usage=asked.include_usage)

    return await answered(request, service, askings, shape, stream=bool(asked.stream))


@router.post("/v1/completions", response_model=TextReply, responses=_STREAMED)
async def completions(asked: CompletionRequest, request: Request, service: Given, nonce: Nonce = None) -> Response:
    """Go on with a text as it is, without a chat template."""
    askings, logprobs, prompts = completion_askings(asked, nonce), asked.logprobs is not None, len(asked.prompts)

    def shape(answers: Answers) -> Shape:
        return Text(answers, prompts=prompts, logprobs=logprobs, include_usage=asked.include_usage)

    return await answered(request, service, askings, shape, stream=bool(asked.stream))


@router.post("/v1/embeddings", response_model=EmbeddingReply)
async def embeddings(asked: EmbeddingRequest, request: Request, service: Given) -> Response:
    """Turn texts into vectors; one receipt covers them all."""

    async def work() -> Response:
        made = await service.embed(asked.model, asked.texts)
        spell = _base64 if asked.encoding_format == "base64" else list
        reply = EmbeddingReply(
            object="list",
            data=[Embedding(object="embedding", index=i, embedding=spell(v)) for i, v in enumerate(made.vectors)],
            model=asked.model,
            usage=EmbeddingUsage(prompt_tokens=made.tokens, total_tokens=made.tokens),
            verity=EmbeddingVerity(receipt=made.receipt, receipts=[made.receipt]),
        )
        return json_reply(reply, [made.receipt])

    return await while_wanted(request, work())


@router.get("/v1/models")
async def models(service: Given) -> ModelList:
    """The models of this device."""
    return ModelList(object="list", data=[_model(info) for info in await service.models()])


@router.get("/v1/models/{model:path}")
async def one_model(model: str, service: Given) -> ModelReply:
    """One model."""
    for info in await service.models():
        if info.id == model:
            return _model(info)
    raise ModelNotFound("there is no model of this name here", "GET /v1/models lists those there are")


@router.get("/v1/receipts/{receipt}", response_model=BundleReply)
async def bundle(receipt: ReceiptId, request: Request, service: Given) -> Response:
    """A receipt's bundle. Everything is opened to the owner's key, nothing to others."""
    with unreadable(404, "receipt_not_found"):
        data = await service.bundle(receipt, disclose=bool(request.scope[OWNER]))
    return Response(data, media_type="application/json", headers={RECEIPT_HEADER: receipt, "Cache-Control": "no-store"})


@router.get("/v1/receipts/{receipt}/states", response_class=Response, responses=_STATES)
async def states(
    receipt: ReceiptId, segments: Segments, request: Request, service: Given, disclosure: Disclosed = None
) -> Response:
    """The model's states before the last of these segments of a receipt, for a spot check. A state tells all text
    before it: they are opened to the owner's key, and to whoever shows that he holds the full disclosure."""
    if not request.scope[OWNER] and disclosure is None:
        message = f"states are opened to the owner, and to holders of the full disclosure, who show it in {KEY_HEADER}"
        raise Failure(403, message, code="disclosure_needed")
    if not _NUMBERS.fullmatch(segments):
        raise Failure(400, "name segments by their numbers, as in 3,7", param="segments", code="invalid_value")
    wanted = [int(number) for number in segments.split(",")]

    async def work() -> Response:
        with unreadable(404, "states_not_found"):
            data = await service.states(receipt, wanted, None if request.scope[OWNER] else disclosure)
        return Response(data, media_type=_BYTES, headers={"Cache-Control": "no-store"})

    return await while_wanted(request, work())


@router.post("/v1/verify", response_model=ReportReply)
async def verify(asked: VerifyRequest, request: Request, service: Given) -> Response:
    """Check a bundle. A replay takes a while; one is made at a time."""

    async def work() -> Response:
        with unreadable(400, "unreadable"):
            report = await service.verify(json.dumps(asked.bundle).encode(), asked.expected)
        return Response(json.dumps(report), media_type="application/json")

    return await while_wanted(request, work())


@router.get("/health")
async def health() -> Health:
    """Whether the server takes requests."""
    return Health(status="ok")


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _model(info: ModelInfo) -> ModelReply:
    about = ModelVerity(blake3=info.blake3, loaded=info.loaded)
    return ModelReply(id=info.id, object="model", created=info.created, owned_by="local", verity=about)
