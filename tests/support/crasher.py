"""Runs many commands that die at chosen points (crashing.py), each in a process of its own, quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import crashing
from crashing import Passed


class Ended(NamedTuple):
    """How a command ended: its exit code (DEAD if it died at its point), what it said, what it passed when listed."""

    code: int
    stdout: str
    stderr: str
    passed: list[Passed]

    @property
    def points(self) -> list[str]:
        return [passed.point for passed in self.passed]

    @property
    def said(self) -> Any:
        """The final JSON object, None if there is none."""
        lines = self.stdout.splitlines()
        return json.loads(lines[-1]) if lines and self.stdout.endswith("\n") else None


class Crasher:
    """Runs commands through one serving process. ``folder`` is for the files they speak into."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = [sys.executable, "-B", crashing.__file__, "serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == "ready"

    def run(
        self, *arguments: str | Path, home: Path, point: str = "", environment: Mapping[str, str] | None = None
    ) -> Ended:
        """Run ``verity ARGUMENTS`` on ``home`` in a process of its own, which dies at ``point`` if it passes it."""
        files = {name: self._folder / name for name in ("stdout", "stderr", "passed")}
        order = {
            "point": point,
            "arguments": [str(argument) for argument in arguments],
            "environment": {"VERITY_HOME": str(home), "COLUMNS": "120", **(environment or {})},
            **{name: str(path) for name, path in files.items()},
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code = int(self._answer())
        said = {name: path.read_text() for name, path in files.items()}
        passed = [Passed(*row) for row in json.loads(said["passed"] or "[]")]
        return Ended(code, said["stdout"], said["stderr"], passed)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End the serving process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
