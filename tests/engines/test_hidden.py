"""Hidden states: the same bits however they are computed, and no answer under way notices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from verity.engines.engine import Engine
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import probe_tokens
from verity.errors import ContextOverflow, EngineError
from verity.node import Node


def states(engine: Engine, tokens: list[int]) -> np.ndarray:
    return np.stack([row.copy() for row in engine.hidden(tokens)])


@pytest.fixture(scope="module")
def alone(model_path: Path) -> np.ndarray:
    """Those of 70 tokens, evaluated one by one on one thread."""
    engine = LlamaEngine(model_path, threads=1, micro_batch=1, context_size=128)
    found = states(engine, probe_tokens(70, engine.vocabulary))
    engine.close()
    return found


@pytest.mark.model
@pytest.mark.parametrize(("threads", "micro_batch", "context_size"), [(1, 8, 128), (1, 128, 4096), (2, 64, 256)])
def test_batches_threads_and_context_change_nothing(
    threads: int, micro_batch: int, context_size: int, model_path: Path, alone: np.ndarray
) -> None:
    engine = LlamaEngine(model_path, threads=threads, micro_batch=micro_batch, context_size=context_size)
    found = states(engine, probe_tokens(70, engine.vocabulary))
    engine.close()
    assert found.shape == (70, engine.dimensions)
    assert found.tobytes() == alone.tobytes()


@pytest.mark.slow
@pytest.mark.model
def test_a_long_text_is_exact_too(model_path: Path) -> None:
    """Beyond 512 keys, where other caches change to another path."""
    found = []
    for micro_batch in (1, 100, 512):
        engine = LlamaEngine(model_path, threads=1, micro_batch=micro_batch, context_size=1024)
        found.append(states(engine, probe_tokens(600, engine.vocabulary)).tobytes())
        engine.close()
    assert len(set(found)) == 1


@pytest.mark.model
def test_an_answer_under_way_does_not_notice(model_node: Node) -> None:
    engine = model_node.load().engine
    tokens = probe_tokens(24, engine.vocabulary)
    engine.reset()
    engine.advance(tokens[:20])
    undisturbed = engine.advance(tokens[20:]).copy()
    engine.reset()
    engine.advance(tokens[:20])
    states(engine, tokens[7:])
    assert engine.advance(tokens[20:]).tobytes() == undisturbed.tobytes()


@pytest.mark.model
def test_a_short_text_comes_out_the_same_after_a_long_one(model_node: Node) -> None:
    engine = model_node.load().engine
    long, short = probe_tokens(530, engine.vocabulary), probe_tokens(9, engine.vocabulary)
    before = states(engine, short)
    states(engine, long)  # makes the context larger
    assert states(engine, short).tobytes() == before.tobytes()


@pytest.mark.model
def test_what_does_not_fit_or_is_no_token_is_an_error(model_path: Path) -> None:
    engine = LlamaEngine(model_path, threads=1, context_size=256)
    with pytest.raises(ContextOverflow, match="257 tokens"):
        engine.hidden([5] * 257)
    for wrong in (-1, engine.vocabulary):
        with pytest.raises(EngineError, match="vocabulary"):
            engine.hidden([5, wrong])
    assert states(engine, [5] * 256).shape[0] == 256
    engine.close()


def test_the_fake_depends_on_every_token_before(engine: Engine) -> None:
    first, other = states(engine, [1, 2, 3]), states(engine, [1, 7, 3])
    assert first.shape == (3, engine.dimensions)
    assert first[0].tobytes() == other[0].tobytes()
    assert first[2].tobytes() != other[2].tobytes()
    with pytest.raises(ContextOverflow):
        states(engine, [1] * (engine.context_size + 1))
