"""How long `import verity` and `verity --help` take: medians of fresh processes.

    python benchmarks/startup.py [--json]

``import_ms`` is what the import adds to a bare interpreter's start; ``help_ms`` is the whole command.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15


def milliseconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    verity = str(Path(sys.executable).with_name("verity"))
    commands = {
        "bare": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import verity"],
        "help": [verity, "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            times[name].append(milliseconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    figures = {
        "import_ms": round(medians["import"] - medians["bare"], 1),
        "import_process_ms": round(medians["import"], 1),
        "help_ms": round(medians["help"], 1),
    }
    print(json.dumps(figures) if as_json else "\n".join(f"{name:<20}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
