"""By how much a token misses being drawn, or is drawn, under logits that need not be those it was drawn from.

``Sampler.judge`` answers yes or no, which is the question when the logits are the same to the bit. When they are not,
what counts is how far they would have to move. Specified in spec/statistics.md §1.
"""

from __future__ import annotations

import math

import numpy as np

from verity.sampling.noise import Floats, all_words, gumbel, position_key
from verity.sampling.sampler import Logits, Sampler, Tokens, most_likely

MOST = 32.0
"""Margins end here: no difference in logits between two tokens that a model would write is larger."""
_LEAST = -1e9
"""Stands for the −∞ of what a grammar does not allow, so that differences are numbers."""
_NEAR = 64
"""Tokens just outside the filters that might have been inside."""


class MarginSampler(Sampler):
    """A sampler that measures: ``margin`` of any token, then ``skip`` over the one that stands there."""

    def margin(self, logits: Logits, claimed: int) -> float:
        """The signed margin of ``claimed``, in logits, within ±MOST. Raises EngineError on NaN.

        Not above 0: it is what these logits give, and stays so unless they move by that much. Above 0: so far must they
        move until it is. ``claimed`` is in the vocabulary.
        """
        adjusted = np.maximum(self._penalised(logits).astype(np.float64), _LEAST)
        if self._parameters.greedy:
            margin = _against(adjusted, np.full(len(adjusted), np.inf), claimed)
        elif self._unfiltered:
            noise = gumbel(all_words(position_key(self._seed, self.position), len(adjusted)))
            scores = adjusted + self._parameters.temperature * noise
            margin = _against(scores, np.full(len(scores), np.inf), claimed)
        else:
            margin = self._filtered(adjusted, claimed)
        return min(max(margin, -MOST), MOST)

    def _filtered(self, adjusted: Floats, claimed: int) -> float:
        """Among the tokens that pass, those near, and the claimed one."""
        passing = len(self._survivors(adjusted, 0.0).tokens)
        width = max(passing + _NEAR, self._parameters.top_k + 1)
        tokens: Tokens = most_likely(adjusted, min(width, len(adjusted)))
        if claimed not in tokens:
            tokens = np.append(tokens, claimed)
        logits = adjusted[tokens]
        scores = self._parameters.temperature * self._scores(tokens, logits)
        return _against(scores, self._insides(adjusted, logits), int(np.flatnonzero(tokens == claimed)[0]))

    def _insides(self, adjusted: Floats, logits: Floats) -> Floats:
        """How far inside all filters tokens with these ``logits`` (largest first) are; below 0: outside."""
        p, inside = self._parameters, np.full(len(logits), np.inf)
        keep = p.top_k if 0 < p.top_k < len(adjusted) else len(adjusted)
        if keep < len(logits):
            inside = _distances(logits, keep)
        if p.top_p < 1.0:
            inside = np.minimum(inside, _inside_top_p(adjusted, logits, keep, p.top_p))
        if p.min_p > 0.0:
            inside = np.minimum(inside, logits - logits[0] - math.log(p.min_p))
        inside[0] = np.inf  # the most likely token always passes
        return inside


def _against(scores: Floats, inside: Floats, claimed: int) -> float:
    """What the claimed token needs to win: to pass itself, and against each other token, the smaller of a higher score
    and the other's not passing. −MOST when there is no other."""
    others = np.minimum(inside, scores - scores[claimed])
    others[claimed] = -MOST
    return max(float(others.max()), -float(inside[claimed]))


def _distances(logits: Floats, kept: int) -> Floats:
    """To the edge between the first ``kept`` logits and the next: how far above the first that does not pass, or below
    the last that does."""
    following = logits[kept] if kept < len(logits) else -np.inf
    return np.where(np.arange(len(logits)) < kept, logits - following, logits - logits[kept - 1])


def _inside_top_p(adjusted: Floats, logits: Floats, keep: int, top_p: float) -> Floats:
    """The edge of top-p moves with the weight of the tokens before it. There are two ways across, and the shorter one
    counts: the distance in logits, and in the log odds of the weight before a token against ``top_p``."""
    weights = np.exp(logits - logits[0])
    if keep < len(adjusted):
        total = above_last = float(weights[:keep].sum())
    else:  # the last may be a claimed token from far down, with others before it that are not here
        all_weights = np.exp(adjusted - logits[0])
        total, above_last = float(all_weights.sum()), float(all_weights[adjusted > logits[-1]].sum())
    before = (np.cumsum(weights) - weights) / total
    before[-1] = max(before[-1], above_last / total)
    before = np.minimum(before, 1.0)
    with np.errstate(divide="ignore"):
        odds = math.log(top_p / (1.0 - top_p)) - (np.log(before) - np.log1p(-before))
    steps = _distances(logits, max(1, int(np.searchsorted(before, top_p))))
    nearer: Floats = np.where(
        odds > 0.0, np.minimum(np.maximum(steps, 0.0), odds), np.maximum(np.minimum(steps, 0.0), odds)
    )
    return nearer
