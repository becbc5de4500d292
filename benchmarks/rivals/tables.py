"""The table of the head to head: each method against each lie, from what the workers wrote down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rivals import roc
from rivals.lies import CHUNK, HONEST, LIES, TOKENS
from rivals.methods import EXACT, STATISTICAL, TOPLOC, refusals, scorers
from rivals.outputs import Replay, Seen, read_lines
from rivals.roc import Floats
from rivals.running import GROUPS, Run
from verity.verify.calibration import Calibration

Row = dict[str, Any]


def rows(run: Run, count: int, calibration: Calibration) -> list[Row]:
    """One row for each lie and method.

    auc, auc_95     of whole outputs, and its 95 % interval; ``auc_32`` of pieces of 32 tokens
    power           by tokens, at a false-alarm rate of 1 %
    tokens_needed   for a power of 95 %; None where no number that was tried is enough
    refused         the share of outputs that the method refuses by its own rule, if it has one
    """
    seen = {group: _first(read_lines(run.seen(group), Seen), count) for group in GROUPS}
    replays = {group: _first(read_lines(run.replayed(group), Replay), count) for group in GROUPS if group != HONEST[0]}
    methods, refuses = scorers(seen["calibration"], calibration), refusals(calibration)
    found = []
    for name in LIES:
        found.append(_exact_row(name, replays["honest"], replays[name]))
        for method, score in methods.items():
            row = statistical_row([score(one) for one in seen["honest"]], [score(one) for one in seen[name]])
            found.append({"lie": LIES[name].title, "method": method} | row)
            if method in refuses:
                found[-1]["refused"] = _share([refuses[method](one) for one in seen[name]])
    return found


def honest(run: Run, count: int, calibration: Calibration) -> Row:
    """What the methods say of the honest outputs that they were not set by."""
    seen = _first(read_lines(run.seen("honest"), Seen), count)
    replays = _first(read_lines(run.replayed("honest"), Replay), count)
    missed = [margin for one in seen for margin in one.missed]
    refuses = refusals(calibration)
    said: Row = {
        "exact": _share([replay.position is None for replay in replays]),
        "tokens_that_differ": _share([margin is None or margin > 0 for margin in missed]),
        "refused": {STATISTICAL: _share([refuses[STATISTICAL](one) for one in seen])},
    }
    if all(one.errors for one in seen):
        said["refused"][TOPLOC] = _share([refuses[TOPLOC](one) for one in seen])
        said["toploc_errors"] = _largest([errors for one in seen for errors in one.errors])
        said["toploc_errors_under_equal_numerics"] = _largest([errors for one in replays for errors in one.errors])
    return said


def statistical_row(honest: Sequence[Floats], dishonest: Sequence[Floats]) -> Row:
    """The figures of a method from the scores (pieces, numbers) of each output."""
    whole = roc.auc(*(roc.together([one.sum(axis=0) for one in scored]) for scored in (honest, dishonest)))
    low, high = roc.auc_interval(whole, len(honest), len(dishonest))
    good, bad = np.concatenate(honest), np.concatenate(dishonest)
    power = roc.powers(good, bad)
    return _row(whole, low, high, roc.auc(roc.together(good), roc.together(bad)), power)


def _exact_row(name: str, honest: Sequence[Replay], dishonest: Sequence[Replay]) -> Row:
    differs = [0.0 if one.position is None else 1.0 for one in dishonest]
    whole = roc.auc([one.position is not None for one in honest], differs)
    low, high = roc.auc_interval(whole, len(honest), len(dishonest))
    power = roc.found_by_difference([one.position for one in dishonest], CHUNK, TOKENS)
    row = _row(whole, low, high, (1 + power[0]) / 2, power)
    return {"lie": LIES[name].title, "method": EXACT} | row | {"refused": _share([bool(one) for one in differs])}


def _row(whole: float, low: float, high: float, piece: float, power: list[float]) -> Row:
    return {
        "auc": round(whole, 4),
        "auc_95": [round(low, 4), round(high, 4)],
        "auc_32": round(piece, 4),
        "tokens_needed": roc.tokens_needed(power, CHUNK),
        "power": {str(count * CHUNK): round(share, 4) for count, share in zip(roc.PIECES, power, strict=True)},
    }


def _first(lines: dict[int, Any], count: int) -> list[Any]:
    return [lines[number] for number in range(count)]


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4)


def _largest(errors: list[tuple[float, float, float]]) -> list[float]:
    return [round(float(value), 2) for value in np.max(errors, axis=0)]
