"""Scores a text with a receipt: how likely the model finds each of its tokens, and what could come next.

The same as an answer, but that nothing is drawn: no nonce, no seed. Formats: spec/scoring.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from verity.endings import scoring_ending
from verity.engines.engine import Engine
from verity.engines.scores import MAX_TOP, Candidate, Scores, score, shared
from verity.errors import ContextOverflow, UsageError
from verity.exporter import Exporter
from verity.loader import Loaded
from verity.recorded import Recorded, check_shown, on_record, setting
from verity.recorder import Recorder
from verity.request import Asked
from verity.statements.receipt import SCORING, Continuation, input_field
from verity.store.clock import now


class Scored(Recorded, frozen=True, kw_only=True):
    """Scores with their receipt.

    ``tokens`` are those of the whole text and ``pieces`` their bytes; ``logprobs`` (natural logarithms) are of each
    token after the first. ``start`` is the first token that the given answer decides; without one it is 1, so that all
    count that have a log-probability. ``candidates`` could come next, the likeliest first.
    """

    tokens: list[int]
    pieces: list[bytes]
    logprobs: list[float]
    start: int
    candidates: list[Candidate]

    @property
    def logprob(self) -> float:
        """Of the given answer after its prompt, or of the text after its first token: a sum."""
        return math.fsum(self.logprobs[self.start - 1 :])

    @property
    def perplexity(self) -> float:
        """The inverse of the mean probability (geometric) of the tokens that count; NaN when there are none."""
        count = len(self.tokens) - self.start
        return math.exp(-self.logprob / count) if count else math.nan


class ScoringRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, checked and in tokens, the given answer's included."""

    asked: Asked
    clock: str | None
    continuation: Continuation | None
    prompt_tokens: list[int]
    top: int


class Scorer:
    """Scores on one device."""

    def __init__(self, recorder: Recorder, exporter: Exporter) -> None:
        self._recorder = recorder
        self._exporter = exporter

    def run(self, loaded: Loaded, request: ScoringRequest, show: Sequence[str] = ()) -> Scored:
        """Log the intent, score, log the result, however it ends. Raises UsageError for a field to show that there is
        not, EngineError, StoreError, LogError."""
        fields, engine, tokens = intent_fields(request, loaded), loaded.engine, request.prompt_tokens
        check_shown(show, fields)
        begun = self._recorder.begin(fields, show, kind=SCORING)
        made: Scores | None = None
        finish = "error"
        try:
            engine.reset()
            made = score(engine.advance_all(tokens), tokens, request.top, engine.piece)
            finish = "end"
        except KeyboardInterrupt:
            finish = "cancelled"
            raise
        finally:
            self._recorder.finish(begun, scoring_ending(finish, made), [])
        return Scored(
            tokens=tokens,
            pieces=[engine.piece(token) for token in tokens],
            logprobs=made.logprobs,
            start=request.continuation.start if request.continuation else 1,
            candidates=made.candidates,
            **on_record(begun, self._exporter, loaded),
        )


def make_request(engine: Engine, asked: Asked, continuation: str | None, top: int) -> ScoringRequest:
    """Check what is asked for and turn it into tokens. Raises UsageError, ContextOverflow, EngineError."""
    if type(top) is not int or not 0 <= top <= MAX_TOP:
        raise UsageError(f"0 to {MAX_TOP} candidates can be asked for", "see spec/scoring.md")
    clock = now() if engine.template_clock and not asked.raw else None
    prompt = asked.messages[0].content if asked.raw else engine.render(asked.messages, clock)
    tokens, given = engine.tokenize(prompt), None
    if continuation is not None:
        tokens, given = _continued(engine, prompt, tokens, continuation)
    if not tokens:
        raise UsageError("the text has no tokens", "give a longer one")
    if len(tokens) > engine.context_size:
        raise ContextOverflow(
            f"a text of {len(tokens):,} tokens does not fit a context of {engine.context_size:,}",
            "split it, or use a larger --context",
        )
    return ScoringRequest(asked=asked, clock=clock, continuation=given, prompt_tokens=tokens, top=top)


def _continued(engine: Engine, prompt: str, before: list[int], text: str) -> tuple[list[int], Continuation]:
    """The tokens of prompt and answer together, since a boundary between them may fall within a token."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError("the answer is not valid Unicode text", "save it as UTF-8") from error
    tokens = engine.tokenize(prompt + text)
    start = shared(before, tokens)
    if not 0 < start < len(tokens):
        raise UsageError("the answer is empty, or changes the first token", "leave it out, or give a longer prompt")
    return tokens, Continuation(start=start, text=text)


def intent_fields(request: ScoringRequest, loaded: Loaded) -> dict[str, Any]:
    """Every field of the intent (spec/scoring.md)."""
    template = {"sha256": loaded.engine.template_digest, "add_generation_prompt": True, "clock": request.clock}
    return {
        "tokenizer": loaded.engine.tokenizer,
        **setting(loaded, loaded.engine, loaded.adapters),
        "continuation": msgspec.to_builtins(request.continuation),
        "prompt_tokens": request.prompt_tokens,
        "template": None if request.asked.raw else template,
        "top": request.top,
        **{input_field(i): msgspec.to_builtins(m) for i, m in enumerate(request.asked.messages)},
    }
