"""Replay in a process of its own, which gives up network, writing and unlimited memory before it opens the model.

The model file, its chat template and the claim come from strangers. If one of them takes the process down, the replay
could not be made. If one takes it over, it gets at no file of yours, no network and no other process
(engines/lockdown.py). It can lie about this replay, which is one more reason to name the model that you expect; and
what it says about its numerics is used for replays of the same model only.

``python -m verity.replayer`` is the other side.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from verity.engines import LLAMA
from verity.engines.engine import Engine
from verity.engines.llama import DEFAULT_MICRO_BATCH, MAX_CONTEXT
from verity.engines.numerics import Numerics, NumericsStore, measure, setting_of
from verity.errors import FormatError, ModelNotFound, VerityError
from verity.statements.strict import canonical, load
from verity.store.blobs import Blob, Blobs
from verity.store.reading import Progress
from verity.verify.replay import CannotReplay, Claim, Replayed, replay

_MAX_LINE = 1 << 20
_STEPS = ("measuring numerics", "replaying")
_MEASURING, _REPLAYING = range(2)
_GIB = 1 << 30
_PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LLAMA_CPP_LIB_PATH")
_SYSTEM = ("/usr", "/lib", "/lib64", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system")
_READABLE = (sys.prefix, sys.base_prefix, *_SYSTEM)


class _Request(msgspec.Struct, frozen=True):
    path: str
    claim: Claim
    known: dict[str, Numerics]
    threads: int | None
    micro_batch: int
    memory_bytes: int
    cpu_s: int


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line from the child: how far it is, what it found, or why it could not."""

    progress: tuple[int, int, int] | None = None  # done, total, which of _STEPS
    replayed: Replayed | None = None
    setting: str = ""
    problem: str = ""
    hint: str = ""


class ProcessReplayer:
    """Hands claims to child processes. ``limit_s`` bounds one replay, the measuring of numerics included."""

    def __init__(
        self,
        blobs: Blobs,
        numerics: NumericsStore,
        *,
        threads: int | None = None,
        micro_batch: int = DEFAULT_MICRO_BATCH,
        limit_s: float = 900.0,
        progress: Progress | None = None,
    ) -> None:
        self._blobs = blobs
        self._numerics = numerics
        self._threads = threads
        self._micro_batch = micro_batch
        self._limit_s = limit_s
        self._progress = progress

    def __call__(self, claim: Claim) -> Replayed:
        blob = self._blob(claim)
        request = _Request(
            path=str(blob.path),
            claim=claim,
            known=self._numerics.known(claim.model.blake3),
            threads=self._threads,
            micro_batch=self._micro_batch,
            memory_bytes=8 * _GIB + 2 * blob.size,
            cpu_s=int(self._limit_s * (os.cpu_count() or 1)),
        )
        last = self._run(msgspec.json.encode(request))
        if last.replayed is None:
            raise CannotReplay(last.problem or "the replay process gave no answer", last.hint)
        if last.replayed.outcome is not None and last.replayed.numerics != claim.numerics:
            raise CannotReplay("the replay process contradicts itself")
        if last.setting:
            try:
                self._numerics.keep(blob.blake3, last.setting, last.replayed.numerics)
            except FormatError as error:
                raise CannotReplay(f"the replay process answered with nonsense: {error}") from error
        return last.replayed

    def _blob(self, claim: Claim) -> Blob:
        """The model's file. Raises CannotReplay, and FormatError when the receipt contradicts the file."""
        if claim.engine.get("name") != LLAMA:
            raise CannotReplay(f"no replay is made of the engine {claim.engine.get('name')!r}")
        try:
            blob = self._blobs.open(claim.model.blake3)
        except ModelNotFound as error:
            raise CannotReplay(f"the model {claim.model.name} is not here", error.hint) from error
        except VerityError as error:
            raise CannotReplay(str(error), error.hint) from error
        if (blob.sha256, blob.size) != (claim.model.sha256, claim.model.size):
            raise FormatError("the receipt's two digests and size of the model belong to different files")
        return blob

    def _run(self, request: bytes) -> _Line:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads would start before the process is locked down
        command = [sys.executable, "-P", "-B", "-m", "verity.replayer"]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=nothing, env=environment, start_new_session=True
        ) as child:
            timer = threading.Timer(self._limit_s, _end, [child])
            timer.start()
            try:
                assert child.stdin is not None and child.stdout is not None  # noqa: PT018
                with contextlib.suppress(BrokenPipeError), child.stdin:
                    child.stdin.write(request)
                last = _Line()
                for last in self._lines(child.stdout):
                    if last.progress is not None and self._progress is not None:
                        done, total, step = last.progress
                        self._progress(done, total, _STEPS[step])
                if last.progress is not None:
                    last = _Line()
            finally:
                timer.cancel()
                _end(child)
                child.wait()
        if last == _Line():
            return _Line(problem=f"the replay process died before it could answer (status {child.returncode})")
        return last

    @staticmethod
    def _lines(stream: IO[bytes]) -> Iterator[_Line]:
        """What a process writes that may have been taken over: bounded and strict."""
        while data := stream.readline(_MAX_LINE):
            try:
                line = load(data, _Line, limit=_MAX_LINE, what="replay's answer")
                if line.progress is not None and not 0 <= line.progress[2] < len(_STEPS):
                    raise FormatError("it names a step that there is not")
                yield line
            except FormatError as error:
                yield _Line(problem=f"the replay process answered with nonsense: {error}")
                return


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it may have started before it was locked down: they are one process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def replay_apart(engine: Engine, request: _Request, tell: Callable[[int, int, int], None]) -> tuple[str, Replayed]:
    """The child's work, on a loaded engine: measure the numerics unless they are known, then replay under them."""
    claim = request.claim
    setting = setting_of(engine)
    numerics = request.known.get(setting)
    measured = "" if numerics else setting
    if numerics is None:
        numerics = measure(engine, lambda done, total: tell(done, total, _MEASURING))
    outcome = None
    if numerics.exact and claim.numerics == numerics:
        outcome = replay(engine, claim, lambda done, total: tell(done, total, _REPLAYING))
    return measured, Replayed(numerics=numerics, engine=engine.description, outcome=outcome)


