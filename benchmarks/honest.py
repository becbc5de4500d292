"""Honest outputs are never refused: generate, verify by the real replay, and count.

The part of receipts.py that does so, with one model or with the six types of weights that quantise.py makes.
"""

from __future__ import annotations

import functools
import itertools
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import verity
from cases import Case, Machine, honest_cases
from quantise import quantised
from verity.answer import Answer
from verity.cli.terminal import ProgressBars
from verity.node import Node
from verity.replayer import ProcessReplayer
from verity.store.blobs import Blobs
from verity.store.catalogue import DEFAULT
from verity.store.database import Database
from verity.store.pull import pull
from verity.verify.report import Report


class Count(NamedTuple):
    """``runs`` made, ``exact`` ones replayed bit for bit, ``alarms``: reports in which a check failed."""

    runs: int = 0
    exact: int = 0
    alarms: int = 0
    measured_exact: bool = True  # what the probe of numerics said, each time the model was loaded

    @property
    def all_exact(self) -> bool:
        """Whether there were runs, the probe called them exact, and they were."""
        return self.measured_exact and 0 < self.runs == self.exact and not self.alarms


def honest_default(home: Path, runs: int, threads: int | None, bars: ProgressBars) -> dict[str, Any]:
    """``runs`` cases with the default model. ``threads`` is the most that either side uses."""
    _pull(DEFAULT, DEFAULT, home)
    made = run(home, DEFAULT, _capped(honest_cases(runs), threads), lambda done: bars(done, runs, "honest runs"))
    return {"honest_runs": made.runs, "exact_runs": made.exact, "false_alarms": made.alarms}


def honest_by_type(home: Path, runs: int, threads: int | None, bars: ProgressBars) -> dict[str, Any]:
    """``runs`` cases spread over the types of weights, each type with a device of its own in ``home``."""
    model = _pull(DEFAULT, DEFAULT, home / "default")
    files = quantised(model, progress=lambda done, total: bars(done, total, "quantising"))
    counts: dict[str, Count] = {}
    for number, (kind, path) in enumerate(files.items()):
        share = runs // len(files) + (number < runs % len(files))
        before = sum(count.runs for count in counts.values())
        cases = _capped(honest_cases(share, first=before), threads)
        folder, name = home / kind, f"{DEFAULT}-{kind.lower()}"
        _pull(str(path), name, folder)
        counts[kind] = run(folder, name, cases, functools.partial(_tell, bars, before, runs))
        shutil.rmtree(folder)
    return {
        "honest_runs": sum(count.runs for count in counts.values()),
        "exact_runs": sum(count.exact for count in counts.values()),
        "false_alarms": sum(count.alarms for count in counts.values()),
        "exact_types": [kind for kind, count in counts.items() if count.all_exact],
        "runs_by_type": {kind: [count.exact, count.runs] for kind, count in counts.items()},
    }


def run(home: Path, model: str, cases: Iterable[Case], tell: Callable[[int], None]) -> Count:
    """Generate and verify every case; what is not exact is printed to stderr. ``tell`` is given how many are done."""
    count = Count()
    for generate, group in itertools.groupby(cases, key=lambda case: case.generate):
        with verity.open(home, threads=generate.threads, micro_batch=generate.micro_batch) as node:
            exact = node.load(model).numerics.exact
            count = count._replace(measured_exact=count.measured_exact and exact)
            for case in group:
                report = _verified(node, node.ask(case.prompt, model=model, **case.options), case.replay)
                if not report.passed:
                    print(f"{model}: {case}\n{report}", file=sys.stderr)
                count = count._replace(
                    runs=count.runs + 1,
                    exact=count.exact + (report.check("replayed-exact").status == "passed"),
                    alarms=count.alarms + bool(report.failed),
                )
                tell(count.runs)
    return count


def _tell(bars: ProgressBars, before: int, runs: int, done: int) -> None:
    bars(before + done, runs, "honest runs")


def _verified(node: Node, answer: Answer, machine: Machine) -> Report:
    replayer = ProcessReplayer(node.blobs, node.numerics, threads=machine.threads, micro_batch=machine.micro_batch)
    return verity.verify(answer.bundle, key=node.key.id, home=node.home, replayer=replayer)


def _capped(cases: Iterable[Case], threads: int | None) -> list[Case]:
    """The cases with no machine of more than ``threads`` threads."""

    def cap(machine: Machine) -> Machine:
        return machine._replace(threads=min(machine.threads, threads or machine.threads))

    return [case._replace(generate=cap(case.generate), replay=cap(case.replay)) for case in cases]


def _pull(spec: str, name: str, home: Path) -> Path:
    """Put this model into a device's ``home``, and return the model's file."""
    home.mkdir(exist_ok=True)
    with Database.open(home) as database:
        blobs = Blobs(home, database)
        return blobs.open(pull(spec, blobs, name=name).blake3).path
