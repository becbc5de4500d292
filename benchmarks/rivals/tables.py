"""The table of the head to head: each method against each lie, from what the workers wrote down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rivals import roc
from rivals.lies import CHUNK, LIES
from rivals.methods import EXACT, PIECES, STATISTICAL, TOPLOC, refusals, scorers
from rivals.outputs import Compared, Line, Replay, Seen, read_lines
from rivals.roc import Floats
from rivals.running import GROUPS, Run, size
from verity.verify.calibration import Calibration

_T = TypeVar("_T", bound=Line)
Row = dict[str, Any]


def rows(run: Run, count: int, calibration: Calibration) -> list[Row]:
    """One row for each lie and method.

    auc, auc_95     of whole outputs, and its 95 % interval; ``auc_32`` of pieces of 32 tokens
    power           by tokens, at a false-alarm rate of 1 %
    tokens_needed   for a power of 95 %; None where no number that was tried is enough
    refused         the share of outputs that the method refuses by its own rule, if it has one
    """
    seen = {group: read(run.seen(group), Seen, size(group, count)) for group in GROUPS}
    methods, refuses = scorers(seen["calibration"], calibration), refusals(calibration)
    found: list[Row] = []
    for name, lie in LIES.items():
        found.append({"lie": lie.title, "method": EXACT} | _exact_row(run, name, count))
        for method, score in methods.items():
            good, bad = (np.stack([score(one) for one in seen[group]]) for group in ("honest", name))
            found.append({"lie": lie.title, "method": method} | row_of(good, bad))
            if method in refuses:
                found[-1]["refused"] = _share([refuses[method](one) for one in seen[name]])
    return found


def honest(run: Run, count: int, calibration: Calibration) -> Row:
    """What the methods say of the honest outputs that they were not set by."""
    seen = read(run.seen("honest"), Seen, size("honest", count))
    replays = read(run.replayed("honest"), Replay, size("honest", count))
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


def row_of(honest: Floats, dishonest: Floats) -> Row:
    """The figures of a method from its scores (outputs, pieces, numbers)."""
    whole = roc.auc(*(roc.together(scored.sum(axis=1)) for scored in (honest, dishonest)))
    low, high = roc.auc_interval(whole, len(honest), len(dishonest))
    piece = roc.auc(*(roc.together(scored).ravel() for scored in (honest, dishonest)))
    power = roc.powers(honest, dishonest)
    return {
        "auc": round(whole, 4),
        "auc_95": [round(low, 4), round(high, 4)],
        "auc_32": round(piece, 4),
        "tokens_needed": roc.tokens_needed(power, CHUNK),
        "power": {str(count * CHUNK): round(share, 4) for count, share in zip(roc.PIECES, power, strict=True)},
    }


def _exact_row(run: Run, name: str, count: int) -> Row:
    """An honest output that did not replay exactly would count as a false alarm on all its pieces."""
    good = [one.position is not None for one in read(run.replayed("honest"), Replay, size("honest", count))]
    bad = np.array([one.differs for one in read(run.compared(name), Compared, count)], dtype=np.float64)
    refused = [one.position is not None for one in read(run.replayed(name), Replay, count)]
    assert refused == bad.any(axis=1).tolist(), "the replay and the comparison of pieces disagree"
    honest = np.repeat(np.array(good, dtype=np.float64), PIECES).reshape(-1, PIECES)
    return row_of(honest[:, :, None], bad[:, :, None]) | {"refused": _share(refused)}


def read(path: Path, kind: type[_T], count: int) -> list[_T]:
    """The first ``count`` lines of a file."""
    lines = read_lines(path, kind)
    return [lines[number] for number in range(count)]


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4)


def _largest(errors: list[tuple[float, float, float]]) -> list[float]:
    return [round(float(value), 2) for value in np.max(errors, axis=0)]
