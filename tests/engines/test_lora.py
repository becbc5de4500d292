"""LoRA adapters in llama.cpp: swapped without a trace, summed in the order asked for, refused where they do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import tiny
from lora import SMOLLM2, TINY, lora

from verity.engines.engine import AdapterFile, Part
from verity.engines.llama import LlamaEngine
from verity.engines.lora import _bucket
from verity.errors import EngineError

pytestmark = pytest.mark.model
TOKENS = list(range(3, 60))


def adapter(folder: Path, number: int, scale: float = 1.0, *, shapes: dict[str, tuple[int, int]] = TINY) -> AdapterFile:
    path = folder / f"{number}.gguf"
    if not path.exists():
        path.write_bytes(lora(seed=number, shapes=shapes, strength=1.0))
    return AdapterFile(f"{number:064x}", path, scale)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny())
    return path


@pytest.fixture
def llama(base: Path) -> Iterator[LlamaEngine]:
    engine = LlamaEngine(base, threads=1, sequences=2)
    yield engine
    engine.close()


def logits(engine: LlamaEngine, adapters: list[AdapterFile], tokens: list[int] = TOKENS) -> np.ndarray:
    engine.use_adapters(adapters)
    engine.reset()
    return engine.advance(tokens).copy()


def fresh(base: Path, adapters: list[AdapterFile], tokens: list[int] = TOKENS) -> np.ndarray:
    engine = LlamaEngine(base, threads=1)
    try:
        return logits(engine, adapters, tokens)
    finally:
        engine.close()


def test_hot_swap_gives_what_a_fresh_engine_gives(base: Path, llama: LlamaEngine, tmp_path: Path) -> None:
    a, b = adapter(tmp_path, 1), adapter(tmp_path, 2)
    sets: list[list[AdapterFile]] = [[a], [b], [], [a, b._replace(scale=0.5)], [a._replace(scale=-2.0)], [a], []]
    seen = [logits(llama, adapters) for adapters in sets]
    for adapters, row in zip(sets, seen, strict=True):
        assert np.array_equal(row, fresh(base, adapters))
        assert all(np.array_equal(row, other) == (adapters == s) for s, other in zip(sets, seen, strict=True))
    assert llama.adapters == []


def test_the_sum_has_the_order_asked_for_whatever_the_addresses(llama: LlamaEngine, tmp_path: Path) -> None:
    adapters = [adapter(tmp_path, number, 1 + number / 10) for number in range(8)]
    forward = logits(llama, adapters)
    backward = logits(llama, adapters[::-1])
    assert not np.array_equal(forward, backward)
    assert np.allclose(forward, backward, atol=1e-2)
    seen = set()
    for round_ in range(5):
        for number in range(20, 38 + round_):  # so many others that the first are freed, and then get other addresses
            llama.use_adapters([adapter(tmp_path, number)])
        assert np.array_equal(logits(llama, adapters), forward)
        assert np.array_equal(logits(llama, adapters[::-1]), backward)
        assert llama._lora is not None
        seen.add(tuple(_bucket(llama._lora._loaded[a.path][0]) for a in adapters))
    assert len(seen) > 1


def test_two_that_fall_into_one_bucket_are_told_apart(llama: LlamaEngine, tmp_path: Path) -> None:
    adapters = [adapter(tmp_path, number) for number in range(8)]
    llama.use_adapters(adapters)
    assert llama._lora is not None
    taken = {_bucket(llama._lora._loaded[adapters[0].path][0])}
    other = llama._lora._in_free_bucket(adapters[0].path, taken)
    assert _bucket(other) not in taken


def test_of_very_many_only_some_stay_loaded(base: Path, llama: LlamaEngine, tmp_path: Path) -> None:
    adapters = [adapter(tmp_path, number) for number in range(40)]
    for one in adapters:
        llama.use_adapters([adapters[0], one] if one is not adapters[0] else [one])
    assert llama._lora is not None
    assert len(llama._lora._loaded) == 16
    assert adapters[0].path in llama._lora._loaded
    for one in adapters[:3]:
        assert np.array_equal(logits(llama, [one]), fresh(base, [one]))


def test_a_file_for_another_model_is_refused_and_nothing_is_in_use(
    base: Path, llama: LlamaEngine, tmp_path: Path
) -> None:
    good, wide = adapter(tmp_path, 1), adapter(tmp_path, 9, shapes=SMOLLM2)
    llama.use_adapters([good])
    with pytest.raises(EngineError, match="incorrect shape") as refused:
        llama.use_adapters([good, wide])
    assert "trained on" in refused.value.hint
    assert llama.adapters == []
    assert np.array_equal(logits(llama, []), fresh(base, []))
    for path, data in ((tmp_path / "cut", good.path.read_bytes()[:900]), (tmp_path / "none", None)):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(EngineError):
            llama.use_adapters([AdapterFile("0" * 64, path, 1.0)])


def test_a_sequence_goes_on_only_under_its_own_adapters(llama: LlamaEngine, tmp_path: Path) -> None:
    a = adapter(tmp_path, 1)
    begun, rest = TOKENS[:20], TOKENS[20:]
    whole = logits(llama, [a])
    llama.reset()
    llama.step([Part(0, begun)])
    llama.use_adapters([])
    plain = llama.step([Part(1, TOKENS)])[0].copy()
    with pytest.raises(EngineError, match="other adapters"):
        llama.step([Part(0, rest)])
    llama.use_adapters([a])
    assert np.array_equal(llama.step([Part(0, rest)])[0], whole)
    with pytest.raises(EngineError, match="other adapters"):
        llama.step([Part(1, [5])])
    llama.copy(0, 1, len(begun))
    assert np.array_equal(llama.step([Part(1, rest)])[0], whole)
    llama.use_adapters([])
    llama.keep(1, 0)
    assert np.array_equal(llama.step([Part(1, TOKENS)])[0], plain)


def test_the_real_model_is_changed_and_changed_back(model_path: Path, tmp_path: Path) -> None:
    a, b = (adapter(tmp_path, number, shapes=SMOLLM2) for number in (1, 2))
    engine = LlamaEngine(model_path, threads=1, context_size=256)
    seen = [logits(engine, adapters) for adapters in ([], [a], [a, b], [])]
    engine.use_adapters([a, b])
    engine.reset()
    one_by_one = [engine.advance([token]).copy() for token in TOKENS]
    engine.close()
    assert np.array_equal(seen[0], seen[3])
    assert np.abs(seen[1] - seen[0]).max() > 0.5
    assert not np.array_equal(seen[1], seen[2])
    assert np.array_equal(one_by_one[-1], seen[2])
    assert np.array_equal(seen[2], fresh(model_path, [a, b]))
