"""What the two forms of answers, chat and plain completions, have in common: how one is made into a reply or events."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import BaseModel

from verity.server.answering import Ended, Piece, TokenLogprob
from verity.server.answers import Answers
from verity.server.failures import failure_of
from verity.server.replies import AlternativeToken, PromptDetails, Usage, Verity

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON has not; OpenAI's API does the same."""
DONE = "data: [DONE]\n\n"


class Shape(ABC):
    """One request's form. ``prompts`` are how many prompts the choices are for."""

    prefix: str

    def __init__(self, answers: Answers, *, prompts: int = 1, include_usage: bool = False) -> None:
        self.answers = answers
        self.include_usage = include_usage
        self._prompts = prompts
        self._created = int(time.time())

    @abstractmethod
    def reply(self) -> BaseModel:
        """All of it, once the answers are over."""

    @abstractmethod
    def opening(self, number: int) -> Iterator[BaseModel]:
        """Chunks before the first piece of a choice."""

    @abstractmethod
    def delta(self, number: int, piece: Piece) -> Iterator[BaseModel]:
        """Chunks for a piece."""

    @abstractmethod
    def closing(self, number: int, ended: Ended) -> Iterator[BaseModel]:
        """Chunks for the end of a choice; the last one has its finish reason."""

    @abstractmethod
    def chunk(self, choices: list[Any], **members: Any) -> BaseModel:
        """A chunk with these choices."""

    def head(self) -> dict[str, Any]:
        """Members of a reply and of each chunk."""
        first = self.answers.answerings[0]
        return {
            "id": f"{self.prefix}-{first.receipt}",
            "created": self._created,
            "model": str(first.model["name"]),
            "system_fingerprint": _fingerprint(first.numerics),
        }

    def verity(self) -> Verity:
        first = self.answers.answerings[0]
        return Verity(
            receipt=first.receipt,
            receipts=self.answers.receipts,
            device=first.device,
            nonce=first.nonce,
            parameters=dict(first.parameters),
            numerics=dict(first.numerics),
            model=str(first.model["blake3"]),
        )

    def usage(self) -> Usage:
        ended = self.answers.ended
        each_prompt = ended[:: max(1, len(ended) // self._prompts)]
        prompt, completion = sum(e.prompt_tokens for e in each_prompt), sum(e.completion_tokens for e in ended)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=PromptDetails(cached_tokens=sum(e.cached_tokens for e in each_prompt)),
        )


async def events(shape: Shape) -> AsyncIterator[str]:
    """The whole stream as server-sent events. A failure on the way is an event, and the end of the stream."""
    answers, unset = shape.answers, {"usage": None} if shape.include_usage else {}
    try:
        for number in range(len(answers.answerings)):
            for chunk in shape.opening(number):
                yield _event(chunk, unset)
        async for number, item in answers:
            chunks = list(shape.delta(number, item) if isinstance(item, Piece) else shape.closing(number, item))
            if len(answers.ended) == len(answers.answerings) and not shape.include_usage:
                chunks[-1] = chunks[-1].model_copy(update={"verity": shape.verity()})
            for chunk in chunks:
                yield _event(chunk, unset)
        if shape.include_usage:
            yield _event(shape.chunk([], usage=shape.usage(), verity=shape.verity()))
        yield DONE
    except Exception as error:
        yield f"event: error\ndata: {json.dumps(failure_of(error).body())}\n\n"


def _event(chunk: BaseModel, more: dict[str, Any] | None = None) -> str:
    return f"data: {chunk.model_copy(update=more).model_dump_json(exclude_unset=True)}\n\n"


def _fingerprint(numerics: Any) -> str | None:
    value = numerics.get("fingerprint")
    return f"fp_{value[:16]}" if isinstance(value, str) else None


def finite(logprob: float) -> float:
    return logprob if logprob > LEAST_LOGPROB else LEAST_LOGPROB


def alternatives(token: TokenLogprob) -> list[AlternativeToken]:
    return [AlternativeToken(token=text, bytes=list(raw), logprob=finite(p)) for text, raw, p in token.top]
