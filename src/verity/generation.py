"""One answer as it is written: from logits to a token to text, until it is over. Who runs the engine decides when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from verity.endings import ending
from verity.engines.engine import Engine, Logits
from verity.engines.output import Output
from verity.engines.tool_calls import parse_calls
from verity.request import Request
from verity.sampling.sampler import Sampler
from verity.statements.receipt import ToolCall
from verity.statements.segments import NO_GRAMMAR, SEGMENT_TOKENS, Evaluated, cut, evaluated_length
from verity.store.receipts import Token


class Generation:
    """Feed it the logits after the prompt, then those after each token that it drew. ``output`` is the answer so far;
    its ``finish`` is None until it is over. Raises UsageError for a grammar that cannot be compiled."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self.output = Output(request.max_tokens, request.asked.stops)
        self.evaluated: Evaluated | None = None
        self._engine = engine
        self._prompt = len(request.prompt_tokens)
        self._sampler = Sampler(request.asked.parameters, request.seed, request.prompt_tokens)
        grammar = request.asked.grammar
        self._constraint = engine.constrain(grammar) if grammar is not None else None
        self._allowed: list[bytes] = []

    def draw(self, logits: Logits) -> int:
        """The next token, which is now part of the output. Raises EngineError."""
        if self._constraint is not None:
            logits = self._constraint.apply(logits)
            self._allowed.append(self._constraint.digest())
        token = self._sampler.draw(logits)
        self.output.push(token, self._engine.piece(token), self._engine.is_end(token))
        if self._constraint is not None and self.output.finish is None:
            self._constraint.push(token)
        return token

    def close(self, sequence: int = 0) -> None:
        """Take what the engine's sequence remembers of this answer, before it is used for something else: the receipt
        commits to it. Raises EngineError."""
        bounds = cut(SEGMENT_TOKENS, evaluated_length(self._prompt, len(self.output.tokens)))
        state = self._engine.state(sequence, bounds) if bounds else None
        if state is not None:
            grammar = [self._grammar_at(end) for _, end in bounds]
            self.evaluated = Evaluated(state.encoding, SEGMENT_TOKENS, list(state.chunks), grammar)

    def _grammar_at(self, position: int) -> bytes:
        return self._allowed[position - self._prompt] if self._allowed and position >= self._prompt else NO_GRAMMAR


def write(engine: Engine, request: Request, answer: Generation) -> Iterator[str]:
    """Run the engine for this answer alone, and yield its text as it comes. Raises EngineError."""
    engine.reset()
    token = answer.draw(engine.advance(request.prompt_tokens))
    while True:
        if text := answer.output.fresh():
            yield text
        if answer.output.finish is not None:
            return
        token = answer.draw(engine.advance([token]))


class Finished(NamedTuple):
    """What the recorder keeps of an answer: the result's fields, the tokens, and what the engine remembered. ``calls``
    are among the fields."""

    fields: dict[str, Any]
    tokens: list[Token]
    calls: list[ToolCall]
    evaluated: Evaluated | None


def finished(request: Request, answer: Generation | None, finish: str) -> Finished:
    """The result of an answer that ended by ``finish``; one that could not begin is empty."""
    output = answer.output if answer is not None else Output(request.max_tokens, ())
    calls = parse_calls(output.text) if request.asked.tools else []
    late = request.seed_fields() if request.issued and request.issued.intent else {}
    tokens = [Token(id=t, piece=p) for t, p in zip(output.tokens, output.pieces, strict=True)]
    evaluated = answer.evaluated if answer is not None and finish != "error" else None
    return Finished({**ending(finish, output.text, calls), **late}, tokens, calls, evaluated)
