"""From margins to a calibration: pure. spec/statistics.md §4 says what is done and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from verity.verify.calibration import Alternative, Calibration, Null
from verity.verify.statistics import token_scores

Floats = npt.NDArray[np.float64]

EDGES = (
    0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 3.4,
    4.0, 5.6, 8.0,
)  # fmt: skip
EDITED = (1 / 32, 1 / 8, 1 / 2)
LENGTHS = (4, 8, 12, 16, 20, 24, 28, 32)
_ENOUGH_MISSES, _ENOUGH_WINDOWS = 40, 100
"""Misses beyond a size, and windows beyond a score, from which rates are taken as counted; beyond, a tail is fitted."""
_PRIOR = 8.0
"""Tokens' worth of honesty that a bin of a lie is given, so that an empty one says nothing."""
_GRID = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
_NORMAL_95 = 1.645


class Counts(NamedTuple):
    """Tokens by size of margin: those that are ``drawn`` and those that miss."""

    drawn: Floats
    missed: Floats


def count(margins: Sequence[float] | Floats) -> Counts:
    values = np.asarray(margins, dtype=np.float64)
    bins = np.searchsorted(EDGES, np.abs(values), side="right") - 1
    size = len(EDGES)
    return Counts(
        np.bincount(bins[values <= 0.0], minlength=size).astype(np.float64),
        np.bincount(bins[values > 0.0], minlength=size).astype(np.float64),
    )


def honest_misses(margins: Floats) -> Floats:
    """How many misses an honest run has in each bin. Where few were counted, a Pareto tail says how many to expect: its
    exponent is the lower 95 % limit, so that the tail is rather too heavy."""
    counted = count(margins).missed
    misses = np.sort(margins[margins > 0.0])
    start = next((b for b in range(1, len(EDGES)) if counted[b:].sum() <= _ENOUGH_MISSES), len(EDGES) - 1)
    beyond = misses[misses >= EDGES[start]]
    hill = len(beyond) / max(float(np.log(beyond / EDGES[start]).sum()), 1e-9) if len(beyond) else 1.0
    exponent = hill * max(1.0 - _NORMAL_95 / math.sqrt(max(len(beyond), 1)), 0.5)
    share = (np.array(EDGES[start:]) / EDGES[start]) ** -exponent
    expected = max(len(beyond), 1) * (share - np.append(share[1:], 0.0))
    return np.concatenate([counted[:start], np.maximum(expected, 1e-12)])


def tables(honest: Floats, lies: Mapping[str, Floats], edits: Floats) -> list[Alternative]:
    """The log likelihood ratios, given the size of a margin, of missing and of being drawn."""
    drawn, missed = count(honest).drawn, honest_misses(honest)
    rate = np.clip((missed + 0.5 * (missed > 1.0)) / (drawn + missed + 1.0), 1e-9, 0.5)
    made = [_alternative(name, _lying(count(lie), rate), rate) for name, lie in lies.items()]
    total = len(honest)
    where = count(edits).missed / max(len(edits), 1)
    for share in EDITED:
        replaced = share * total * where
        kept = (1.0 - share) * (drawn + missed)
        made.append(_alternative(f"edits of {share:.3g}", (kept * rate + replaced) / (kept + replaced + 1e-9), rate))
    return made


def _lying(counts: Counts, rate: Floats) -> Floats:
    lying: Floats = (counts.missed + _PRIOR * rate) / (counts.drawn + counts.missed + _PRIOR)
    return lying


def _alternative(name: str, lying: Floats, rate: Floats) -> Alternative:
    lying = np.clip(np.maximum(lying, rate), 1e-9, 0.95)
    drawn, missed = np.log((1.0 - lying) / (1.0 - rate)), np.log(lying / rate)
    return Alternative(
        name=name, drawn=[round(float(x), 4) for x in drawn], missed=[round(float(x), 4) for x in missed]
    )


