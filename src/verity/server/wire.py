"""What is asked, as it comes: the requests of OpenAI's API, as far as a local model can meet them.

A member that this API has and Verity cannot honour is refused, not ignored: whoever sent it could else believe that it
had an effect. Those that mean nothing on one's own device are in ``_Ignored``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_CHOICES = 16
MAX_MESSAGES = 2048
MAX_STOPS = 64
MAX_TOOLS = 128
MAX_TEXTS = 2048
MAX_ADAPTERS = 8
MAX_TOP_CHAT = 20
MAX_TOP_TEXT = 5

Count = Annotated[int, Field(ge=1, le=1 << 31)]
Stops = Annotated[list[str], Field(max_length=MAX_STOPS)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class CalledFunction(_Strict):
    """``parsed_arguments`` are the arguments again: the official clients' helpers add them to what they hand out."""

    name: Name
    arguments: str
    parsed_arguments: Any = None


class Call(_Strict):
    """A call that the model made in an earlier turn; ``index`` is left of a stream."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class WireMessage(_Strict):
    """``name``, and what clients' helpers and other servers leave in an answer, are not shown to the model."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    refusal: str | None = None
    parsed: Any = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Call], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> WireMessage:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's message has tool_calls")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("a tool's message, and only a tool's, has tool_call_id")
        if self.content is None and self.role != "assistant":
            raise ValueError("the message has no content")
        return self

    @property
    def text(self) -> str:
        """The content; text parts are joined by a line break."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class Function(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Strict):
    type: Literal["function"]
    function: Function


class ChosenFunction(_Strict):
    name: Name


class ChosenTool(_Strict):
    type: Literal["function"]
    function: ChosenFunction


class NamedSchema(_Strict):
    """``strict`` is always so; ``name`` and ``description`` are not shown to the model."""

    name: Name
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(_Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with the type json_schema")
        return self


class StreamOptions(_Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ScaledAdapter(_Strict):
    name: Name
    scale: float = 1.0


class _Ignored(_Strict):
    """Accepted, without effect: they speak to a provider about his customer."""

    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class _Generation(_Ignored):
    """What both kinds of completions share; ``top_k``, ``min_p``, ``repetition_penalty``, ``adapters`` are Verity's."""

    model: Name
    max_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: str | Stops | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: dict[str, float] | None = None
    adapters: Annotated[list[Name | ScaledAdapter], Field(max_length=MAX_ADAPTERS)] | None = None

    @field_validator("logit_bias")
    @classmethod
    def _unbiased(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        if bias:
            raise ValueError("logit_bias is not supported")
        return bias

    @model_validator(mode="after")
    def _possible(self) -> _Generation:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream")
        return self

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(_Generation):
    """POST /v1/chat/completions."""

    messages: Annotated[list[WireMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_CHAT)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ")
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            raise ValueError("tool_choice goes with tools")
        return self


class CompletionRequest(_Generation):
    """POST /v1/completions: the prompt goes to the model as it is. Prompts given as tokens are not supported."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)]
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_TEXT)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None

    @model_validator(mode="after")
    def _few(self) -> CompletionRequest:
        if len(self.prompts) * (self.n or 1) > MAX_CHOICES:
            raise ValueError(f"prompts times n is more than {MAX_CHOICES}")
        return self

    @property
    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class EmbeddingRequest(_Ignored):
    """POST /v1/embeddings. Texts given as tokens are not supported, nor are shortened vectors."""

    model: Name
    input: str | Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = None

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class VerifyRequest(_Strict):
    """POST /v1/verify: a bundle, and what is expected of it (``verity verify --help``)."""

    bundle: dict[str, Any]
    key: str | None = None
    model: Name | None = None
    nonce: str | None = None
    prompt: str | None = None
    system: str | None = None
    replay: bool = True

    @property
    def expected(self) -> dict[str, Any]:
        """Options of ``verity.verify``."""
        return self.model_dump(exclude={"bundle"}, exclude_none=True)
