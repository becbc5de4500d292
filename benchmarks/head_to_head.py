"""TOPLOC and Token-DiFR against Verity's exact replay and statistical check, on the same outputs.

    python benchmarks/head_to_head.py [--outputs 40] [--build native] [--json]

Devices write outputs with the installed build, honestly and in seven dishonest ways (benchmarks/rivals/lies.py). A
verifier with another build sees each once, and one with the same build replays it exactly. With --json the last line is
one JSON object: ``table`` has a row for each lie and method, ``costs`` what each method costs. What is done is kept
under .verity/head-to-head, so that an interrupted run goes on. TOPLOC takes part where requirements/rivals.txt is
installed; without it, it is left out by name. VERITY_MODEL is the default model's file.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from rivals import running, tables, toploc_check
from rivals.costs import costs
from rivals.lies import ADAPTER_STRENGTH, LIES, TOKENS
from rivals.methods import TOPLOC
from rivals.roc import FALSE_ALARMS, POWER
from verity.cli.terminal import ProgressBars
from verity.verify.calibration import shipped

OUTPUTS = 40


def measure(
    progress: running.Progress, outputs: int = OUTPUTS, build: str = running.OTHER_BUILD, cost: bool = True
) -> dict[str, Any]:
    """``table`` and ``costs``, and what was run. ``progress(done, total, label)`` is told of every output."""
    run = running.prepare(build, progress)
    running.complete(run, outputs, build, progress)
    found: dict[str, Any] = {
        "outputs": outputs,
        "tokens": TOKENS,
        "verifier_build": build,
        "false_alarm_rate": FALSE_ALARMS,
        "power_wanted": POWER,
        "adapter_strength": ADAPTER_STRENGTH,
        "lies": {lie.title: lie.does for lie in LIES.values()},
        "left_out": [] if toploc_check.installed() else [f"{TOPLOC}: install requirements/rivals.txt"],
        "honest": tables.honest(run, outputs, shipped()),
        "table": tables.rows(run, outputs, shipped()),
    }
    if found["honest"]["tokens_that_differ"] == 0:
        raise SystemExit(f"the build {build!r} computes like the installed one here: try --build sse")
    if cost:
        found["costs"] = costs(run, progress)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=int, default=OUTPUTS, help="in each group: two honest ones and seven lies")
    parser.add_argument("--build", default=running.OTHER_BUILD, help="the verifier's, of benchmarks/builds.py")
    parser.add_argument("--no-costs", action="store_true", help="leave out the timings")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ProgressBars() as bars:
        found = measure(bars, options.outputs, options.build, not options.no_costs)
    print(json.dumps(found) if options.json else shown(found))


def shown(found: dict[str, Any]) -> str:
    """The tables for people, in Markdown: ``AUC (its interval), tokens needed`` for each lie and method."""
    methods = list(dict.fromkeys(row["method"] for row in found["table"]))
    cells = {(row["lie"], row["method"]): _cell(row) for row in found["table"]}
    titles = list(dict.fromkeys(row["lie"] for row in found["table"]))
    lines = _table(["lie", *methods], [[title, *(cells[title, method] for method in methods)] for title in titles])
    if found.get("costs"):
        kinds = list(next(iter(found["costs"].values())))
        costs = found["costs"].items()
        lines += ["", *_table(["cost", *kinds], [[method, *map(str, cost.values())] for method, cost in costs])]
    return "\n".join([*lines, *found["left_out"]])


def _cell(row: dict[str, Any]) -> str:
    """Such as ``0.994 (0.95–1.00), 128 tokens, refused 93 %``."""
    needed = row["tokens_needed"] or f"> {max(map(int, row['power']))}"
    interval = "–".join(f"{end:.2f}" for end in row["auc_95"])
    refused = f", refused {row['refused']:.0%}" if "refused" in row else ""
    return f"{row['auc']:.3f} ({interval}), {needed} tokens{refused}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows]]


if __name__ == "__main__":
    main()
