"""Run all targets, or those named, in turn: ``python -m fuzz [--seconds N] [--json] [TARGET…]``.

Each runs in a process of its own (fuzz/one.py). What it learns is kept under ``.fuzz/corpus``, inputs that it
finds under ``.fuzz/found/TARGET-…``, its output in ``.fuzz/log/TARGET.txt``. Exit code 1 when anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".fuzz"
_PROGRESS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_FINAL = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
_MEMORY_BACKED = Path("/dev/shm")


def run(name: str, seconds: int, out: TextIO) -> dict[str, Any]:
    """Fuzz one target for ``seconds``. Returns its figures; ``edges`` are of Python's code, ``peak_mb`` is memory."""
    for folder in ("corpus", "found", "log"):
        (WORK / folder).mkdir(parents=True, exist_ok=True)
    before = set((WORK / "found").iterdir())
    corpus, found = WORK / "corpus" / _formats() / name, WORK / "found" / f"{name}-"
    command = [sys.executable, "-m", "fuzz.one", name, str(corpus), f"-artifact_prefix={found}"]
    command += [f"-max_total_time={seconds}", "-print_final_stats=1", "-verbosity=1"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    if _MEMORY_BACKED.is_dir():
        environment.setdefault("TMPDIR", str(_MEMORY_BACKED))
    log = WORK / "log" / f"{name}.txt"
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=file, cwd=ROOT, env=environment, check=False).returncode
    said = log.read_text(errors="replace")
    final = {key: int(value) for key, value in _FINAL.findall(said)}
    cover = ([*_PROGRESS.findall(said)] or [("0", "0", "0")])[-1]
    new = sorted(str(path.relative_to(ROOT)) for path in set((WORK / "found").iterdir()) - before)
    figures = {
        "target": name,
        "executions": final.get("number_of_executed_units", 0),
        "edges": int(cover[0]),
        "features": int(cover[1]),
        "corpus": int(cover[2]),
        "peak_mb": final.get("peak_rss_mb", 0),
        "exit_code": code,
        "found": new,
    }
    print(
        "{target:<16}{executions:>11,}{edges:>8,}{features:>9,}{corpus:>7,}{peak_mb:>8,}  ".format(**figures),
        end="",
        file=out,
    )
    print("nothing found" if code == 0 else f"exit code {code}: {', '.join(new) or log}", file=out, flush=True)
    return figures


def _formats() -> str:
    """Names the formats of today: what was signed in those of yesterday would look like a forgery."""
    hasher = hashlib.sha256()
    for path in sorted([*(ROOT / "src/verity/statements").glob("*.py"), *(ROOT / "spec/vectors").glob("*.json")]):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:12]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each target  [default: 60]")
    parser.add_argument("--json", action="store_true", help="print one final JSON object")
    chosen = parser.parse_args()
    out = sys.stderr if chosen.json else sys.stdout
    print(
        f"{'target':<16}{'executions':>11}{'edges':>8}{'features':>9}{'corpus':>7}{'peak MB':>8}", file=out, flush=True
    )
    figures = [run(name, chosen.seconds, out) for name in chosen.targets or TARGETS]
    if chosen.json:
        print(json.dumps({"seconds": chosen.seconds, "targets": figures}))
    return int(any(each["exit_code"] for each in figures))


if __name__ == "__main__":
    sys.exit(main())
