"""spec/sampling.md, section 5: what a replay accepts, and what it refuses."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from tests.sampling.cases import ALL, KINDS, SEED, VECTORS, case_rows, case_sampler, row, shaped
from tests.sampling.reference import Parameters, survivors

from verity.sampling.noise import all_words, gumbel, position_key
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler


@pytest.mark.parametrize("case", VECTORS["replays"], ids=lambda case: str(case["desc"]))
def test_replay_vectors(case: dict[str, Any]) -> None:
    sampler, logits = case_sampler(case), next(case_rows(case))
    for token in case["output"]:
        sampler.judge(logits, token)
    verdict = sampler.judge(logits, case["claimed"])
    found = (verdict.matches, verdict.best, math.isinf(verdict.margin))
    assert found == (case["accepted"], case["best"], case["filtered"])


@pytest.mark.parametrize("parameters", KINDS, ids=str)
def test_long_answers_replay_and_their_lies_do_not(parameters: dict[str, Any]) -> None:
    random = np.random.default_rng(7)
    values, prompt = SamplingParameters(**parameters), [1, 2, 3, 3]
    drawing, replaying = Sampler(values, SEED, prompt), Sampler(values, SEED, prompt)
    refused = 0
    for position in range(300):
        logits = shaped("normal", 400, random)
        token = drawing.draw(logits)
        if position % 50 == 49:
            refused += not deepcopy(replaying).judge(logits, (token + 1) % 400).matches
        assert replaying.judge(logits, token).matches
        assert replaying.position == drawing.position == position + 1
    assert refused == 6


def test_the_runner_up_is_refused_with_its_margin() -> None:
    logits = shaped("normal", 100, np.random.default_rng(3))
    scores = logits.astype(np.float64) + gumbel(all_words(position_key(SEED, 0), 100))
    second, first = np.argsort(scores)[-2:].tolist()
    verdict = Sampler(SamplingParameters(temperature=1.0, **ALL), SEED).judge(logits, second)
    assert (verdict.matches, verdict.best) == (False, first)
    assert verdict.margin == pytest.approx(scores[first] - scores[second], abs=1e-12)


@pytest.mark.parametrize("parameters", [{"top_k": 5}, {"top_p": 0.3}, {"min_p": 0.5}, {**ALL, "min_p": 0.5}], ids=str)
def test_a_token_outside_the_filters_is_refused_without_measure(parameters: dict[str, Any]) -> None:
    logits = shaped("normal", 400, np.random.default_rng(5))
    kept = survivors(Parameters(**parameters), logits.astype(np.float64).tolist())
    drawn = Sampler(SamplingParameters(**parameters), SEED).draw(logits)
    for claimed in set(range(400)) - set(kept):
        verdict = Sampler(SamplingParameters(**parameters), SEED).judge(logits, claimed)
        assert verdict == (False, drawn, math.inf)


@pytest.mark.parametrize("parameters", [{}, ALL, {"temperature": 0.0}], ids=str)
@pytest.mark.parametrize("claimed", [-1, -8, 8, 2**31, 2**63, 2**64, -(2**63)])
def test_ids_outside_the_vocabulary_are_refused_and_forgotten(parameters: dict[str, Any], claimed: int) -> None:
    logits = row(0, 1, 2, 3, 2, 1, 0, 1)
    values = SamplingParameters(frequency_penalty=0.5, repetition_penalty=2.0, **parameters)
    sampler = Sampler(values, SEED)
    drawn = Sampler(values, SEED).draw(logits)
    assert sampler.judge(logits, claimed) == (False, drawn, math.inf)
    assert sampler.judge(logits, drawn).matches
    assert sampler.position == 1


@pytest.mark.parametrize(("gap", "matches"), [(0.0, True), (5e-10, True), (2e-9, False), (1e-6, False)])
@pytest.mark.parametrize("parameters", [{}, ALL, {"top_k": 0, "top_p": 0.99, "min_p": 0.001}], ids=str)
def test_a_tie_within_slack_is_accepted(gap: float, matches: bool, parameters: dict[str, Any]) -> None:
    g0, g1 = gumbel(all_words(position_key(SEED, 0), 2)).tolist()
    first = float(np.float32(g1 - g0))
    logits = row(first, first + g0 - g1 - gap)  # the second is so small that float32 holds it to 1e-14
    verdict = Sampler(SamplingParameters(temperature=1.0, **parameters), SEED).judge(logits, 1)
    assert verdict.matches is matches
    assert verdict.margin == pytest.approx(gap, abs=1e-13)


def test_greedy_has_no_tolerance() -> None:
    logits = row(1.0, np.nextafter(np.float32(1), np.float32(2)), -5.0)
    values = SamplingParameters(temperature=0.0)
    assert Sampler(values, SEED).judge(logits, 0) == (False, 1, 2.0**-23)
    assert Sampler(values, SEED).judge(logits, 1) == (True, 1, 0.0)


def test_the_claimed_history_counts() -> None:
    """After a wrong token the replay goes on from it, as the device says that it did."""
    values, logits = SamplingParameters(temperature=0.0, presence_penalty=5.0), row(3.0, 2.0, 1.0)
    sampler = Sampler(values, SEED)
    assert not sampler.judge(logits, 1).matches
    assert sampler.judge(logits, 0).matches
    assert sampler.judge(logits, 2).matches
