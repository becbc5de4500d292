"""A calibration and workers' lines that are made up: no model is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rivals.lies import CHUNK, LIES, TOKENS
from rivals.outputs import Compared, Replay, Seen, append
from rivals.running import GROUPS, Run, size
from verity.verify.calibration import Alternative, Calibration, Covered, Null


def calibration() -> Calibration:
    """Two lies, one that makes every miss likelier and one that makes large ones likelier."""
    return Calibration(
        format=1,
        models=["0" * 64],
        numerics=["one", "other"],
        engine="0",
        honest_tokens=1000,
        covered=Covered(greedy=False, temperature=(0.5, 1.0), repetition_penalty=(1.0, 1.0)),
        edges=[0.0, 1.0],
        alternatives=[Alternative("many", [-0.1, -0.1], [1.0, 1.0]), Alternative("large", [-0.1, -0.1], [0.0, 3.0])],
        nulls=[Null(CHUNK, [0.0, 4.0], [0.5, 1e-5], 0.9)],
        threshold=1e-4,
        false_alarm_rate=1e-3,
        typical_edit=2.0,
    )


def run_of_lines(folder: Path, count: int) -> Run:
    """Honest devices whose tokens sometimes miss by little; liars whose every other token misses by much."""
    run, rng = Run(folder, {}), np.random.default_rng(5)
    for group in GROUPS:
        lies = group in LIES
        for number in range(size(group, count)):
            missed = np.where(rng.random(TOKENS) < (0.5 if lies else 0.04), 2.0 if lies else 0.1, 0.0)
            errors = [(60.0, 12.0, 9.0) if lies else (float(rng.integers(5)), 2.0, 1.0)] * (TOKENS // CHUNK)
            margins = np.where(missed > 0, missed, -1.0)
            append(run.seen(group), Seen(number, missed.tolist(), margins.tolist(), errors))
            append(run.replayed(group), Replay(number, 0 if lies else None, [] if lies else [(0.0, 0.0, 0.0)]))
            if lies:
                append(run.compared(group), Compared(number, [True] * (TOKENS // CHUNK)))
    return run
