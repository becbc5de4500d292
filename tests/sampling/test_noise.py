"""spec/sampling.md, section 1: seed, position key, SplitMix64, Gumbel noise."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sampling import reference

from verity.sampling.noise import all_words, derive_seed, gumbel, position_key, words

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "spec/vectors/noise.json").read_text())
U64 = st.integers(0, 2**64 - 1)


def one_word(key: int, token: int) -> int:
    return int(words(np.uint64(key), np.array([token], dtype=np.uint64))[0])


def one_noise(word: int) -> float:
    return float(gumbel(np.array([word], dtype=np.uint64))[0])


# --- published vectors ------------------------------------------------------------------------------------------------


def test_splitmix64_gives_its_published_outputs() -> None:
    published = VECTORS["splitmix64"]
    outputs = [int(text) for text in published["outputs"]]
    assert outputs[:2] == [6457827717110365317, 3203168211198807973]
    key = np.uint64(int(published["seed"]))
    assert words(key, np.arange(5, dtype=np.uint64)).tolist() == all_words(key, 5).tolist() == outputs


@pytest.mark.parametrize("case", VECTORS["seeds"], ids=lambda case: f"{case['nonce'][:8]}-{case['choice']}")
def test_seed_vectors(case: dict[str, Any]) -> None:
    assert derive_seed(bytes.fromhex(case["nonce"]), case["choice"]).hex() == case["seed"]


@pytest.mark.parametrize("case", VECTORS["words"], ids=lambda case: str(case["word"]))
def test_word_vectors(case: dict[str, Any]) -> None:
    assert one_noise(int(case["word"])) == pytest.approx(case["noise"], rel=0, abs=1e-12)


@pytest.mark.parametrize("case", VECTORS["noise"], ids=lambda case: f"{case['seed'][:8]}-{case['position']}")
def test_noise_vectors(case: dict[str, Any]) -> None:
    key = position_key(bytes.fromhex(case["seed"]), int(case["position"]))
    assert int(key) == int(case["key"])
    drawn = words(key, np.array(case["tokens"], dtype=np.uint64))
    assert [str(w) for w in drawn.tolist()] == case["words"]
    assert np.abs(gumbel(drawn) - np.array(case["noise"])).max() < 1e-12


def test_the_vectors_are_what_their_maker_writes(tmp_path: Path) -> None:
    maker = [sys.executable, "-m", "tests.sampling.make_vectors", str(tmp_path)]
    subprocess.run(maker, check=True, timeout=60, cwd=ROOT)
    for name in ("noise.json", "sampling.json"):
        assert (tmp_path / name).read_bytes() == (ROOT / "spec/vectors" / name).read_bytes()


# --- against the standard library and the reference -------------------------------------------------------------------


def test_seed_and_key_are_plain_hmac() -> None:
    nonce, seed = bytes(range(32)), bytes(range(32, 64))
    block = hmac.new(nonce, b"verity/seed/v1\x00\x00\x00\x07", hashlib.sha256)
    assert derive_seed(nonce, 7) == block.digest()
    assert derive_seed(nonce) == derive_seed(nonce, 0) != derive_seed(nonce, 1)
    block = hmac.new(seed, b"verity/noise/v1" + bytes(7) + b"\x09", hashlib.sha256)
    assert int(position_key(seed, 9)) == int.from_bytes(block.digest()[:8], "little")


@given(key=U64, token=st.integers(0, 2**32))
def test_words_are_the_reference(key: int, token: int) -> None:
    assert one_word(key, token) == reference.word(key, token)


@given(key=U64, size=st.integers(1, 300))
def test_all_words_are_words(key: int, size: int) -> None:
    whole = all_words(np.uint64(key), size)
    assert whole.tolist() == words(np.uint64(key), np.arange(size, dtype=np.uint64)).tolist()
    assert all_words(np.uint64(key), size).tolist() == whole.tolist(), "a cached array was changed in place"


@given(word=U64)
def test_noise_is_the_reference_within_bounds(word: int) -> None:
    noise = one_noise(word)
    assert noise == pytest.approx(reference.gumbel(word), rel=0, abs=1e-12)
    assert -3.61 < noise < 36.74


@given(a=U64, b=U64)
def test_larger_words_mean_larger_noise(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert one_noise(low) <= one_noise(high) + 1e-14


def test_the_caller_keeps_its_array() -> None:
    tokens = np.arange(8, dtype=np.uint64)
    words(np.uint64(5), tokens)
    assert tokens.tolist() == list(range(8))


# --- distribution -----------------------------------------------------------------------------------------------------


def test_noise_has_the_mean_and_variance_of_gumbel() -> None:
    noise = gumbel(all_words(position_key(b"\x01" * 32, 0), 200_000))
    assert noise.mean() == pytest.approx(0.5772156649, abs=0.02)
    assert noise.var() == pytest.approx(math.pi**2 / 6, abs=0.05)


def test_neighbouring_positions_and_seeds_share_nothing() -> None:
    keys = {int(position_key(derive_seed(bytes(32), c), p)) for c in range(20) for p in range(50)}
    assert len(keys) == 1000
    drawn = [gumbel(all_words(position_key(bytes(32), p), 20_000)) for p in (0, 1)]
    assert abs(np.mean((drawn[0] - drawn[0].mean()) * (drawn[1] - drawn[1].mean()))) < 0.05
