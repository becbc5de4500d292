"""`verity witness serve` in a process of its own, as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from command import PROGRAM


class Running(NamedTuple):
    """``url`` is the prefix of its addresses, ``vkey`` its key as one word."""

    url: str
    vkey: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def witnessing(home: Path, *options: str, command: tuple[str, ...] = ("-c", PROGRAM)) -> Iterator[Running]:
    """A witness on this home until the block ends, unless it has died before."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "VERITY_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, *command, "witness", "serve", "--port", "0", "--json", *options]
    log = home / "witness.log"
    with log.open("w") as errors, subprocess.Popen(arguments, env=environment, stdout=-1, stderr=errors) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            said: dict[str, Any] = json.loads(line)
            yield Running(said["url"], said["vkey"], process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    assert process.returncode in (0, 137), log.read_text()
