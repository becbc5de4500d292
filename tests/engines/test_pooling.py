"""Pooling and normalisation against the published vectors, and against the reference that made them."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.make_vectors import embedding, read, reference, written

from verity.engines.pooling import NORMALISATIONS, POOLINGS, decode_vector, embed, encode_vector
from verity.errors import EngineError, FormatError

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/embedding.json").read_text())
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def arrays(rows: list[list[float]]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.float32) for row in rows]


def test_the_vectors_are_what_the_reference_makes() -> None:
    assert embedding() == VECTORS


@pytest.mark.parametrize(
    "case", VECTORS["cases"], ids=lambda c: f"{c['desc'][:24]}-{c['pooling']}-{c['normalisation']}"
)
def test_published(case: dict[str, Any]) -> None:
    rows = arrays([read(row) for row in case["rows"]])
    assert encode_vector(embed(iter(rows), case["pooling"], case["normalisation"])) == case["vector"]


@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.lists(FLOATS, min_size=n, max_size=n), min_size=1, max_size=9)))
def test_reference(rows: list[list[float]]) -> None:
    for pooling in POOLINGS:
        for normalisation in NORMALISATIONS:
            made = embed(arrays(rows), pooling, normalisation)
            assert encode_vector(made) == written(reference(rows, pooling, normalisation))


def test_a_row_is_used_before_the_next_is_made() -> None:
    """Engines give out the same memory again and again."""

    def overwriting(rows: list[list[float]]) -> Any:
        memory = np.zeros(2, dtype=np.float32)
        for row in rows:
            memory[:] = row
            yield memory

    rows = [[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]]
    for pooling in POOLINGS:
        assert embed(overwriting(rows), pooling, "none").tolist() == reference(rows, pooling, "none")


@pytest.mark.parametrize("bad", [[[np.inf, 1.0]], [[np.inf], [-np.inf]], [[1.0], [np.nan]]])
def test_what_is_not_finite_is_an_error(bad: list[list[float]]) -> None:
    for pooling in POOLINGS:
        with pytest.raises(EngineError, match="not finite"):
            embed(arrays(bad), pooling, "l2")


@given(st.lists(FLOATS, min_size=1, max_size=64))
def test_round_trip(numbers: list[float]) -> None:
    vector = np.array(numbers, dtype=np.float32)
    assert decode_vector(encode_vector(vector)).tobytes() == vector.tobytes()


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda c: c["desc"])
def test_refused(case: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        decode_vector(case["vector"])


@given(st.text() | st.binary(max_size=40).map(lambda data: b64encode(data).decode()))
def test_anything_is_a_vector_or_refused(text: str) -> None:
    try:
        vector = decode_vector(text)
    except FormatError:
        return
    assert encode_vector(vector) == text
    assert np.isfinite(vector).all()
