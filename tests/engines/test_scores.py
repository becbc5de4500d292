"""From logits to scores, against the published vectors and the reference that made them."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.make_score_vectors import reference, scoring

from verity.engines.scores import MAX_TOP, TOLERANCE, score, shared
from verity.errors import EngineError

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/scoring.json").read_text())
LOGITS = st.floats(-1e4, 1e4, width=32)


def scored(rows: list[np.ndarray], tokens: list[int], top: int) -> Any:
    return score(iter(rows), tokens, top, lambda token: bytes([token]))


def close(made: Any, wanted: dict[str, Any]) -> bool:
    same = [c.token for c in made.candidates] == [c["token"] for c in wanted["candidates"]]
    numbers = [*made.logprobs, *(c.logprob for c in made.candidates)]
    meant = [*wanted["logprobs"], *(c["logprob"] for c in wanted["candidates"])]
    near = all(abs(x - y) <= 1e-12 * max(1, abs(y)) for x, y in zip(numbers, meant, strict=True))
    return same and near and made.logits == wanted["logits"]


def test_the_vectors_are_what_the_reference_makes() -> None:
    assert scoring() == VECTORS


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: c["desc"][:32])
def test_published(case: dict[str, Any]) -> None:
    rows = [np.frombuffer(b64decode(row), dtype="<f4").astype(np.float32) for row in case["rows"]]
    assert close(scored(rows, case["tokens"], case["top"]), case)


@pytest.mark.parametrize("case", VECTORS["starts"], ids=str)
def test_where_a_given_answer_begins(case: dict[str, Any]) -> None:
    assert shared(case["prompt"], case["tokens"]) == case["start"]


@given(st.data(), st.integers(1, 9), st.integers(1, 6), st.integers(0, MAX_TOP))
def test_reference(data: Any, size: int, length: int, top: int) -> None:
    rows = [data.draw(st.lists(LOGITS, min_size=size, max_size=size)) for _ in range(length)]
    tokens = data.draw(st.lists(st.integers(0, size - 1), min_size=length, max_size=length))
    made = scored([np.array(row, dtype=np.float32) for row in rows], tokens, top)
    assert close(made, reference(rows, tokens, top))
    if top >= size:
        assert math.isclose(math.fsum(math.exp(c.logprob) for c in made.candidates), 1.0)


def test_a_row_is_used_before_the_next_is_made() -> None:
    """Engines give out the same memory again and again."""

    def overwriting(rows: list[list[float]]) -> Any:
        memory = np.zeros(2, dtype=np.float32)
        for row in rows:
            memory[:] = row
            yield memory

    rows, tokens = [[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]], [0, 1, 1]
    assert close(score(overwriting(rows), tokens, 2, lambda token: b""), reference(rows, tokens, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_an_error(bad: float) -> None:
    for rows in ([[bad, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, bad]]):
        with pytest.raises(EngineError, match="not numbers"):
            scored([np.array(row, dtype=np.float32) for row in rows], [0, 1], 1)


def test_the_last_bit_of_any_logit_changes_the_digest() -> None:
    rows = [np.linspace(-1, 1, 40, dtype=np.float32) for _ in range(3)]
    whole = scored(rows, [1, 2, 3], 4)
    changed = [row.copy() for row in rows]
    changed[1].view(np.uint32)[17] ^= 1
    other = scored(changed, [1, 2, 3], 4)
    assert other.logits != whole.logits
    assert all(abs(x - y) <= 1e3 * TOLERANCE for x, y in zip(whole.logprobs, other.logprobs, strict=True))
