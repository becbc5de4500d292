"""Margins without a model: two tokens compete at each position, and the two sides' logits differ by some noise."""

from __future__ import annotations

import functools

import numpy as np

from fit import EDGES, fitted
from verity.verify.calibration import Alternative, Calibration, Covered, Null

HONEST = 0.1
"""Logits: what honest numerics differ by."""


def margins(tokens: int, noise: float, random: np.random.Generator, edited: int = 0) -> list[float]:
    """Signed margins of an output; ``edited`` of its tokens are ones that the model might have written instead."""
    lead = random.exponential(2.5, tokens)
    error = noise * random.standard_t(5, tokens)
    values = np.where(lead + error > 0, -lead, lead)
    values[random.choice(tokens, edited, replace=False)] = random.exponential(2.0, edited) + 0.05
    return [round(float(np.clip(value, -30, 30)), 4) for value in values]


def outputs(count: int, tokens: int, noise: float, seed: int) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [margins(tokens, noise, random) for _ in range(count)]


@functools.cache
def calibration() -> Calibration:
    """One that was fitted to 100,000 simulated tokens."""
    random = np.random.default_rng(1)
    empty = Calibration(
        format=1,
        models=["ab" * 32],
        numerics=["simulated"],
        engine="1",
        honest_tokens=100_000,
        covered=Covered(greedy=True, temperature=(0.5, 1.0), repetition_penalty=(1.0, 1.0)),
        edges=list(EDGES),
        alternatives=[Alternative("none", [0.0] * len(EDGES), [0.0] * len(EDGES))],
        nulls=[Null(1, [0.0], [1.0], 1.0)],
        threshold=1e-4,
        false_alarm_rate=1e-3,
        typical_edit=1.0,
    )
    honest = outputs(780, 128, HONEST, seed=2)
    edits = (random.exponential(2.0, 20_000) + 0.05).tolist()
    return fitted(empty, honest, {"rougher": outputs(40, 128, 5 * HONEST, seed=3)}, edits)
