"""The command line in a process of its own, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = "from verity.cli import main; main()"


def verity(
    *arguments: object, home: Path, program: str = PROGRAM, stdin: str | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run one command on the device whose home this is; ``extra`` goes into its environment."""
    environment = {**os.environ, "VERITY_HOME": str(home), "COLUMNS": "120", **extra}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=300)


def last_json(run: subprocess.CompletedProcess[str]) -> Any:
    """The final object of a command that was given --json."""
    return json.loads(run.stdout.splitlines()[-1])
