"""The methods side by side: what each makes of a piece of output, set by the same honest outputs.

TOPLOC and Token-DiFR are set by the honest ``calibration`` outputs, as their authors do it. Verity's statistical check
comes with a calibration: of the same network, with the weights that the default model has (Q4_1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from rivals import token_difr, toploc_check
from rivals.lies import CHUNK, CLAIMED, TOKENS
from rivals.outputs import Seen
from rivals.roc import Floats
from verity.verify.calibration import Calibration
from verity.verify.statistics import judge, token_scores

EXACT, STATISTICAL, TOKEN_DIFR, TOPLOC = "exact replay", "statistical check", "Token-DiFR", "TOPLOC"
PIECES = TOKENS // CHUNK

Scorer = Callable[[Seen], Floats]
"""Gives the scores (pieces, numbers) of an output: larger for less honest pieces."""


def scorers(honest: Sequence[Seen], calibration: Calibration) -> dict[str, Scorer]:
    """By method; ``honest`` outputs set the rivals, ``calibration`` Verity's."""
    difr = token_difr.Score((margin for seen in honest for margin in seen.missed), CLAIMED.temperature)
    found: dict[str, Scorer] = {
        STATISTICAL: lambda seen: _ratios(seen, calibration),
        TOKEN_DIFR: lambda seen: _column(difr(seen.missed[part]) for part in parts()),
    }
    if all(seen.errors for seen in honest):
        toploc = toploc_check.Score([errors for seen in honest for errors in seen.errors])
        found[TOPLOC] = lambda seen: _column(toploc(errors) for errors in seen.errors)
    return found


def _ratios(seen: Seen, calibration: Calibration) -> Floats:
    """The log likelihood ratios of each piece, one for each lie of the calibration."""
    scores = token_scores(seen.margins, calibration)
    return np.array([scores[:, part].sum(axis=1) for part in parts()])


def _column(scores: Iterable[float]) -> Floats:
    return np.fromiter(scores, dtype=np.float64)[:, None]


def parts() -> Iterator[slice]:
    """Where the pieces of an output are."""
    return (slice(at, at + CHUNK) for at in range(0, TOKENS, CHUNK))


def refusals(calibration: Calibration) -> dict[str, Callable[[Seen], bool]]:
    """By method, whether it refuses an output by its own rule; Token-DiFR has none. TOPLOC's is about one proof, and an
    output is refused for any."""
    return {
        STATISTICAL: lambda seen: judge(seen.margins, calibration).p_value <= calibration.threshold,
        TOPLOC: lambda seen: any(toploc_check.refused(errors) for errors in seen.errors),
    }