def tempered(alternatives: Sequence[Alternative], by: float) -> list[Alternative]:
    """The alternatives with all log ratios times ``by``: weaker, and safer where tokens depend on each other."""
    return [
        Alternative(a.name, [round(by * x, 4) for x in a.drawn], [round(by * x, 4) for x in a.missed])
        for a in alternatives
    ]


def null(scores: Floats, tokens: int) -> Null:
    """How honest windows score: counted while _ENOUGH_WINDOWS lie beyond, then falling at a rate that is too slow."""
    ordered = np.sort(scores)
    kept: list[tuple[float, float]] = []
    for chance in _GRID:
        beyond = int(chance * len(ordered))
        if beyond < _ENOUGH_WINDOWS:
            break
        at = float(ordered[len(ordered) - beyond])
        counted = (int((ordered >= at).sum()) + 1) / (len(ordered) + 1)
        if not kept or (at > kept[-1][0] and counted < kept[-1][1]):
            kept.append((at, counted))
    last = kept[-1][0]
    excess = ordered[ordered >= last] - last
    rate = len(excess) / max(float(excess.sum()), 1e-9) * (1.0 - _NORMAL_95 / math.sqrt(len(excess)))
    return Null(
        tokens=tokens,
        scores=[math.ceil(at * 1e4) / 1e4 for at, _ in kept],
        chances=[math.ceil(chance * 1e7) / 1e7 for _, chance in kept],
        rate=round(min(rate, 1.0), 4),
    )


def chunks(outputs: Sequence[Sequence[float]], tokens: int) -> list[Sequence[float]]:
    """All whole windows of so many tokens, one after the other."""
    return [margins[at : at + tokens] for margins in outputs for at in range(0, len(margins) - tokens + 1, tokens)]


def window_scores(outputs: Sequence[Sequence[float]], tokens: int, calibration: Calibration) -> Floats:
    """The scores of all whole windows."""
    pieces = chunks(outputs, tokens)
    if not pieces:
        return np.zeros(0)
    joined = np.concatenate([np.asarray(piece) for piece in pieces])
    scores = token_scores(joined, calibration).reshape(-1, len(pieces), tokens).sum(axis=2)
    largest = scores.max(axis=0)
    return np.asarray(largest + np.log(np.exp(scores - largest).mean(axis=0)))


def fitted(
    calibration: Calibration,
    honest: Sequence[Sequence[float]],
    lies: Mapping[str, Sequence[Sequence[float]]],
    edits: Sequence[float],
) -> Calibration:
    """``calibration`` with tables and nulls from these margins, a list for each output. The nulls of one half of the
    outputs are of scores by tables from the other half."""
    halves = honest[::2], honest[1::2]
    joined = {name: np.concatenate([np.asarray(x) for x in outputs]) for name, outputs in lies.items()}
    edited = np.asarray(edits)

    def with_tables(outputs: Sequence[Sequence[float]], by: float) -> Calibration:
        made = tempered(tables(np.concatenate([np.asarray(x) for x in outputs]), joined, edited), by)
        return msgspec.structs.replace(calibration, edges=list(EDGES), alternatives=made)

    for by in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        crossed = [(with_tables(halves[1], by), halves[0]), (with_tables(halves[0], by), halves[1])]
        if all(_fair(crossed, tokens) for tokens in (32, 64, 128)):
            break
    nulls = [null(np.concatenate([window_scores(outs, n, c) for c, outs in crossed]), n) for n in LENGTHS]
    return msgspec.structs.replace(
        with_tables(honest, by), nulls=nulls, typical_edit=round(float(np.median(edited[edited > 0])), 4)
    )


def _fair(crossed: Sequence[tuple[Calibration, Sequence[Sequence[float]]]], tokens: int) -> bool:
    """Whether the likelihood ratios of honest stretches of so many tokens average at most 1, as they must in theory."""
    ratios = np.exp(np.concatenate([window_scores(outputs, tokens, c) for c, outputs in crossed]))
    return float(ratios.mean()) <= 1.0
