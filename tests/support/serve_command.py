"""`verity serve` in a process of its own, as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from command import PROGRAM

MODEL = "smollm2-135m-instruct"
API_KEY = "the-key-that-programs-have"
CONTEXT = 1024


class Served(NamedTuple):
    """``address`` as http://…, without /v1."""

    address: str
    home: Path
    owner_key: str


@contextlib.contextmanager
def served(home: Path, *options: str) -> Iterator[Served]:
    """A server on the device whose home this is, with API_KEY and one thread, until the block ends."""
    environment = {**os.environ, "VERITY_HOME": str(home), "VERITY_API_KEY": API_KEY, "PYTHONDONTWRITEBYTECODE": "1"}
    serve = ("serve", "--port", "0", "--json", "--threads", "1", "--context", str(CONTEXT), "--grace", "0", *options)
    command = [sys.executable, "-c", PROGRAM, *serve]
    log = home / "served.log"
    with log.open("w") as errors, subprocess.Popen(command, env=environment, stdout=-1, stderr=errors) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            said = json.loads(line)
            yield Served(said["url"], home, Path(said["owner_key_file"]).read_text().strip())
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    assert process.returncode == 0, log.read_text()
