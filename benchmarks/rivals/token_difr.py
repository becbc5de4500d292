"""Token-DiFR (Karvonen and others, "DiFR: Inference Verification Despite Nondeterminism", arXiv 2511.20621).

Written here from the paper and from the authors' description of their code, none of which is copied. Provider and
verifier share the seed of the Gumbel noise. For every token the verifier computes the margin by which the claimed token
misses the best after the noise, in units of logits (logit + temperature · noise); a filtered token's is infinite. It is
clipped at the 99.9th percentile of honest margins, and the score is the mean over tokens. Nothing is sent but tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

PERCENTILE = 99.9


class Score:
    """The mean clipped margin of a piece of output; ``honest`` margins (of scores, null where filtered out) set the
    clip, and ``temperature`` makes logits of scores."""

    def __init__(self, honest: Iterable[float | None], temperature: float) -> None:
        self._temperature = temperature
        margins = self._logits(list(honest))
        finite = margins[np.isfinite(margins)]
        self.clip = float(np.percentile(finite, PERCENTILE)) if len(finite) else 0.0

    def __call__(self, margins: Sequence[float | None]) -> float:
        return float(np.minimum(self._logits(margins), self.clip).mean())

    def _logits(self, margins: Sequence[float | None]) -> npt.NDArray[np.float64]:
        scores = np.array([np.inf if margin is None else margin for margin in margins], dtype=np.float64)
        return scores * self._temperature
