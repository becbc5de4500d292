"""Plain completions: the answers as OpenAI's older text objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from verity.server.answering import Ended, Piece, TokenLogprob
from verity.server.answers import Answers
from verity.server.replies import FinishReason, TextChoice, TextLogprobs, TextReply
from verity.server.shapes import Shape, finite


class Text(Shape):
    prefix = "cmpl"

    def __init__(self, answers: Answers, *, prompts: int, logprobs: bool, include_usage: bool = False) -> None:
        super().__init__(answers, prompts=prompts, include_usage=include_usage)
        self._logprobs = logprobs
        self._lengths = [0 for _ in answers.answerings]

    def reply(self) -> TextReply:
        choices = [
            self._choice(number, ended.text, self.answers.logprobs[number], _finish_reason(ended))
            for number, ended in enumerate(self.answers.ended)
        ]
        return self.chunk(choices, usage=self.usage(), verity=self.verity())

    def opening(self, number: int) -> Iterator[TextReply]:  # noqa: ARG002
        return iter(())

    def delta(self, number: int, piece: Piece) -> Iterator[TextReply]:
        yield self.chunk([self._choice(number, piece.text, piece.logprobs, None)])

    def closing(self, number: int, ended: Ended) -> Iterator[TextReply]:
        yield self.chunk([TextChoice(index=number, text="", logprobs=None, finish_reason=_finish_reason(ended))])

    def chunk(self, choices: list[Any], **members: Any) -> TextReply:
        return TextReply(**self.head(), object="text_completion", choices=choices, **members)

    def _choice(
        self, number: int, text: str, tokens: Sequence[TokenLogprob], finish: FinishReason | None
    ) -> TextChoice:
        logprobs = self._told(number, tokens) if self._logprobs else None
        return TextChoice(index=number, text=text, logprobs=logprobs, finish_reason=finish)

    def _told(self, number: int, tokens: Sequence[TokenLogprob]) -> TextLogprobs:
        offsets = []
        for token in tokens:
            offsets.append(self._lengths[number])
            self._lengths[number] += len(token.token)
        return TextLogprobs(
            tokens=[token.token for token in tokens],
            token_logprobs=[finite(token.logprob) for token in tokens],
            top_logprobs=[{text: finite(p) for text, _, p in token.top} for token in tokens],
            text_offset=offsets,
        )


def _finish_reason(ended: Ended) -> FinishReason:
    return "length" if ended.finish == "length" else "stop"
