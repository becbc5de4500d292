"""Several sequences in one engine: a step that many share gives each the logits that it gets alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from verity.engines.engine import Engine, Logits, Part
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import probe_tokens
from verity.engines.scripted import ScriptedEngine
from verity.errors import ContextOverflow, EngineError

STEPS = 6
PREFIX = 20


def _alone(engine: Engine, tokens: list[int]) -> list[Logits]:
    engine.reset()
    return [engine.advance(tokens[:PREFIX]).copy(), *(engine.advance([t]).copy() for t in tokens[PREFIX:])]


def _lines(engine: Engine) -> list[list[int]]:
    """One sequence of tokens for each slot: a common prefix, then different ones."""
    spread = probe_tokens(PREFIX + STEPS * engine.sequences, engine.vocabulary)
    return [spread[:PREFIX] + spread[PREFIX + n :: engine.sequences][:STEPS] for n in range(engine.sequences)]


def _together(engine: Engine, lines: list[list[int]]) -> list[list[Logits]]:
    """Staggered: line n starts at step n, its prefix copied from line 0; every step is one batch."""
    engine.reset()
    got: list[list[Logits]] = [[] for _ in lines]
    for step in range(STEPS + len(lines)):
        parts = []
        for sequence, line in enumerate(lines):
            at = step - sequence
            if at == 0 and sequence:
                engine.copy(0, sequence, PREFIX - 1)
                parts.append(Part(sequence, line[PREFIX - 1 : PREFIX]))
            elif 0 <= at <= STEPS:
                parts.append(Part(sequence, line[:PREFIX] if at == 0 else [line[PREFIX + at - 1]]))
        for part, logits in zip(parts, engine.step(parts), strict=True):
            got[part.sequence].append(logits.copy())
    return got


@pytest.fixture(scope="module", params=["scripted", pytest.param("llama", marks=pytest.mark.model)])
def several(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "scripted":
        yield ScriptedEngine(sequences=4)
        return
    engine = LlamaEngine(request.getfixturevalue("model_path"), context_size=256, threads=1, sequences=4)
    yield engine
    engine.close()


def test_a_shared_step_changes_no_bit(several: Engine) -> None:
    lines = _lines(several)
    alone = [_alone(several, line) for line in lines]
    together = _together(several, lines)
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other) == STEPS + 1
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_sequence_goes_on_from_what_it_keeps(several: Engine) -> None:
    line = _lines(several)[0]
    alone = _alone(several, line)
    several.keep(0, PREFIX)
    assert np.array_equal(several.step([Part(0, [line[PREFIX]])])[0], alone[1])
    several.keep(0, 0)
    assert np.array_equal(several.step([Part(0, line[:PREFIX])])[0], alone[0])


@pytest.mark.model
def test_limits_of_a_step(model_path: Path) -> None:
    engine = LlamaEngine(model_path, context_size=256, threads=1, sequences=2, micro_batch=8)
    try:
        assert (engine.context_size, engine.context["size"]) == (256, 256)
        with pytest.raises(EngineError, match="at most 128 tokens"):
            engine.step([Part(0, [1] * 100), Part(1, [1] * 29)])
        for _ in range(2):
            engine.step([Part(1, [1] * 128)])
        with pytest.raises(ContextOverflow):
            engine.step([Part(0, [1]), Part(1, [1])])
        engine.step([Part(0, [1])])
    finally:
        engine.close()