def main() -> None:
    """The child: read one request from stdin, lock down, replay, answer on stdout."""
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing that a library prints gets into the answer
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=_Request)

    def send(line: _Line) -> None:
        channel.write(msgspec.json.encode(line) + b"\n")

    try:
        setting, replayed = _replay_locked(request, lambda *step: send(_Line(progress=step)))
        send(_Line(replayed=replayed, setting=setting))
    except CannotReplay as reason:
        send(_Line(problem=str(reason), hint=reason.hint))
    except VerityError as error:
        send(_Line(problem=str(error), hint=error.hint))
    except MemoryError:
        send(_Line(problem="the replay needs more memory than it is allowed"))


def _replay_locked(request: _Request, tell: Callable[[int, int, int], None]) -> tuple[str, Replayed]:
    from verity.engines.llama import LlamaEngine, describe_library, library
    from verity.engines.lockdown import lock_down

    library()
    describe_library()
    import jinja2.sandbox  # noqa: F401 - loaded while files of the library may still be opened
    import numpy as np

    np.exp(np.zeros(1))
    lock_down(
        memory_bytes=request.memory_bytes,
        cpu_s=request.cpu_s,
        readable=[Path(request.path), *map(Path, (*filter(None, sys.path), *_READABLE))],
    )
    size = request.claim.context.get("size")
    if not isinstance(size, int) or not 0 < size <= MAX_CONTEXT:
        raise FormatError(f"the receipt's context size is not between 1 and {MAX_CONTEXT:,}")
    engine = LlamaEngine(
        Path(request.path), context_size=size, threads=request.threads, micro_batch=request.micro_batch
    )
    if canonical(engine.context) != canonical(request.claim.context):
        raise FormatError(f"the receipt names context options that this engine does not have: {request.claim.context}")
    return replay_apart(engine, request, tell)


if __name__ == "__main__":
    main()
