"""What calibrate.py and false_alarms.py rest on, without a model: bounds, splits, fits."""

from __future__ import annotations

from itertools import combinations

import msgspec
import numpy as np
import pytest

from false_alarms import upper_bound
from fit import EDGES, chunks, count, honest_misses, null, tables
from margin_cases import FRESH, NUMERICS, SLOW, SPLITS, cases, checkers


@pytest.mark.parametrize(
    ("events", "tests", "bound"),
    [(0, 3000, 1 - 0.05 ** (1 / 3000)), (1, 100, 0.04655981), (5, 10, 0.77755884), (7, 7, 1.0), (0, 1, 0.95)],
)
def test_the_bound_is_clopper_and_pearsons(events: int, tests: int, bound: float) -> None:
    assert upper_bound(events, tests) == pytest.approx(bound, abs=1e-7)


def test_a_bound_of_nothing_is_none() -> None:
    for events, tests in ((0, 0), (2, 1), (-1, 5)):
        with pytest.raises(ValueError, match="at most as many"):
            upper_bound(events, tests)


def test_no_prompt_and_no_nonce_is_in_two_splits() -> None:
    prompts: list[set[str]] = []
    nonces: list[list[bytes]] = []
    for split in SPLITS:
        made = [case for maker in NUMERICS for case in cases(split, maker)]
        prompts.append({case.prompt for case in made})
        nonces.append([case.nonce for case in made])
    for one, other in combinations(prompts, 2):
        assert one.isdisjoint(other)
    assert len(set().union(*nonces)) == sum(map(len, nonces))


def test_everybody_checks_somebody_and_nobody_himself() -> None:
    for split in SPLITS:
        pairs = {
            (maker, checker)
            for maker in NUMERICS
            for case in cases(split, maker)
            for checker in checkers(split, case.name)
        }
        assert all(maker != checker for maker, checker in pairs)
        assert {checker for _, checker in pairs} == {maker for maker, _ in pairs} == set(NUMERICS)
    assert all(len(checkers(FRESH, case.name)) == 1 for maker in NUMERICS for case in cases(FRESH, maker))
    assert set(SLOW) < set(NUMERICS)


def test_tokens_are_counted_by_the_size_and_the_sign_of_their_margins() -> None:
    counted = count([0.0, -0.01, 0.01, -9.0, 0.75, 0.75])
    assert (counted.drawn[0], counted.missed[0]) == (2.0, 1.0)
    assert (counted.drawn[-1], counted.missed[-1]) == (1.0, 0.0)
    assert counted.missed[EDGES.index(0.7)] == 2.0


def test_beyond_what_was_counted_a_heavier_tail_is_expected() -> None:
    random = np.random.default_rng(1)
    margins = np.concatenate([-random.exponential(3.0, 20_000), 0.05 * random.pareto(3.0, 600)])
    expected, counted = honest_misses(margins), count(margins).missed
    assert expected.sum() == pytest.approx(counted.sum(), rel=0.01)
    assert (expected[-4:] > 0.0).all()
    assert expected[-4:].sum() >= counted[-4:].sum()
    density = expected[-6:-1] / np.diff(EDGES[-6:])
    assert (np.diff(density) < 0.0).all()


def test_a_lie_that_is_none_says_nothing_and_a_rough_one_does() -> None:
    random = np.random.default_rng(2)
    honest = np.where(random.random(50_000) < 0.04, 1, -1) * random.exponential(0.3, 50_000)
    rough = np.where(random.random(5_000) < 0.2, 1, -1) * random.exponential(0.3, 5_000)
    same, lie, *_ = tables(honest, {"same": honest, "rough": rough}, np.abs(rough) + 1.0)
    assert np.abs(same.missed[:6]).max() < 0.2
    assert min(lie.missed[2:6]) > 1.0
    assert max(lie.drawn[2:6]) < 0.0


def test_a_null_never_says_less_than_was_counted() -> None:
    scores = np.random.default_rng(3).exponential(1.0, 5_000)
    found = null(scores, 32)
    assert found.chances[-1] * 5_000 >= 100
    for score, chance in zip(found.scores, found.chances, strict=True):
        assert chance >= (scores >= score).mean()
    assert 0.5 < found.rate <= 1.0
    msgspec.json.encode(found)


def test_windows_do_not_share_tokens() -> None:
    assert chunks([[1.0, 2.0, 3.0, 4.0, 5.0], [6.0]], 2) == [[1.0, 2.0], [3.0, 4.0]]
