"""By how much a token misses being drawn, or is drawn, under logits that need not be those it was drawn from.

``Sampler.judge`` answers yes or no, which is the question when the logits are the same to the bit. When they are not,
what counts is how far they would have to move. Specified in spec/statistics.md §1.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from verity.sampling.noise import all_words, gumbel, position_key
from verity.sampling.sampler import Logits, Sampler, Tokens, most_likely

MOST = 32.0
"""Margins end here: no difference in logits between two tokens that a model would write is larger."""


class MarginSampler(Sampler):
    """A sampler that measures: ``margin`` of any token, then ``push`` of the one that stands there."""

    def margin(self, logits: Logits, claimed: int) -> float:
        """The signed margin of ``claimed``, in logits, within ±MOST. Raises EngineError on NaN.

        Not above 0: it is what these logits give, and leads the next token that passes the filters by so much. Above 0:
        so far must logits move until it passes the filters and has the largest score. ``claimed`` is in the vocabulary.
        """
        adjusted = self._penalised(logits)
        if self._parameters.greedy:
            margin = _rival(adjusted.astype(np.float64), claimed)
        else:
            margin = self._noisy(adjusted, claimed)
        return min(max(margin, -MOST), MOST)

    def push(self, token: int) -> None:
        """Go on with ``token`` as the history."""
        self._remember(token)

    def _noisy(self, adjusted: npt.NDArray[np.floating], claimed: int) -> float:
        temperature = self._parameters.temperature
        if self._unfiltered:
            noise = gumbel(all_words(position_key(self._seed, self.position), len(adjusted)))
            return _rival(adjusted + temperature * noise, claimed)
        survivors = self._survivors(adjusted, 0.0)
        scores = temperature * self._scores(survivors.tokens, survivors.logits)
        at = np.flatnonzero(survivors.tokens == claimed)
        if len(at):
            return _rival(scores, int(at[0]))
        one = np.array([claimed])
        own = temperature * float(self._scores(one, adjusted[one].astype(np.float64))[0])
        return max(float(scores.max()) - own, self._outside(adjusted, claimed))

    def _outside(self, adjusted: npt.NDArray[np.floating], claimed: int) -> float:
        """How far outside the filters a token is: the largest of its distances to their edges."""
        p, logit = self._parameters, float(adjusted[claimed])
        keep = min(p.top_k or len(adjusted), len(adjusted))
        kept: Tokens = most_likely(adjusted, keep)
        logits = adjusted[kept].astype(np.float64)
        distance = float(logits[-1]) - logit
        if p.top_p < 1.0:
            distance = max(distance, _beyond_top_p(logits, logit, p.top_p))
        if p.min_p > 0.0:
            distance = max(distance, float(logits[0]) + math.log(p.min_p) - logit)
        return distance


def _rival(scores: npt.NDArray[np.float64], claimed: int) -> float:
    """The largest other score less the claimed one's; −MOST when there is no other."""
    own = float(scores[claimed])
    others = np.delete(scores, claimed)
    return float(others.max()) - own if len(others) and others.max() > -np.inf else -MOST


def _beyond_top_p(logits: npt.NDArray[np.float64], logit: float, top_p: float) -> float:
    """How far a token with ``logit`` is beyond the edge of top-p, among the tokens with ``logits`` (largest first).

    The edge moves with the weight of the tokens before it, so there are two measures, and the smaller counts: the
    difference to the last logit that passes, and the difference in log odds between the weight before it and top_p.
    """
    weights = np.exp(logits - logits[0])
    running = np.cumsum(weights)
    before = (running - weights) / running[-1]
    last = max(1, int(np.searchsorted(before, top_p))) - 1
    above = float(weights[logits > logit].sum())
    rest = max(float(running[-1]) - above, math.exp(max(logit - float(logits[0]), -700.0)))
    odds = math.log(above / rest) - math.log(top_p / (1.0 - top_p)) if above > 0.0 else 0.0
    return min(float(logits[last]) - logit, odds)
