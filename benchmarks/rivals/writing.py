"""Devices at work: outputs written eight at a time, honestly or not, with TOPLOC's proofs made on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from rivals import lies, toploc_check
from rivals.lies import TOKENS, Way
from rivals.outputs import Output
from rivals.watched import WatchedEngine
from verity.engines.engine import Logits, Part
from verity.engines.pooling import Hidden


def write(engine: WatchedEngine, way: Way, group: str, numbers: Sequence[int]) -> Iterator[Output]:
    """An output for each of ``numbers``, in the order in which they are finished."""
    engine.reset()
    waiting = deque((number, 0) for number in numbers)
    free, under_way = list(range(engine.sequences)), dict[int, _Answer]()
    while waiting or under_way:
        while waiting and free:
            number, attempt = waiting.popleft()
            sequence = free.pop()
            under_way[sequence] = _Answer(engine, way, group, number, attempt)
            _evaluate(engine, {sequence: under_way[sequence]})
        _evaluate(engine, under_way)
        for sequence, answer in list(under_way.items()):
            if answer.ended:
                waiting.append((answer.number, answer.attempt + 1))
            elif answer.full:
                yield answer.output()
            else:
                continue
            del under_way[sequence]
            free.append(sequence)
            engine.keep(sequence, 0)


def _evaluate(engine: WatchedEngine, answers: dict[int, _Answer]) -> None:
    """One step: what each answer has ahead, and then its next token."""
    if not answers:
        return
    engine.states.clear()
    rows = engine.step([Part(sequence, answer.ahead) for sequence, answer in answers.items()])
    for answer, logits, state in zip(answers.values(), rows, list(engine.states), strict=True):
        if not (answer.full or answer.ended):
            answer.push(logits, state)


class _Answer:
    """An output under way. ``ahead`` are the tokens to evaluate next."""

    def __init__(self, engine: WatchedEngine, way: Way, group: str, number: int, attempt: int) -> None:
        self.number, self.attempt = number, attempt
        self._engine, self._way = engine, way
        self._seed = lies.seed_of(group, number, attempt)
        prompt = engine.tokenize(engine.render(lies.messages(number, way.system), None))
        self._sampler = way.sampler(way.parameters, self._seed, prompt)
        self.ahead = prompt
        self.ended = False
        self._tokens: list[int] = []
        self._states: list[Hidden] = []
        self._other = -1

    @property
    def full(self) -> bool:
        return len(self._tokens) == TOKENS

    def push(self, logits: Logits, state: Hidden) -> None:
        """Draw the next token. An output that ends before it is full is no use."""
        position = len(self._tokens)
        token = self._sampler.draw(logits)
        if position == lies.edited_position(self.number):
            self._other = _most_likely_other(self._engine, logits, token)
            token = self._other if self._way.edits else token
        self._tokens.append(token)
        self._states.append(state)
        self.ahead = [token]
        self.ended = self._engine.is_end(token)

    def output(self) -> Output:
        proofs = toploc_check.prove(self._states) if toploc_check.installed() else []
        return Output(self.number, self._seed.hex(), self._tokens, proofs, self._other)


def _most_likely_other(engine: WatchedEngine, logits: Logits, token: int) -> int:
    """The most likely token beside this one with which the output does not end."""
    likely = np.argsort(-logits, kind="stable")
    return next(int(other) for other in likely if other != token and not engine.is_end(int(other)))
