"""The scores of TOPLOC and Token-DiFR, on errors and margins that are made up. TOPLOC itself is not needed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_up_lines import calibration

from rivals import toploc_check
from rivals.lies import CHUNK, TOKENS
from rivals.methods import STATISTICAL, TOKEN_DIFR, TOPLOC, parts, refusals, scorers
from rivals.outputs import Seen
from rivals.roc import together
from rivals.token_difr import Score
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler


def test_the_clip_is_of_honest_margins_in_logits() -> None:
    score = Score([0.0] * 999 + [1.0, None], temperature=0.5)
    assert score.clip == pytest.approx(np.percentile([0.0] * 999 + [0.5], 99.9))
    score.clip = 0.4
    assert score([0.0, 0.2, 5.0, None]) == pytest.approx((0.0 + 0.1 + 0.4 + 0.4) / 4)


def test_honest_margins_that_are_all_filtered_clip_at_nothing() -> None:
    assert Score([None, None], 0.8)([None, 1.0]) == 0.0


def test_margins_of_synthetic_logits() -> None:
    """Tokens drawn from the verifier's own logits have no margin; from other logits they have."""
    rng = np.random.default_rng(3)
    parameters, seed = SamplingParameters(temperature=0.8, top_k=0, top_p=1.0), bytes(32)
    logits = rng.normal(0, 2, (400, 50)).astype(np.float32)
    other = logits + rng.normal(0, 1, logits.shape).astype(np.float32)
    drawing, foreign, judge, judge_other = (Sampler(parameters, seed) for _ in range(4))
    own = [judge.judge(row, drawing.draw(row)).margin for row in logits]
    theirs = [judge_other.judge(row, foreign.draw(off)).margin for row, off in zip(logits, other, strict=True)]
    score = Score(theirs, 0.8)
    assert score(own) == 0.0
    assert score(theirs) > 0.1


def test_errors_are_weighed_by_their_honest_spread() -> None:
    score = toploc_check.Score([(0.0, 1.0, 1.0), (4.0, 1.2, 1.0)])
    assert score((2.0, 1.1, 1.0)) == pytest.approx(0.0)
    assert score((4.0, 1.1, 1.0)) == pytest.approx(1.0)
    assert score((2.0, 1.2, 1.0)) == pytest.approx(1.0)
    assert math.isfinite(score((128.0, 128.0, 128.0)))


def test_the_authors_thresholds() -> None:
    assert not toploc_check.refused((90.0, 10.0, 8.0))
    for errors in ((91.0, 0.0, 0.0), (0.0, 10.1, 0.0), (0.0, 0.0, 8.5)):
        assert toploc_check.refused(errors)


def seen(number: int, errors: list[tuple[float, float, float]]) -> Seen:
    missed: list[float | None] = [0.0] * TOKENS
    margins = [-1.0] * TOKENS
    missed[CHUNK], margins[CHUNK] = 1.0, 1.0
    return Seen(number, missed, margins, errors)


def test_pieces_cover_an_output() -> None:
    assert [index for part in parts() for index in range(TOKENS)[part]] == list(range(TOKENS))


def test_without_toploc_the_others_are_left() -> None:
    assert list(scorers([seen(0, [])], calibration())) == [STATISTICAL, TOKEN_DIFR]
    assert TOPLOC in scorers([seen(0, [(1.0, 1.0, 1.0)] * 6)], calibration())


def test_a_miss_raises_the_score_of_its_piece() -> None:
    methods = scorers([seen(0, [])], calibration())
    for method in (STATISTICAL, TOKEN_DIFR):
        scores = together(methods[method](seen(1, [])))
        assert scores.shape == (6,)
        assert scores[1] > scores[0] == scores[2]


def test_refusals_by_the_methods_own_rules() -> None:
    rules = refusals(calibration())
    good, bad = [(1.0, 1.0, 1.0)] * 6, [(1.0, 1.0, 1.0)] * 5 + [(128.0, 128.0, 128.0)]
    assert not rules[TOPLOC](seen(0, good))
    assert rules[TOPLOC](seen(0, bad))
    honest = Seen(0, [0.0] * TOKENS, [-1.0] * TOKENS, [])
    edited = Seen(0, [0.0] * TOKENS, [-1.0] * (TOKENS - 32) + [2.0] * 32, [])
    assert not rules[STATISTICAL](honest)
    assert rules[STATISTICAL](edited)
