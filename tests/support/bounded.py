"""Run the command line in this process, several times, under a cap on memory: for tests of hostile files.

    python bounded.py MEMORY_MB < [["verify", "FILE"], …]

Writes one JSON object a command: exit code, seconds, peak memory of the process so far (MB), what went to stderr.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time
from pathlib import Path

from verity.cli import main


def once(arguments: list[str]) -> dict[str, object]:
    sys.argv = ["verity", *arguments]
    said, code, started = io.StringIO(), -1, time.monotonic()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return {"code": code, "seconds": time.monotonic() - started, "peak_mb": peak_mb(), "stderr": said.getvalue()}


def peak_mb() -> int:
    """Of this program alone: what getrusage tells includes the process that it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


if __name__ == "__main__":
    cap = int(sys.argv[1]) << 20
    resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
    for command in json.load(sys.stdin):
        print(json.dumps(once(command)), flush=True)
