"""spec/sampling.md, sections 2 to 4: penalties, filters, scores. Section 5 is in test_replay.py."""

from __future__ import annotations

import hashlib
import math
import warnings
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sampling.cases import ALL, KINDS, SEED, SHAPES, VECTORS, Row, case_rows, case_sampler, row, shaped
from tests.sampling.reference import Parameters, Reference

from verity.errors import EngineError
from verity.sampling.noise import all_words, gumbel, position_key
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import SLACK, Sampler

# --- published vectors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["draws"], ids=lambda case: str(case["desc"]))
def test_draw_vectors(case: dict[str, Any]) -> None:
    drawing, replaying = case_sampler(case), case_sampler(case)
    for token, logits in zip(case["tokens"], case_rows(case), strict=False):
        assert drawing.draw(logits) == token
        assert replaying.judge(logits, token).matches


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: str(case["desc"]))
@pytest.mark.parametrize("parameters", [{}, ALL, {"temperature": 0.0}])
def test_refused_logits(case: dict[str, Any], parameters: dict[str, Any]) -> None:
    logits = row(*map(float, case["logits"]))
    with pytest.raises(EngineError):
        Sampler(SamplingParameters(**parameters), SEED).draw(logits)
    with pytest.raises(EngineError):
        Sampler(SamplingParameters(**parameters), SEED).judge(logits, 0)


# --- against the reference --------------------------------------------------------------------------------------------

PARAMETERS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 1e-6, 0.01, 0.3, 0.8, 1.0, 1.7, 10.0]),
        "top_k": st.sampled_from([0, 0, 1, 5, 40, 255, 256, 257, 300, 1 << 20]),
        "top_p": st.sampled_from([1.0, 1.0, 1e-9, 0.3, 0.503, 0.951, 0.9991, 0.9999999]),
        "min_p": st.sampled_from([0.0, 0.0, 1e-30, 0.0501, 0.303, 0.9999]),
        "repetition_penalty": st.sampled_from([1.0, 1.0, 0.5, 1.1, 100.0]),
        "presence_penalty": st.sampled_from([0.0, 0.0, 0.4, -0.7, 100.0]),
        "frequency_penalty": st.sampled_from([0.0, 0.0, 0.3, -0.2, -100.0]),
    }
)


@given(
    parameters=PARAMETERS,
    shape=st.sampled_from(SHAPES),
    size=st.one_of(st.integers(1, 40), st.integers(250, 620)),
    number=st.integers(0, 2**32 - 1),
)
@settings(max_examples=250, deadline=None)
def test_draw_is_the_reference_and_judge_accepts_it(parameters: Any, shape: str, size: int, number: int) -> None:
    random = np.random.default_rng(number)
    seed, prompt = random.bytes(32), random.integers(0, size, 5).tolist()
    values = SamplingParameters(**parameters)
    drawing, replaying = Sampler(values, seed, prompt), Sampler(values, seed, prompt)
    slow = Reference(Parameters(**parameters), seed, prompt)
    for _ in range(4):
        logits = shaped(shape, size, random)
        plain = logits.astype(np.float64).tolist()
        token = drawing.draw(logits)
        if slow.settled(plain):
            assert token == slow.best(slow.values(plain))
        other = int(random.integers(-1, size + 1))
        judged = slow.judge(plain, other)
        if slow.settled(plain) and abs(judged.margin - SLACK) > SLACK / 2:
            verdict = deepcopy(replaying).judge(logits, other)
            assert (verdict.matches, verdict.best) == (judged.accepted, judged.best)
            assert verdict.margin == pytest.approx(judged.margin, rel=1e-9, abs=1e-9)
        verdict = replaying.judge(logits, token)
        assert verdict.matches
        assert verdict.margin <= SLACK
        slow.output.append(token)


# --- wide vocabularies ------------------------------------------------------------------------------------------------


def brute(p: SamplingParameters, seed: bytes, position: int, logits: Row) -> int:
    """All of sections 3 and 4 over the whole vocabulary, without a short cut."""
    wide = logits.astype(np.float64)
    order = np.lexsort((np.arange(len(wide)), -wide))[: p.top_k or len(wide)]
    weights = np.exp(wide[order] - wide[order[0]])
    before = np.concatenate(([0.0], np.cumsum(weights)[:-1])) / weights.sum()
    passed = (before < p.top_p) | (p.top_p == 1.0)
    if p.min_p > 0.0:
        passed &= wide[order] >= wide[order[0]] + math.log(p.min_p)
    passed[0] = True
    scores = np.full(len(wide), -np.inf)
    noise = gumbel(all_words(position_key(seed, position), len(wide)))
    kept = order[passed]
    scores[kept] = wide[kept] / p.temperature + noise[kept]
    return int(scores.argmax())


