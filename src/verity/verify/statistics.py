"""What the margins of an output say where numerics differ. Pure; specified in spec/statistics.md §2.

Every token scores the log likelihood ratio of its margin's sign, given its size, between a lie and honest rounding; the
lies are a small family, averaged. The output is judged twice, and the p-value accounts for both: the window that looks
worst, against honest windows, which finds a few edited tokens; and the whole, which finds a small drift everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from verity.verify.calibration import Calibration, Null

Floats = npt.NDArray[np.float64]


class TooShort(Exception):
    """The output has fewer tokens than the shortest window that was calibrated."""


class Judgement(msgspec.Struct, frozen=True):
    """What came out.

    p_value           how often an honest output would look as bad or worse; over all windows, and at most 1
    likelihood_ratio  how many times likelier the lies of the calibration make these margins than honesty
    windows, flagged  pieces that were judged, and how many of them would be flagged alone
    smallest_shift    a single token that misses by so many logits would have been flagged, wherever it stands here;
                      None if there is a place where it would not have been
    smallest_share    so large a share of tokens, each replaced by one that the model might as well have written, would
                      have been flagged; None if even all would not

    The last two are None for an output that is flagged as it is.
    """

    p_value: float
    likelihood_ratio: float
    tokens: int
    windows: int
    flagged: int
    smallest_shift: float | None
    smallest_share: float | None


def judge(margins: Sequence[float], calibration: Calibration) -> Judgement:
    """Judge an output by its signed margins (logits). Raises TooShort."""
    if len(margins) < calibration.shortest:
        raise TooShort
    scores = token_scores(margins, calibration)
    pieces = windows(len(margins), calibration.window)
    chances = [_chance(log_ratio(scores[:, piece]), piece.stop - piece.start, calibration) for piece in pieces]
    p_value = _p_value(scores, calibration)
    refused = p_value <= calibration.threshold
    return Judgement(
        p_value=p_value,
        likelihood_ratio=math.exp(min(log_ratio(scores), 700.0)),
        tokens=len(margins),
        windows=len(pieces),
        flagged=sum(chance * _tests(len(pieces)) <= calibration.threshold for chance in chances),
        smallest_shift=None if refused else _smallest_shift(scores, calibration),
        smallest_share=None if refused else _smallest_share(scores, calibration),
    )


def token_scores(margins: Sequence[float] | Floats, calibration: Calibration) -> Floats:
    """The log likelihood ratio of each token (columns) under each alternative (rows)."""
    values = np.asarray(margins, dtype=np.float64)
    bins = np.searchsorted(calibration.edges, np.abs(values), side="right") - 1
    drawn = np.array([alternative.drawn for alternative in calibration.alternatives])
    missed = np.array([alternative.missed for alternative in calibration.alternatives])
    scores: Floats = np.where(values > 0.0, missed[:, bins], drawn[:, bins])
    return scores


def log_ratio(scores: Floats) -> float:
    """The log of the likelihood ratio of some tokens (``token_scores``), averaged over the alternatives."""
    sums = scores.sum(axis=1)
    largest = float(sums.max())
    return largest + math.log(float(np.exp(sums - largest).mean()))


def windows(tokens: int, longest: int) -> list[slice]:
    """The fewest pieces of at most ``longest`` tokens, their lengths as equal as can be."""
    count = -(-tokens // longest)
    edges = [tokens * number // count for number in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def _p_value(scores: Floats, calibration: Calibration) -> float:
    """A single window has one test. Otherwise there are two, so twice the smaller p-value (Bonferroni): the number of
    windows times their smallest, and for the whole, where an average of likelihood ratios exceeds x with a chance of at
    most 1 / x (Markov)."""
    pieces = windows(scores.shape[1], calibration.window)
    worst = min(_chance(log_ratio(scores[:, piece]), piece.stop - piece.start, calibration) for piece in pieces)
    if len(pieces) == 1:
        return worst
    whole = math.exp(-max(log_ratio(scores), 0.0))
    return min(1.0, 2.0 * min(len(pieces) * worst, whole))


def _tests(count: int) -> int:
    """By what the p-value of one window among ``count`` is multiplied."""
    return 2 * count if count > 1 else 1


def _chance(score: float, tokens: int, calibration: Calibration) -> float:
    """How often an honest window of so many tokens scores at least ``score``: the larger of the two for the calibrated
    lengths around it."""
    at = next(i for i, null in enumerate(calibration.nulls) if null.tokens >= tokens)
    around = range(at if calibration.nulls[at].tokens == tokens else at - 1, at + 1)
    return max(_survival(score, calibration.nulls[i]) for i in around)


def _survival(score: float, null: Null) -> float:
    """Between two calibrated scores the chance is that of the lower one, so never too small."""
    at = int(np.searchsorted(null.scores, score, side="right")) - 1
    if at < 0:
        return 1.0
    if at < len(null.scores) - 1:
        return null.chances[at]
    return null.chances[-1] * math.exp(-null.rate * (score - null.scores[-1]))


# --- what would have been seen ----------------------------------------------------------------------------------------


def _smallest_shift(scores: Floats, calibration: Calibration) -> float | None:
    """The lower edge of the first bin from which on every edit is flagged, where it shows least."""
    missed = np.array([alternative.missed for alternative in calibration.alternatives])
    whole = scores.sum(axis=1)
    found: float | None = None
    for number in reversed(range(len(calibration.edges))):
        if not all(
            _seen_anywhere(scores[:, piece], whole, missed[:, number], scores.shape[1], calibration)
            for piece in windows(scores.shape[1], calibration.window)
        ):
            break
        found = calibration.edges[number]
    return found


def _seen_anywhere(window: Floats, whole: Floats, edit: Floats, tokens: int, calibration: Calibration) -> bool:
    """Whether one token of the window that scores ``edit`` instead is flagged, whichever it is."""
    count = len(windows(tokens, calibration.window))
    for column in np.unique(window, axis=1).T:
        change = (edit - column)[:, None]
        alone = _chance(log_ratio(np.column_stack([window, change])), window.shape[1], calibration)
        together = math.exp(-max(log_ratio(np.column_stack([whole[:, None], change])), 0.0))
        if min(_tests(count) * alone, 2.0 * together if count > 1 else 1.0) > calibration.threshold:
            return False
    return True


def _smallest_share(scores: Floats, calibration: Calibration) -> float | None:
    """The fewest typical edits, spread evenly, that are flagged, over the number of tokens."""
    tokens = int(scores.shape[1])
    at = int(np.searchsorted(calibration.edges, calibration.typical_edit, side="right")) - 1
    edit = np.array([alternative.missed[at] for alternative in calibration.alternatives])

    def seen(count: int) -> bool:
        edited = scores.copy()
        edited[:, (np.arange(count) * tokens + tokens // 2) // count] = edit[:, None]
        return _p_value(edited, calibration) <= calibration.threshold

    if not seen(tokens):
        return None
    few, enough = 0, 1
    while enough < tokens and not seen(enough):
        few, enough = enough, min(2 * enough, tokens)
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if seen(middle) else (middle, enough)
    return enough / tokens
