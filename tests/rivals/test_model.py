"""A few outputs of the real model, written and looked at as the benchmark does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rivals import lies
from rivals.seeing import replayed, see
from rivals.watched import WatchedEngine
from rivals.writing import write
from verity.engines.llama import LlamaEngine

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def engine(model_path: Path) -> Iterator[WatchedEngine]:
    engine = WatchedEngine(model_path, context_size=384, threads=1, sequences=2)
    yield engine
    engine.close()


def test_watching_changes_no_bit(engine: WatchedEngine, model_path: Path) -> None:
    plain = LlamaEngine(model_path, context_size=384, threads=1)
    tokens = plain.tokenize(plain.render(lies.messages(0, True), None))
    engine.reset()
    engine.states.clear()
    expected = plain.advance(tokens).copy()
    assert np.array_equal(expected, engine.advance(tokens))
    *_, state = plain.hidden(tokens)
    assert np.array_equal(engine.states[-1], state)
    plain.close()


@pytest.mark.slow
def test_an_honest_output_is_exact_and_lies_are_not(engine: WatchedEngine) -> None:
    honest = next(write(engine, lies.CLAIMED, "honest", [0]))
    assert replayed(engine, "honest", honest).position is None
    assert see(engine, "honest", honest).missed == [0.0] * lies.TOKENS
    assert replayed(engine, "edit_after", honest).position == lies.edited_position(0)
    edited = next(write(engine, lies.LIES["edit"].way or lies.CLAIMED, "edit", [1]))
    assert replayed(engine, "edit", edited).position == lies.edited_position(1)
    hotter = next(write(engine, lies.LIES["temperature"].way or lies.CLAIMED, "temperature", [2]))
    assert replayed(engine, "temperature", hotter).position is not None
