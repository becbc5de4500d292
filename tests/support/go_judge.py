"""Go's golang.org/x/mod/sumdb as a judge (tests/log/go/main.go), built offline from Debian's packages."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parents[1] / "log/go/main.go"
GOPATH = Path("/usr/share/gocode")
MISSING = None
if shutil.which("go") is None:
    MISSING = "Go is not installed (Debian: golang-go)"
elif not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
    MISSING = "golang.org/x/mod is not installed (Debian: golang-golang-x-mod-dev)"


class GoJudge:
    """Built in ``folder``, which holds Go's cache too: nothing is written elsewhere, and nothing is downloaded."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "judge"
        environment = {
            **os.environ,
            "GO111MODULE": "off",
            "GOPATH": str(GOPATH),
            "GOCACHE": str(folder / "cache"),
            "GOFLAGS": "",
            "GOPROXY": "off",
            "CGO_ENABLED": "0",
        }
        build = ["go", "build", "-o", str(self._program), str(PROGRAM)]
        done = subprocess.run(build, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def verdicts(self, cases: Sequence[dict[str, Any]]) -> list[str]:
        """For each case the empty text, or why Go refuses it."""
        asked = json.dumps({"cases": [{name: _plain(value) for name, value in case.items()} for case in cases]})
        done = subprocess.run([str(self._program)], input=asked, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        verdicts: list[str] = json.loads(done.stdout)
        assert len(verdicts) == len(cases)
        return verdicts


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
