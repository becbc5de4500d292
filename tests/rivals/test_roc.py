"""Area under the curve, power and tokens needed, on scores that are made up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivals import roc

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12)


@given(honest=SCORES, dishonest=SCORES)
def test_the_area_is_the_share_of_pairs_in_order(honest: list[float], dishonest: list[float]) -> None:
    pairs = [1.0 if bad > good else 0.5 if bad == good else 0.0 for good in honest for bad in dishonest]
    assert roc.auc(honest, dishonest) == pytest.approx(sum(pairs) / len(pairs))


@given(honest=SCORES, dishonest=SCORES)
def test_the_interval_holds_the_area(honest: list[float], dishonest: list[float]) -> None:
    area = roc.auc(honest, dishonest)
    low, high = roc.auc_interval(area, len(honest), len(dishonest))
    assert 0.0 <= low <= area <= high <= 1.0


def test_forty_against_forty_prove_no_perfection() -> None:
    low, high = roc.auc_interval(1.0, 40, 40)
    assert 0.9 < low < 0.99
    assert high == 1.0
    assert roc.auc_interval(1.0, 400, 400)[0] > low


def test_the_interval_is_symmetric() -> None:
    low, high = roc.auc_interval(0.5, 30, 30)
    assert low == pytest.approx(1 - high)
    assert 0.3 < low < 0.4


def test_the_interval_covers_the_truth() -> None:
    """Of two normal distributions one standard deviation apart, whose area is 0.7602."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        area = roc.auc(rng.normal(0, 1, 40), rng.normal(1, 1, 40))
        low, high = roc.auc_interval(area, 40, 40)
        covered += low <= 0.7602 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_power_is_the_false_alarm_rate_where_nothing_differs() -> None:
    scores = np.random.default_rng(1).normal(0, 1, (400, 5, 1))
    assert roc.power(scores, scores, 4) == pytest.approx(roc.FALSE_ALARMS, abs=0.01)


def test_a_score_that_never_differs_has_no_power() -> None:
    assert roc.powers(np.zeros((10, 6, 2)), np.zeros((10, 6, 2))) == [0.0] * len(roc.PIECES)


def test_several_sums_are_averaged_as_likelihoods() -> None:
    assert roc.together([[3.0], [-2.0]]) == pytest.approx([3.0, -2.0])
    assert roc.together([[0.0, np.log(3.0)]]) == pytest.approx([np.log(2.0)])
    assert roc.together([[1000.0, -1000.0]]) == pytest.approx([1000.0 - np.log(2.0)])


def test_power_grows_with_tokens() -> None:
    rng = np.random.default_rng(2)
    found = roc.powers(rng.normal(0, 1, (400, 6, 1)), rng.normal(0.7, 1, (400, 6, 1)))
    assert found[0] < 0.2
    assert found[-1] == 1.0
    assert sorted(found) == pytest.approx(found, abs=0.03)


def test_tokens_needed_is_where_power_stays() -> None:
    found = [0.2] * len(roc.PIECES)
    assert roc.tokens_needed(found, 32) is None
    found[-2:] = [0.95, 1.0]
    assert roc.tokens_needed(found, 32) == roc.PIECES[-2] * 32
    found[0] = 1.0
    assert roc.tokens_needed(found, 32) == roc.PIECES[-2] * 32
    assert roc.tokens_needed([1.0] * len(roc.PIECES), 32) == 32


def test_more_pieces_than_an_output_has_are_of_several() -> None:
    """One of six pieces differs, in every output: all six show it for sure, three in half of the cases."""
    edited = np.zeros((10, 6, 1))
    edited[:, 2] = 1.0
    found = dict(zip(roc.PIECES, roc.powers(np.zeros((10, 6, 1)), edited), strict=True))
    assert found[3] == pytest.approx(0.5, abs=0.03)
    assert found[6] == found[8] == 1.0
    assert set(roc.drawn(edited, 15)) == {2.0, 3.0}
