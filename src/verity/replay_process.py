"""One replay process, from the verifier's side: hand it claims, read its answers, end it.

What it writes may be the words of a model that took it over: it is bounded, and read strictly.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO

import msgspec

from verity.errors import FormatError
from verity.replay_child import LENGTH_BYTES, MAX_SAID, STEPS, Line, Setup
from verity.statements.strict import load
from verity.store.reading import Progress
from verity.verify.kinds import AnyClaim

MAX_LINE = 1 << 21
"""Bytes: the margins of as many tokens as a context may have."""
MAX_LINES = 20_000
PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LLAMA_CPP_LIB_PATH")


class ReplayProcess:
    """For claims of one setup, one at a time. ``usable`` until it dies, is ended, or says that it takes no more."""

    def __init__(self, setup: Setup, *, limit_s: float, progress: Progress | None) -> None:
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads would start before the process is locked down
        command = [sys.executable, "-P", "-B", "-m", "verity.replay_child"]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self._limit_s = limit_s
        self._progress = progress
        self._unsent = [msgspec.msgpack.encode(setup)]
        self.usable = True
        self._child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=nothing, env=environment, start_new_session=True
        )

    def ask(self, claim: AnyClaim) -> Line:
        """The process's answer, or why there is none, within the seconds that one replay may take."""
        late = threading.Event()
        timer = threading.Timer(self._limit_s, self._end, [late])
        timer.start()
        try:
            self._send(msgspec.msgpack.encode(claim))
            last = self._last()
        finally:
            timer.cancel()
            timer.join()  # so that it cannot come late, when the number is another process's
        if last is None or last.over or late.is_set():
            self.close()
        return last or Line(problem=self._died(late.is_set()))

    def close(self) -> None:
        """End it, and whatever it may have started before it was locked down."""
        self.usable = False
        self._end()
        with self._child as child:
            child.wait()

    def _send(self, claim: bytes) -> None:
        stream = self._child.stdin
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):
            for message in (*self._unsent, claim):
                stream.write(len(message).to_bytes(LENGTH_BYTES, "big") + message)
            stream.flush()
        self._unsent = []

    def _last(self) -> Line | None:
        """The first line that is no progress."""
        assert self._child.stdout is not None
        for line in lines(self._child.stdout):
            if line.progress is None:
                return line
            if self._progress is not None:
                done, total, step = line.progress
                self._progress(done, total, STEPS[step])
        return None

    def _died(self, late: bool) -> str:
        if late:
            return f"the replay was ended after the {self._limit_s:g} seconds that it may take"
        status = self._child.returncode
        ending = f"status {status}" if status >= 0 else _signal_name(-status)
        return f"the replay process died before it could answer ({ending})"

    def _end(self, late: threading.Event | None = None) -> None:
        """Kill the child and what it may have started: they are one process group."""
        if late is not None:
            late.set()
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)


def lines(stream: IO[bytes]) -> Iterator[Line]:
    """What a process writes that may have been taken over: bounded and strict. After nonsense it takes no more."""
    for _ in range(MAX_LINES):
        data = stream.readline(MAX_LINE)
        if not data:
            return
        try:
            line = load(data, Line, limit=MAX_LINE, what="replay's answer")
            if line.progress is not None:
                done, total, step = line.progress
                if not (0 <= done <= total and 0 <= step < len(STEPS)):
                    raise FormatError("it names a step that there is not")
        except FormatError as error:
            line = Line(problem=f"the replay process answered with nonsense: {error}", over=True)
        yield msgspec.structs.replace(line, problem=line.problem[:MAX_SAID], hint=line.hint[:MAX_SAID])
    yield Line(problem="the replay process talks without an end", over=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
