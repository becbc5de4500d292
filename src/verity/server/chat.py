"""Chat completions: the answers as OpenAI's chat objects, calls of tools among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from verity.engines.tool_calls import BEGIN
from verity.server.answering import Ended, Piece, TokenLogprob
from verity.server.answers import Answers
from verity.server.replies import (
    Call,
    CallDelta,
    CalledFunction,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatLogprobs,
    ChatMessage,
    ChatReply,
    ChosenToken,
    Delta,
    FinishReason,
)
from verity.server.shapes import Shape, alternatives, finite


class Chat(Shape):
    """``calling``: the answers may call tools, which are told from text by how they begin; ``logprobs``: wanted."""

    prefix = "chatcmpl"

    def __init__(self, answers: Answers, *, calling: bool, logprobs: bool, include_usage: bool = False) -> None:
        super().__init__(answers, include_usage=include_usage)
        self._calling = calling
        self._logprobs = logprobs
        self._held = ["" for _ in answers.answerings]
        self._held_logprobs: list[list[TokenLogprob]] = [[] for _ in answers.answerings]
        self._told = [not calling for _ in answers.answerings]

    def reply(self) -> ChatReply:
        ended = self.answers.ended
        choices = [self._choice(number, end) for number, end in enumerate(ended)]
        return ChatReply(
            **self.head(), object="chat.completion", choices=choices, usage=self.usage(), verity=self.verity()
        )

    def _choice(self, number: int, ended: Ended) -> ChatChoice:
        content = None if ended.tool_calls else ended.text
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if ended.tool_calls:
            message["tool_calls"] = [Call(**call) for call in self._calls(number, ended)]
        return ChatChoice(
            index=number,
            message=ChatMessage(**message),
            logprobs=_logprobs(self.answers.logprobs[number]) if self._logprobs else None,
            finish_reason=_finish_reason(ended),
        )

    def _calls(self, number: int, ended: Ended) -> Iterator[dict[str, Any]]:
        receipt = self.answers.receipts[number]
        for index, call in enumerate(ended.tool_calls):
            function = CalledFunction(name=call.name, arguments=call.arguments)
            yield {"id": f"call_{receipt[:20]}{index}", "type": "function", "function": function}

    def opening(self, number: int) -> Iterator[ChatChunk]:
        yield self._delta(number, Delta(role="assistant", content=""))

    def delta(self, number: int, piece: Piece) -> Iterator[ChatChunk]:
        """Text goes on at once, unless it may still be the beginning of a call."""
        self._held[number] += piece.text
        self._held_logprobs[number] += piece.logprobs
        held = self._held[number]
        if self._told[number] or not (held.startswith(BEGIN) or BEGIN.startswith(held)):
            self._told[number] = True
            yield from self._release(number)

    def _release(self, number: int) -> Iterator[ChatChunk]:
        text, logprobs = self._held[number], self._held_logprobs[number]
        self._held[number], self._held_logprobs[number] = "", []
        if text or logprobs:
            yield self._delta(number, Delta(content=text), logprobs)

    def closing(self, number: int, ended: Ended) -> Iterator[ChatChunk]:
        if ended.tool_calls:
            for index, call in enumerate(self._calls(number, ended)):
                yield self._delta(number, Delta(tool_calls=[CallDelta(index=index, **call)]))
        else:
            yield from self._release(number)
        choice = ChatChunkChoice(index=number, delta=Delta(), logprobs=None, finish_reason=_finish_reason(ended))
        yield self.chunk([choice])

    def chunk(self, choices: list[Any], **members: Any) -> ChatChunk:
        return ChatChunk(**self.head(), object="chat.completion.chunk", choices=choices, **members)

    def _delta(self, number: int, delta: Delta, logprobs: Sequence[TokenLogprob] = ()) -> ChatChunk:
        told = _logprobs(logprobs) if self._logprobs and logprobs else None
        return self.chunk([ChatChunkChoice(index=number, delta=delta, logprobs=told, finish_reason=None)])


def _finish_reason(ended: Ended) -> FinishReason:
    if ended.tool_calls:
        return "tool_calls"
    return "length" if ended.finish == "length" else "stop"


def _logprobs(tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    content = [
        ChosenToken(token=t.token, bytes=t.bytes, logprob=finite(t.logprob), top_logprobs=alternatives(t))
        for t in tokens
    ]
    return ChatLogprobs(content=content, refusal=None)
