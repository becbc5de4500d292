"""Draw tokens, or check that a token is the one that would have been drawn. Specified in spec/sampling.md.

    logits → penalties → top-k → top-p → min-p → logit / temperature + Gumbel noise → the largest score

``Sampler.draw`` generates, ``Sampler.judge`` replays; both keep the same history, so that penalties agree. numpy's exp
and log differ in the last bit between processors: ``judge`` therefore allows ``SLACK`` at the edges and at the maximum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from verity.errors import EngineError
from verity.sampling.noise import Floats, all_words, gumbel, position_key, words
from verity.sampling.parameters import SamplingParameters

SLACK = 1e-9
_FEW = 256

Logits = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]


class Verdict(NamedTuple):
    """What a replay found at one position. ``margin`` is best − claimed score, infinite when the token was filtered."""

    matches: bool
    best: int
    margin: float


class _Survivors(NamedTuple):
    """Tokens that pass the filters, most likely first; ``firm`` of them pass whatever the last bits are."""

    tokens: Tokens
    logits: Floats
    firm: int


class Sampler:
    """One answer's sampling. ``prompt`` are the prompt's tokens (for the repetition penalty), ``seed`` 32 bytes."""

    def __init__(self, parameters: SamplingParameters, seed: bytes, prompt: Sequence[int] = ()) -> None:
        self._parameters = parameters
        self._seed = seed
        self._seen = set(prompt)
        self._counts: dict[int, int] = {}
        self.position = 0

    def draw(self, logits: Logits) -> int:
        """The next token for ``logits`` (one float per token of the vocabulary). Raises EngineError on NaN."""
        adjusted = self._penalised(logits)
        greedy = self._parameters.greedy
        token = int(adjusted.argmax()) if greedy else self._best(self._survivors(adjusted, 0.0))[0]
        self._remember(token)
        return token

    def judge(self, logits: Logits, claimed: int) -> Verdict:
        """Whether ``draw`` would have given ``claimed``; goes on with ``claimed`` as the history, if it is a token."""
        adjusted = self._penalised(logits)
        known = 0 <= claimed < len(adjusted)
        if self._parameters.greedy:
            best = int(adjusted.argmax())
            margin = float(adjusted[best]) - float(adjusted[claimed]) if known else math.inf
            verdict = Verdict(claimed == best, best, margin)
        else:
            verdict = self._judge_noisy(adjusted, claimed, known)
        if known:
            self._remember(claimed)
        return verdict

    def skip(self, token: int) -> None:
        """Go on with a token that was drawn before, without looking at it."""
        self._remember(token)

    def _judge_noisy(self, adjusted: npt.NDArray[np.floating], claimed: int, known: bool) -> Verdict:
        """spec/sampling.md §5."""
        survivors = self._survivors(adjusted, SLACK)
        best, score = self._best(_Survivors(survivors.tokens[: survivors.firm], survivors.logits, survivors.firm))
        if claimed == best:
            return Verdict(True, best, 0.0)
        if not known or (not self._unfiltered and claimed not in survivors.tokens):
            return Verdict(False, best, math.inf)
        one = np.array([claimed])
        margin = score - float(self._scores(one, adjusted[one].astype(np.float64))[0])
        return Verdict(margin <= SLACK, best, max(margin, 0.0))

    @property
    def _unfiltered(self) -> bool:
        p = self._parameters
        return not p.top_k and p.top_p >= 1.0 and p.min_p <= 0.0

    def _remember(self, token: int) -> None:
        self._counts[token] = self._counts.get(token, 0) + 1
        self._seen.add(token)
        self.position += 1

    def _penalised(self, logits: Logits) -> npt.NDArray[np.floating]:
        """spec/sampling.md §2. float32 logits come back untouched when there is no penalty."""
        if not np.isfinite(logits.max()):  # max() hands a NaN on
            raise EngineError("the model gave logits that are not numbers", "the model file is probably damaged")
        p = self._parameters
        adjusted: npt.NDArray[np.floating] = logits
        if p.repetition_penalty != 1.0 and self._seen:
            adjusted = adjusted.astype(np.float64)
            ids = np.fromiter(self._seen, dtype=np.int64)
            chosen = adjusted[ids]
            adjusted[ids] = np.where(chosen > 0, chosen / p.repetition_penalty, chosen * p.repetition_penalty)
        if (p.presence_penalty or p.frequency_penalty) and self._counts:
            adjusted = adjusted.astype(np.float64)
            ids = np.fromiter(self._counts.keys(), dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float64)
            adjusted[ids] -= counts * p.frequency_penalty + p.presence_penalty
        return adjusted

    def _survivors(self, adjusted: npt.NDArray[np.floating], slack: float) -> _Survivors:
        """spec/sampling.md §3: what top-k, top-p and min-p leave. ``slack`` widens the edges that depend on exp."""
        if self._unfiltered:
            return self._contenders(adjusted)
        p = self._parameters
        limit = keep = min(p.top_k or len(adjusted), len(adjusted))
        if p.min_p > 0.0 and (p.top_p >= 1.0 or keep > _FEW):
            edge = float(adjusted.max()) + math.log(p.min_p) - slack
            limit = min(keep, int(np.count_nonzero(adjusted >= edge)))
        total, few = None, limit
        if p.top_p < 1.0 and keep > _FEW:
            # Sort only as many as are needed to reach top_p: the weight of all is known without sorting.
            pool = adjusted if keep == len(adjusted) else adjusted[most_likely(adjusted, keep)]
            total, few = float(np.exp(pool.astype(np.float64) - float(pool.max())).sum()), _FEW
        while True:
            survivors = self._cut(most_likely(adjusted, min(few, limit)), adjusted, total, slack)
            if len(survivors.tokens) < few or few >= limit:
                return survivors
            few *= 8

    def _contenders(self, adjusted: npt.NDArray[np.floating]) -> _Survivors:
        """All tokens pass, but only these can win: no other's logit is within the largest noise of a score in hand."""
        favourites = most_likely(adjusted, min(_FEW, len(adjusted)))
        floor = float(self._scores(favourites, adjusted[favourites].astype(np.float64)).max())
        drawn = all_words(position_key(self._seed, self.position), len(adjusted))
        largest = float(gumbel(drawn.max(keepdims=True))[0])
        edge = (floor - largest - SLACK) * self._parameters.temperature
        with np.errstate(over="ignore"):  # the edge becomes float32: widen by its rounding; beyond its range it is −∞
            able = np.flatnonzero(adjusted >= edge - 1e-5 * abs(edge))
        return _Survivors(able, adjusted[able].astype(np.float64), len(able))

    def _cut(self, order: Tokens, adjusted: npt.NDArray[np.floating], total: float | None, slack: float) -> _Survivors:
        """Apply top-p and min-p to ``order`` (most likely first); ``total`` is the weight of all, if not of these."""
        p = self._parameters
        logits = adjusted[order].astype(np.float64)
        wide = firm = len(order)
        if p.top_p < 1.0:
            weights = np.exp(logits - logits[0])
            running = np.cumsum(weights)
            before = (running - weights) / (running[-1] if total is None else total)
            wide = max(1, int(np.searchsorted(before, p.top_p + slack)))
            firm = max(1, int(np.searchsorted(before, p.top_p - slack)))
        if p.min_p > 0.0:
            edge = logits[0] + math.log(p.min_p)
            wide = min(wide, int((logits >= edge - slack).sum()))
            firm = max(1, min(firm, int((logits >= edge + slack).sum())))
        return _Survivors(order[:wide], logits[:wide], min(firm, wide))

    def _scores(self, tokens: Tokens, logits: Floats) -> Floats:
        """spec/sampling.md §4: logit / temperature + noise."""
        noise = gumbel(words(position_key(self._seed, self.position), tokens.astype(np.uint64)))
        scores: Floats = logits / self._parameters.temperature + noise
        return scores

    def _best(self, survivors: _Survivors) -> tuple[int, float]:
        tokens = survivors.tokens
        scores = self._scores(tokens, survivors.logits[: len(tokens)])
        score = float(scores.max())
        return int(tokens[scores == score].min()), score


def most_likely(values: npt.NDArray[np.floating], count: int) -> Tokens:
    """Indices of the ``count`` largest values (at most all), largest first, lower index first among equals."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    if count < len(values):
        threshold = np.partition(values, len(values) - count)[len(values) - count]
        candidates = np.flatnonzero(values >= threshold)
    else:
        candidates = np.arange(len(values))
    order = np.argsort(-values[candidates], kind="stable")
    chosen: Tokens = candidates[order][:count]
    return chosen
