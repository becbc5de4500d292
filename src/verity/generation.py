"""One answer as it is written: from logits to a token to text, until it is over. Who runs the engine decides when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from verity.engines.engine import Engine, Logits
from verity.engines.output import Output
from verity.engines.tool_calls import parse_calls
from verity.recorder import ending
from verity.request import Request
from verity.sampling.sampler import Sampler
from verity.statements.receipt import ToolCall
from verity.store.receipts import Token


class Generation:
    """Feed it the logits after the prompt, then those after each token that it drew. ``output`` is the answer so far;
    its ``finish`` is None until it is over. Raises UsageError for a grammar that cannot be compiled."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self.output = Output(request.max_tokens, request.asked.stops)
        self._engine = engine
        self._sampler = Sampler(request.asked.parameters, request.seed, request.prompt_tokens)
        grammar = request.asked.grammar
        self._constraint = engine.constrain(grammar) if grammar is not None else None

    def draw(self, logits: Logits) -> int:
        """The next token, which is now part of the output. Raises EngineError."""
        if self._constraint is not None:
            logits = self._constraint.apply(logits)
        token = self._sampler.draw(logits)
        self.output.push(token, self._engine.piece(token), self._engine.is_end(token))
        if self._constraint is not None and self.output.finish is None:
            self._constraint.push(token)
        return token


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
    """What the recorder keeps of an answer: the result's fields, and the tokens. ``calls`` are among the fields."""

    fields: dict[str, Any]
    tokens: list[Token]
    calls: list[ToolCall]


def finished(request: Request, output: Output, finish: str) -> Finished:
    """The result of an answer that ended by ``finish``."""
    calls = parse_calls(output.text) if request.asked.tools else []
    late = request.seed_fields() if request.issued and request.issued.intent else {}
    tokens = [Token(id=t, piece=p) for t, p in zip(output.tokens, output.pieces, strict=True)]
    return Finished({**ending(finish, output.text, calls), **late}, tokens, calls)
