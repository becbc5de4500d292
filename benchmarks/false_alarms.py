"""How often the statistical check refuses an honest output: counted on outputs that the calibration was not made with.

A test is one window of 32 tokens, made under one numerics and judged under another by the shipped calibration, as an
output of 32 tokens is. No two tests share a token. What is made is kept: stopped, it goes on where it was. The rate
is also counted for whole outputs, to which several windows belong.

    python benchmarks/false_alarms.py [--share 1.0] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any

from fit import chunks
from honest_margins import Cache, pairs
from margin_cases import FRESH
from quantise import default_model
from verity.cli.terminal import ProgressBars
from verity.store.reading import Progress
from verity.verify.calibration import Calibration, shipped
from verity.verify.statistics import judge

WINDOW = 32


def measure(progress: Progress | None = None, share: float = 1.0) -> dict[str, Any]:
    """``false_alarm_upper`` (95 %, one-sided, Clopper and Pearson), ``alarms`` among ``tests``, and both by pair of
    numerics (made@checked), and for whole ``outputs``. ``share`` of the outputs that there are to make."""
    calibration = shipped()
    by_pair: dict[str, list[int]] = {}
    whole = [0, 0]
    for (maker, checker), found in pairs(Cache(default_model(), progress), FRESH, share).items():
        outputs = [measured.margins for _, measured in found]
        by_pair[f"{maker}@{checker}"] = _count(chunks(outputs, WINDOW), calibration)
        alarms, total = _count([margins for margins in outputs if len(margins) >= calibration.shortest], calibration)
        whole = [whole[0] + alarms, whole[1] + total]
    alarms, tests = (sum(counted[i] for counted in by_pair.values()) for i in (0, 1))
    return {
        "false_alarm_upper": upper_bound(alarms, tests),
        "alarms": alarms,
        "tests": tests,
        "threshold": calibration.threshold,
        "by_pair": by_pair,
        "outputs": whole,
    }


def _count(pieces: Sequence[Sequence[float]], calibration: Calibration) -> list[int]:
    refused = sum(judge(margins, calibration).p_value <= calibration.threshold for margins in pieces)
    return [refused, len(pieces)]


def upper_bound(events: int, tests: int, level: float = 0.95) -> float:
    """The rate at which no more than so many events would be seen with a chance of only 1 − ``level``."""
    if not 0 <= events <= tests or not tests:
        raise ValueError("there are at most as many events as tests, and some tests")
    low, high = events / tests, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(events, tests, middle) > 1.0 - level:
            low = middle
        else:
            high = middle
    return high


def _at_most(events: int, tests: int, rate: float) -> float:
    """The chance of at most so many events."""
    if rate >= 1.0:
        return float(events == tests)
    terms = (math.lgamma(tests + 1) - math.lgamma(k + 1) - math.lgamma(tests - k + 1) for k in range(events + 1))
    return sum(
        math.exp(term + k * math.log(rate or 1e-300) + (tests - k) * math.log1p(-rate)) for k, term in enumerate(terms)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the outputs that there are to make, the first so many"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with ProgressBars() as bars:
        result = measure(bars, args.share)
    print(json.dumps(result) if args.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
