"""The fake that ships obeys the rules of the seam, and its numerics are exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from verity.engines.engine import AdapterFile, Engine, Message, Part
from verity.engines.numerics import PROBE_TOKENS, measure, setting_of
from verity.engines.scripted import END, ScriptedEngine
from verity.errors import ContextOverflow, EngineError


def test_one_by_one_and_together_agree(engine: Engine) -> None:
    tokens = engine.tokenize("user: hello\n")
    together = [row.copy() for row in engine.advance_all(tokens)]
    engine.reset()
    singly = [engine.advance([t]).copy() for t in tokens]
    assert all(np.array_equal(a, b) for a, b in zip(together, singly, strict=True))
    engine.reset()
    assert [r.tolist() for r in engine.advance_all(tokens, skip=3)] == [r.tolist() for r in together[3:]]


def test_it_writes_its_reply() -> None:
    engine = ScriptedEngine("Ja.")
    logits = engine.advance(engine.tokenize(engine.render([Message("user", "?")], None)))
    written = []
    for _ in range(4):
        written.append(int(logits.argmax()))
        logits = engine.advance(written[-1:])
    assert written == [*b"Ja.", END]


def test_numerics_are_measured_with_progress(engine: Engine) -> None:
    steps: list[tuple[int, int]] = []
    first = measure(engine, lambda done, total: steps.append((done, total)))
    assert first.exact
    assert first == measure(engine)
    assert steps[-1] == (2 * PROBE_TOKENS, 2 * PROBE_TOKENS)
    assert first.fingerprint != measure(ScriptedEngine(context_size=64)).fingerprint


class Drifting(ScriptedEngine):
    """Computes batches a little differently, as an f16 cache does."""

    def advance_all(self, tokens, skip=0, at_least=1):  # type: ignore[no-untyped-def]
        for row in super().advance_all(tokens, skip, at_least):
            yield row * np.float32(1.0000001)


def test_the_probe_notices_when_batches_are_computed_differently() -> None:
    assert not measure(Drifting()).exact


class ExactInSmallBatches(ScriptedEngine):
    """Agrees with itself until wide batches are asked for, as an f16 cache in batches of 8."""

    def advance_all(self, tokens, skip=0, at_least=1):  # type: ignore[no-untyped-def]
        for row in super().advance_all(tokens, skip, at_least):
            yield row * np.float32(1.0000001 if at_least >= 64 else 1.0)


def test_the_probe_asks_for_wide_batches() -> None:
    assert not measure(ExactInSmallBatches()).exact


def test_bounds(engine: Engine) -> None:
    with pytest.raises(EngineError, match="not in the vocabulary"):
        engine.advance([999])
    with pytest.raises(ContextOverflow):
        ScriptedEngine(context_size=4).advance([1] * 5)


def test_adapters_change_what_it_writes_each_set_in_its_own_way() -> None:
    sets = [[], [FIRST], [FIRST._replace(scale=0.5)], [FIRST, SECOND], [SECOND, FIRST]]
    engine, seen = ScriptedEngine(), []
    for adapters in (*sets, []):
        engine.use_adapters(adapters)
        engine.reset()
        seen.append(engine.advance(engine.tokenize("Why?")).tobytes())
    assert len(set(seen)) == len(sets)
    assert seen[0] == seen[-1]
    assert len({setting_of(_with(adapters)) for adapters in sets}) == len(sets)
    assert setting_of(_with([FIRST._replace(scale=1)])) == setting_of(_with([FIRST]))


def test_a_sequence_begun_under_others_does_not_go_on() -> None:
    engine = ScriptedEngine(sequences=2)
    engine.step([Part(0, [1]), Part(1, [1])])
    engine.use_adapters([FIRST])
    with pytest.raises(EngineError, match="other adapters"):
        engine.step([Part(0, [2])])
    engine.keep(1, 0)
    engine.step([Part(1, [2])])
    engine.copy(1, 0, 1)
    engine.step([Part(0, [2])])


def _with(adapters: list[AdapterFile]) -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.use_adapters(adapters)
    return engine


FIRST, SECOND = AdapterFile("a" * 64, Path("a"), 1.0), AdapterFile("b" * 64, Path("b"), 1.0)
