"""What is answered, as it goes: OpenAI's objects, and ``verity``, which names the receipts.

Members that are not set are left out; those that OpenAI's clients expect as null are set to None.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

FinishReason = Literal["stop", "length", "tool_calls"]


class Verity(BaseModel):
    """The receipts (32 hex digits each) of all choices, the first alone too, and what was in effect for them.

    device: the device's key; nonce: hex; model: the BLAKE3 digest of its file; numerics: how it computes.
    """

    receipt: str
    receipts: list[str]
    device: str
    nonce: str
    parameters: dict[str, Any]
    numerics: dict[str, Any]
    model: str


class PromptDetails(BaseModel):
    cached_tokens: int


class Usage(BaseModel):
    """Tokens. A prompt counts once, however many choices were made for it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class AlternativeToken(BaseModel):
    token: str
    bytes: list[int]
    logprob: float


class ChosenToken(AlternativeToken):
    top_logprobs: list[AlternativeToken]


class ChatLogprobs(BaseModel):
    content: list[ChosenToken]
    refusal: None = None


class CalledFunction(BaseModel):
    name: str
    arguments: str


class Call(BaseModel):
    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    tool_calls: list[Call] = []


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class _Reply(BaseModel):
    id: str
    created: int
    model: str
    system_fingerprint: str | None = None


class ChatReply(_Reply):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage
    verity: Verity


class CallDelta(Call):
    index: int


class Delta(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None = None
    tool_calls: list[CallDelta] = []


class ChatChunkChoice(BaseModel):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(_Reply):
    """One event of a streamed chat; the last has ``verity``."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    verity: Verity | None = None


class TextLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None


class TextReply(_Reply):
    """A completion, or one event of a streamed one."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    usage: Usage | None = None
    verity: Verity | None = None


class Embedding(BaseModel):
    """A vector as numbers, or as base64 of float32, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingVerity(BaseModel):
    receipt: str
    receipts: list[str]


class EmbeddingReply(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    verity: EmbeddingVerity


class ModelVerity(BaseModel):
    blake3: str
    loaded: bool


class ModelReply(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    verity: ModelVerity


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelReply]


class Health(BaseModel):
    status: Literal["ok"]


class BundleReply(BaseModel):
    """A bundle (spec/receipt.md), as ``verity verify`` reads it. Without the owner's key it has no ``disclosure``."""

    receipt: dict[str, Any]
    log: dict[str, Any]
    disclosure: dict[str, Any] | None = None


class ReportReply(BaseModel):
    """The checks, each passed, failed or not made (docs/verify.md)."""

    receipt: str
    device: str
    passed: bool
    exit_code: int
    required: list[str]
    checks: list[dict[str, Any]]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = Field(description="What is at fault.")
    code: str | None


class ErrorReply(BaseModel):
    error: ErrorBody
