"""What each check costs and what it finds: all the figures of docs/concepts/verification.md in one run.

    python benchmarks/checks.py [--only PART …] [--json]

Each part is a script of its own, which says how it measures; here they run one after the other, on one thread. What
takes long keeps what it made under .verity/ and goes on from there: the honest outputs under several builds of
llama.cpp (an hour and a half, the builds included), and the outputs of the head to head. With --json the last line is
one JSON object with the figures of all parts.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

import audit
import disputes
import edits
import false_alarms
import head_to_head
import onnx_steps
import profile_replay
import segments
from quantise import default_model
from verity.cli.terminal import ProgressBars

Part = Callable[[ProgressBars], dict[str, Any]]
PARTS: dict[str, Part] = {
    "segments": lambda bars: segments.measure(bars=bars),
    "profile": lambda _: profile_replay.measure(),
    "audit": lambda _: audit.measure(),
    "disputes": lambda bars: disputes.measure(bars=bars),
    "edits": lambda bars: edits.measure(bars=bars),
    "networks": lambda _: onnx_steps.measure(),
    "false-alarms": false_alarms.measure,
    "head-to-head": head_to_head.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["VERITY_MODEL"] = str(default_model())  # told at once if it is not there
    figures: dict[str, Any] = {}
    with ProgressBars() as bars:
        for name in options.only:
            made = PARTS[name](bars)
            if twice := figures.keys() & made.keys() - {"tokens"}:
                made = {f"{name}_{key}" if key in twice else key: value for key, value in made.items()}
            figures |= made
            if not options.json:
                print(f"\n{name}", *(f"  {key:<28}{value}" for key, value in made.items()), sep="\n", flush=True)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
