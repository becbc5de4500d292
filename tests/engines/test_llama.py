"""The real engine: exactness, errors, and that nothing but bits of the model decides the logits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from verity.engines.library import describe_library
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import probe_tokens
from verity.errors import ContextOverflow, EngineError
from verity.node import Node
from verity.statements.receipt import Message

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def probe(model_path: Path) -> list[np.ndarray]:
    """Logits of 40 tokens, decoded one by one on one thread."""
    engine = LlamaEngine(model_path, threads=1, context_size=512)
    rows = [engine.advance([t]).copy() for t in probe_tokens(40, engine.vocabulary)]
    engine.close()
    return rows


@pytest.mark.parametrize(("threads", "micro_batch"), [(1, 128), (2, 8), (2, 512)])
def test_batches_and_threads_change_nothing(
    threads: int,
    micro_batch: int,
    model_path: Path,
    probe: list[np.ndarray],
) -> None:
    engine = LlamaEngine(model_path, threads=threads, micro_batch=micro_batch)
    rows = [row.copy() for row in engine.advance_all(probe_tokens(40, engine.vocabulary), skip=2)]
    engine.close()
    assert all(np.array_equal(a, b) for a, b in zip(rows, probe[2:], strict=True))


def test_the_default_model_is_exact_here(model_node: Node) -> None:
    assert model_node.load().numerics.exact


def test_template_and_tokens(model_node: Node) -> None:
    engine = model_node.load().engine
    rendered = engine.render([Message("user", "Hi")], None)
    assert rendered.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    tokens = engine.tokenize(rendered)
    assert b"".join(engine.piece(t) for t in engine.tokenize("Grüße, 世界 🌍")).decode() == "Grüße, 世界 🌍"
    assert sum(engine.is_end(t) for t in tokens) >= 1
    assert engine.piece(next(t for t in tokens if engine.is_end(t))) == b""


def test_the_library_is_named_by_its_digest() -> None:
    described = describe_library()
    assert described["name"] == "llama.cpp"
    assert len(described["library"]) == 64


def test_not_a_model(tmp_path: Path) -> None:
    text = tmp_path / "notes.gguf"
    text.write_text("not a model at all, but long enough to be looked at")
    with pytest.raises(EngineError, match="not a GGUF model file") as caught:
        LlamaEngine(text)
    assert "pull" in caught.value.hint
    with pytest.raises(EngineError, match="cannot be read"):
        LlamaEngine(tmp_path / "missing.gguf")


def test_a_truncated_model(model_path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    shutil.copy(model_path, cut)
    with cut.open("r+b") as file:
        file.truncate(50_000_000)
    with pytest.raises(EngineError, match="damaged, cut short"):
        LlamaEngine(cut)


def test_the_context_is_a_limit(model_path: Path) -> None:
    engine = LlamaEngine(model_path, context_size=256, threads=1)
    with pytest.raises(ContextOverflow):
        engine.advance([1] * (engine.context_size + 1))
    engine.reset()
    with pytest.raises(EngineError, match="not in the model's vocabulary"):
        engine.advance([engine.vocabulary])
    engine.close()
    with pytest.raises(EngineError, match="is not possible"):
        LlamaEngine(model_path, context_size=10**9)
