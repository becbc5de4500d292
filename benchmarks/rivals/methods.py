"""The methods side by side: what each makes of a piece of output, set by the same honest outputs.

Verity's statistical check is its log likelihood ratio for a piece, with the calibration that is made of the honest
``calibration`` outputs. TOPLOC and Token-DiFR see the same forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rivals import token_difr, toploc_check
from rivals.lies import CHUNK, CLAIMED, TOKENS
from rivals.outputs import Seen

EXACT, STATISTICAL, TOKEN_DIFR, TOPLOC = "exact replay", "statistical check", "Token-DiFR", "TOPLOC"
PIECES = TOKENS // CHUNK

Scored = list[list[float]]
"""Scores of the pieces of each output."""


def scorers(calibration: Sequence[Seen]) -> dict[str, Callable[[Seen], list[float]]]:
    """By method, what gives the scores of an output's pieces: larger for less honest ones."""
    difr = token_difr.Score((margin for seen in calibration for margin in seen.missed), CLAIMED.temperature)
    found: dict[str, Callable[[Seen], list[float]]] = {
        TOKEN_DIFR: lambda seen: [difr(seen.missed[part]) for part in parts()],
    }
    if all(seen.errors for seen in calibration):
        toploc = toploc_check.Score([errors for seen in calibration for errors in seen.errors])
        found[TOPLOC] = lambda seen: [toploc(errors) for errors in seen.errors]
    return found


def parts() -> Iterator[slice]:
    """Where the pieces of an output are."""
    return (slice(at, at + CHUNK) for at in range(0, TOKENS, CHUNK))


def refused_by_toploc(seen: Seen) -> bool:
    """Whether the authors' thresholds refuse any proof of an output."""
    return any(toploc_check.refused(errors) for errors in seen.errors)
