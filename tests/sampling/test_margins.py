"""spec/statistics.md §1: how far a token is from being drawn, when the logits are not those that it was drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.sampling.cases import ALL, KINDS, SEED, shaped

from verity.errors import EngineError
from verity.sampling.margins import MOST, MarginSampler
from verity.sampling.noise import all_words, gumbel, position_key
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler

FILTERS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {**ALL},
    {"top_k": 5, "top_p": 1.0},
    {"top_k": 0, "top_p": 1.0, "min_p": 0.1},
    {"top_k": 30, "top_p": 1.0, "min_p": 0.02, "temperature": 1.3},
)


def samplers(parameters: dict[str, Any]) -> tuple[Sampler, MarginSampler]:
    values = SamplingParameters(**parameters)
    return Sampler(values, SEED, [1, 2, 3]), MarginSampler(values, SEED, [1, 2, 3])


@pytest.mark.parametrize("parameters", KINDS, ids=str)
def test_what_is_drawn_has_a_margin_of_at_most_0_and_everything_else_a_larger_one(parameters: dict[str, Any]) -> None:
    random = np.random.default_rng(7)
    drawing, measuring = samplers(parameters)
    for _ in range(6):
        logits = shaped("normal", 100, random)
        token = drawing.draw(logits)
        margins = [measuring.margin(logits, other) for other in range(100)]
        assert margins[token] <= 0.0
        assert all(margin > 0.0 for other, margin in enumerate(margins) if other != token)
        assert all(abs(margin) <= MOST for margin in margins)
        measuring.skip(token)


@pytest.mark.parametrize("parameters", FILTERS, ids=str)
@pytest.mark.parametrize("size", [0.01, 0.3])
def test_logits_that_move_by_no_more_than_so_much_move_a_margin_by_no_more_than_twice_that(
    parameters: dict[str, Any], size: float
) -> None:
    """What makes the margin a measure of numerics: drawn from logits within ``size``, a token misses by 2 · size."""
    random, missed = np.random.default_rng(11), 0
    drawing, measuring = samplers(parameters)
    for _ in range(400):
        logits = shaped("normal", 200, random)
        moved = (logits + random.uniform(-size, size, 200)).astype(np.float32)
        token = drawing.draw(moved)
        margin = measuring.margin(logits, token)
        assert margin <= 2 * size + 1e-5
        missed += margin > 0.0
        measuring.skip(token)
    assert missed > 0 or size < 0.1


@pytest.mark.parametrize("top_k", [0, 40])
def test_the_edge_of_top_p_is_about_as_sure(top_k: int) -> None:
    """Its weight is of many tokens, so that there is no strict bound."""
    random = np.random.default_rng(13)
    drawing, measuring = samplers({"top_k": top_k, "top_p": 0.9})
    margins = []
    for _ in range(1000):
        logits = shaped("normal", 200, random)
        token = drawing.draw((logits + random.uniform(-0.1, 0.1, 200)).astype(np.float32))
        margins.append(measuring.margin(logits, token))
        measuring.skip(token)
    assert sum(margin > 0.0 for margin in margins) > 10
    assert max(margins) <= 0.2


def test_a_rival_that_only_just_passes_is_no_strong_one() -> None:
    """Token 1 wins by its noise where min-p lets it pass; an engine whose logit for it is a little lower drops it."""
    seed_noise = gumbel(all_words(position_key(SEED, 0), 3))
    lucky = int(np.argmax(seed_noise))
    first = (lucky + 1) % 3
    logits = np.full(3, -50.0, dtype=np.float32)
    logits[first] = 0.0
    logits[lucky] = -2.0
    edge = float(np.exp(-2.05))
    _, measuring = samplers({"top_k": 0, "top_p": 1.0, "min_p": edge, "temperature": 10.0})
    assert measuring.margin(logits, lucky) == pytest.approx(-0.05, abs=1e-6)
    assert measuring.margin(logits, first) == pytest.approx(0.05, abs=1e-6)


def test_tokens_far_outside_a_filter_are_far() -> None:
    logits = np.linspace(20.0, 0.0, 200).astype(np.float32)
    for parameters in (
        {"top_k": 5, "top_p": 1.0},
        {"top_k": 0, "top_p": 0.5},
        {"top_k": 0, "top_p": 1.0, "min_p": 0.5},
    ):
        _, measuring = samplers(parameters)
        margins = [measuring.margin(logits, token) for token in (10, 20, 40, 199)]
        assert margins == sorted(margins)
        assert margins[0] > 0.3
        assert margins[-1] > 5.0


def test_the_only_token_has_no_rival() -> None:
    for temperature in (0.0, 0.8):
        _, measuring = samplers({"temperature": temperature})
        assert measuring.margin(np.zeros(1, dtype=np.float32), 0) == -MOST


def test_logits_that_are_no_numbers_are_refused() -> None:
    _, measuring = samplers({})
    with pytest.raises(EngineError):
        measuring.margin(np.array([0.0, np.nan], dtype=np.float32), 0)