WIDE: list[dict[str, Any]] = [
    *({"temperature": t, **ALL} for t in (1e-6, 1e-3, 0.8, 1.0, 10.0)),
    {},
    {"top_k": 0, "top_p": 0.95},
    {"top_k": 2000, "top_p": 0.99, "min_p": 0.001},
    {"top_k": 0, "top_p": 1.0, "min_p": 0.02, "temperature": 2.0},
]


@pytest.mark.parametrize("parameters", WIDE, ids=str)
@pytest.mark.parametrize("spread", [0.0, 1e-7, 0.5, 4.0, 1e4])
def test_a_whole_vocabulary_is_brute_force(parameters: dict[str, Any], spread: float) -> None:
    random = np.random.default_rng(11)
    p = SamplingParameters(**parameters)
    sampler, replaying = Sampler(p, SEED), Sampler(p, SEED)
    for position in range(2):
        logits = (random.normal(-5.0, 1.0, 49_152) * spread).astype(np.float32)
        token = sampler.draw(logits)
        assert token == brute(p, SEED, position, logits)
        assert replaying.judge(logits, token).matches


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1.0, 10.0])
@pytest.mark.parametrize("middle", [0.0, 1.0, -1e-3, 30.0, -2e5, 1e30])
def test_candidates_without_filters_are_enough_far_from_zero(temperature: float, middle: float) -> None:
    """Neighbouring float32 values around ``middle``: rounding of the edge must not lose the winner."""
    random = np.random.default_rng(13)
    p = SamplingParameters(temperature=temperature, **ALL)
    sampler = Sampler(p, SEED)
    for position in range(25):
        steps = random.integers(0, 64, 3000).astype(np.float32)
        logits = (np.float32(middle) + steps * np.spacing(np.float32(middle))).astype(np.float32)
        assert sampler.draw(logits) == brute(p, SEED, position, logits)


# --- hostile logits, and the promise that logits are left alone -------------------------------------------------------


@pytest.mark.parametrize("parameters", KINDS, ids=str)
def test_minus_infinity_never_wins(parameters: dict[str, Any]) -> None:
    random = np.random.default_rng(17)
    sampler = Sampler(SamplingParameters(**parameters), SEED, [0, 1, 2])
    for _ in range(50):
        logits = shaped("holes", 300, random)
        assert np.isfinite(logits[sampler.draw(logits)])


@pytest.mark.parametrize("parameters", [*KINDS, {"temperature": 1e-6, **ALL}, {"temperature": 10.0, **ALL}], ids=str)
def test_the_largest_floats_raise_no_warning(parameters: dict[str, Any]) -> None:
    largest = float(np.finfo(np.float32).max)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in ([largest] * 300, [-largest] * 300, [largest, -largest] * 150, [1e-45, -1e-45, 0.0] * 100):
            sampler = Sampler(SamplingParameters(**parameters), SEED, [0])
            for _ in range(3):
                assert sampler.judge(row(*values), sampler.draw(row(*values))).best >= 0


@pytest.mark.parametrize("parameters", KINDS, ids=str)
def test_the_logits_are_not_changed(parameters: dict[str, Any]) -> None:
    logits = shaped("normal", 300, np.random.default_rng(19))
    kept = logits.copy()
    logits.setflags(write=False)
    sampler = Sampler(SamplingParameters(**parameters), SEED, [4, 5])
    for _ in range(3):
        sampler.judge(logits, sampler.draw(logits))
    assert (logits == kept).all()


# --- distribution -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ({"temperature": 1.0, **ALL}, 8),
        ({"temperature": 0.5, **ALL}, 8),
        ({"temperature": 2.0, "top_k": 4, "top_p": 1.0}, 4),
    ],
    ids=str,
)
def test_frequencies_are_those_of_softmax(parameters: dict[str, Any], kept: int) -> None:
    values, logits = SamplingParameters(**parameters), row(2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5)
    draws = 4000
    seeds = (hashlib.sha256(n.to_bytes(4, "big")).digest() for n in range(draws))
    seen = np.bincount([Sampler(values, seed).draw(logits) for seed in seeds], minlength=8)
    weights = np.exp(logits[:kept].astype(np.float64) / values.temperature)
    expected = draws * weights / weights.sum()
    chi_square = float(((seen[:kept] - expected) ** 2 / expected).sum())
    assert chi_square < 30.0  # 7 degrees of freedom: once in 10,000 sets of seeds
    assert not seen[kept:].any()
