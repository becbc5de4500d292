"""The fake that ships obeys the rules of the seam, and its numerics are exact."""

from __future__ import annotations

import numpy as np
import pytest

from verity.engines.engine import Engine, Message
from verity.engines.numerics import PROBE_TOKENS, measure
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
