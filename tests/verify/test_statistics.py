"""spec/statistics.md §2 on margins that no model made: how often honest ones are refused, and what is seen."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulated import HONEST, calibration, margins, outputs

from verity.sampling.margins import MOST
from verity.verify.statistics import TooShort, judge, log_ratio, token_scores, windows

MARGINS = st.floats(-MOST, MOST, allow_nan=False)


def p_values(made: list[list[float]]) -> np.ndarray:
    return np.array([judge(output, calibration()).p_value for output in made])


@pytest.mark.parametrize(("tokens", "count"), [(32, 400), (10, 400), (200, 100)])
def test_honest_outputs_have_small_p_values_no_more_often_than_they_say(tokens: int, count: int) -> None:
    found = p_values(outputs(count, tokens, HONEST, seed=tokens))
    for chance in (0.2, 0.05, 0.01):
        allowed = chance * count + 3 * (chance * count) ** 0.5 + 1
        assert (found <= chance).sum() <= allowed
    assert found.min() > calibration().threshold


@pytest.mark.parametrize(("noise", "tokens", "share"), [(10 * HONEST, 32, 0.5), (5 * HONEST, 400, 0.9)])
def test_rougher_numerics_than_honest_ones_are_refused(noise: float, tokens: int, share: float) -> None:
    found = p_values(outputs(60, tokens, noise, seed=5))
    assert (found <= calibration().threshold).mean() >= share


def test_edited_tokens_are_refused_the_more_the_surer() -> None:
    random = np.random.default_rng(6)
    refused = []
    for edited in (0, 2, 6):
        found = p_values([margins(32, HONEST, random, edited) for _ in range(60)])
        refused.append(float((found <= calibration().threshold).mean()))
    assert refused[0] == 0.0 < refused[1] < refused[2]
    assert refused[2] > 0.9


def test_two_edits_among_very_many_tokens_are_still_found_by_their_window() -> None:
    made = margins(1000, HONEST / 10, np.random.default_rng(8))
    made[500] = made[510] = 20.0
    judgement = judge(made, calibration())
    assert judgement.p_value <= calibration().threshold
    assert judgement.windows == 32
    assert judgement.flagged == 1


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([8, 32, 33, 90]), st.data())
def test_the_smallest_shift_keeps_its_word(seed: int, tokens: int, data: st.DataObject) -> None:
    """A token that misses by so much is refused wherever it stands; some token that misses by less is not."""
    made = margins(tokens, HONEST / 4, np.random.default_rng(seed))
    named = calibration()
    shift = judge(made, named).smallest_shift
    edges = named.edges
    assume(judge(made, named).p_value > named.threshold)
    if shift is not None:
        at, size = data.draw(st.integers(0, tokens - 1)), data.draw(st.floats(max(shift, 1e-6), MOST))
        assert judge([*made[:at], size, *made[at + 1 :]], named).p_value <= named.threshold
    below = edges[-1] if shift is None else edges[edges.index(shift) - 1] if shift > 0 else None
    if below is not None:
        size = max(below, 1e-6)
        tried = [judge([*made[:at], size, *made[at + 1 :]], named).p_value for at in range(tokens)]
        assert max(tried) > named.threshold


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([4, 32, 64, 300]))
def test_the_smallest_share_keeps_its_word(seed: int, tokens: int) -> None:
    made = margins(tokens, HONEST, np.random.default_rng(seed))
    share = judge(made, calibration()).smallest_share
    if share is not None:
        count = round(share * tokens)
        edited = list(made)
        for number in range(count):
            edited[(number * tokens + tokens // 2) // count] = calibration().typical_edit
        assert judge(edited, calibration()).p_value <= calibration().threshold


@settings(max_examples=60)
@given(st.lists(MARGINS, min_size=4, max_size=300))
def test_any_margins_are_judged(made: list[float]) -> None:
    judgement = judge(made, calibration())
    assert 0.0 <= judgement.p_value <= 1.0
    assert 0.0 <= judgement.likelihood_ratio < float("inf")
    assert judgement.tokens == len(made)
    assert 0 <= judgement.flagged <= judgement.windows
    if judgement.flagged:
        assert judgement.p_value <= calibration().threshold
    msgspec.json.encode(judgement)


@given(st.integers(1, 5000), st.integers(1, 64))
def test_windows_cover_every_token_once(tokens: int, longest: int) -> None:
    pieces = windows(tokens, longest)
    assert [at for piece in pieces for at in range(piece.start, piece.stop)] == list(range(tokens))
    lengths = {piece.stop - piece.start for piece in pieces}
    assert max(lengths) <= longest
    assert max(lengths) - min(lengths) <= 1
    assert len(pieces) == -(-tokens // longest)


def test_fewer_tokens_than_were_calibrated_say_nothing() -> None:
    judge([-1.0] * 4, calibration())
    with pytest.raises(TooShort):
        judge([40.0] * 3, calibration())


def test_a_margin_of_exactly_0_is_drawn_and_scores_against_a_lie() -> None:
    assert (token_scores([0.0], calibration()) <= 0.0).all()
    assert (token_scores([5.0], calibration()) >= 0.0).all()
    assert log_ratio(token_scores([-0.01] * 32, calibration())) < 0.0 < log_ratio(token_scores([9.0], calibration()))
