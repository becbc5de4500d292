"""Replay in a process of its own, which gives up network, writing and unlimited memory before it opens the model.

The model file, its chat template and the claim come from strangers. If one of them takes the process down, the replay
could not be made. If one takes it over, it gets at no file of yours, no network and no other process
(engines/lockdown.py). It can lie about this replay, which is one more reason to name the model that you expect; and
what it says about its numerics is used for replays of the same files only.

replay_child.py is the other side.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO

import msgspec

from verity.engines import ENGINES
from verity.engines.llama import DEFAULT_MICRO_BATCH, MAX_CONTEXT
from verity.engines.numerics import NumericsStore
from verity.errors import FormatError, ModelNotFound, UsageError, VerityError
from verity.replay_child import MAX_SAID, STEPS, Line, Request
from verity.statements.adapters import AdapterUse
from verity.statements.strict import canonical, load
from verity.store.adapters import add_command, base_in
from verity.store.blobs import Blob, Blobs
from verity.store.reading import Progress
from verity.verify.kinds import AnyClaim
from verity.verify.margins import check_margins
from verity.verify.replay import CannotReplay, Claim, ModelName, Replayed

_MAX_LINE = 1 << 21
"""Bytes: the margins of as many tokens as a context may have."""
_MAX_LINES = 20_000
_GIB = 1 << 30
_COPIES = 2
"""An adapter is read, and copied where it is used."""
_PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LLAMA_CPP_LIB_PATH")


class ProcessReplayer:
    """Hands claims to child processes, one for each. Raises CannotReplay, for whatever happens in one.

    threads       threads that compute; all cores but one by default
    micro_batch   tokens that are evaluated at once
    limit_s       seconds of wall time for one replay, the measuring of numerics included; of CPU time it may use as
                  many on every core
    memory_bytes  memory of the child beside the model's file, which it maps; see ``default_memory``
    progress      told how far a replay is
    """

    def __init__(
        self,
        blobs: Blobs,
        numerics: NumericsStore,
        *,
        threads: int | None = None,
        micro_batch: int = DEFAULT_MICRO_BATCH,
        limit_s: float = 900.0,
        memory_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        if limit_s <= 0 or (memory_bytes is not None and memory_bytes <= 0):
            raise UsageError("a replay needs some time and memory", "limit_s and memory_bytes must be above 0")
        self._blobs = blobs
        self._numerics = numerics
        self._threads = threads
        self._micro_batch = micro_batch
        self._limit_s = limit_s
        self._memory_bytes = memory_bytes or default_memory()
        self._progress = progress

    def __call__(self, claim: AnyClaim) -> Replayed:
        blob = self._blob(claim)
        adapters = self._adapters(claim)
        _check_size(claim)
        request = Request(
            path=str(blob.path),
            claim=claim,
            adapters=[str(adapter.path) for adapter in adapters],
            known=self._numerics.known(_files(claim)) | self._numerics.known(claim.model.blake3),
            threads=self._threads,
            micro_batch=self._micro_batch,
            memory_bytes=self._memory_bytes + _COPIES * sum(adapter.size for adapter in adapters),
            mapped_bytes=blob.size,
            cpu_s=math.ceil(self._limit_s * (os.cpu_count() or 1)),
            parent=os.getpid(),
        )
        last = self._run(msgspec.msgpack.encode(request))
        if last.replayed is None:
            raise CannotReplay(last.problem or "the replay process gave no answer", last.hint)
        if last.replayed.outcome is not None and last.replayed.numerics != claim.numerics:
            raise CannotReplay("the replay process contradicts itself")
        try:
            _check_measured(last.replayed, claim)
        except FormatError as error:
            raise CannotReplay(f"the replay process answered with nonsense: {error}") from error
        if last.setting:
            try:
                self._numerics.keep(_files(claim), last.setting, last.replayed.numerics)
            except FormatError as error:
                raise CannotReplay(f"the replay process answered with nonsense: {error}") from error
        return last.replayed

    def _blob(self, claim: AnyClaim) -> Blob:
        """The model's file. Raises CannotReplay, and FormatError when the receipt contradicts the file."""
        if claim.engine.get("name") not in ENGINES:
            raise CannotReplay(f"no replay is made of the engine {claim.engine.get('name')!r}")
        return self._open(claim.model, "model")

    def _adapters(self, claim: AnyClaim) -> list[Blob]:
        """The files of its adapters, in order. Raises as ``_blob`` does."""
        blobs = []
        for adapter in claim.adapters:
            blob = self._open(adapter, "adapter", add_command(adapter.blake3, adapter.base))
            if (base := base_in(blob.path)) not in (None, claim.model.blake3):
                raise FormatError(f"the file of the adapter {adapter.name} says that it fits another model, {base}")
            blobs.append(blob)
        return blobs

    def _open(self, said: ModelName | AdapterUse, what: str, command: str = "") -> Blob:
        try:
            blob = self._blobs.open(said.blake3)
        except ModelNotFound as error:
            hint = f"run `{command}`" if command else error.hint
            raise CannotReplay(f"the {what} {said.name} is not here", hint) from error
        except VerityError as error:
            raise CannotReplay(str(error), error.hint) from error
        if (blob.sha256, blob.size) != (said.sha256, said.size):
            raise FormatError(f"the receipt's two digests and size of the {what} belong to different files")
        return blob

    def _run(self, request: bytes) -> Line:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads would start before the process is locked down
        command = [sys.executable, "-P", "-B", "-m", "verity.replay_child"]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=nothing, env=environment, start_new_session=True
        ) as child:
            late = threading.Event()
            timer = threading.Timer(self._limit_s, _end, [child, late])
            timer.start()
            try:
                assert child.stdin is not None and child.stdout is not None  # noqa: PT018
                with contextlib.suppress(BrokenPipeError), child.stdin:
                    child.stdin.write(request)
                last = self._last(child.stdout)
            finally:
                timer.cancel()
                timer.join()  # so that it cannot come late, when the number is another process's
                _end(child)
                child.wait()
        return last or Line(problem=self._died(child.returncode, late.is_set()))

    def _last(self, stream: IO[bytes]) -> Line | None:
        """The first line that is no progress; what follows it is not read."""
        for line in self._lines(stream):
            if line.progress is None:
                return line
            if self._progress is not None:
                done, total, step = line.progress
                self._progress(done, total, STEPS[step])
        return None

    def _died(self, status: int, late: bool) -> str:
        if late:
            return f"the replay was ended after the {self._limit_s:g} seconds that it may take"
        ending = f"status {status}" if status >= 0 else _signal_name(-status)
        return f"the replay process died before it could answer ({ending})"

    @staticmethod
    def _lines(stream: IO[bytes]) -> Iterator[Line]:
        """What a process writes that may have been taken over: bounded and strict."""
        for _ in range(_MAX_LINES):
            data = stream.readline(_MAX_LINE)
            if not data:
                return
            try:
                line = load(data, Line, limit=_MAX_LINE, what="replay's answer")
                if line.progress is not None:
                    done, total, step = line.progress
                    if not (0 <= done <= total and 0 <= step < len(STEPS)):
                        raise FormatError("it names a step that there is not")
            except FormatError as error:
                line = Line(problem=f"the replay process answered with nonsense: {error}")
            yield msgspec.structs.replace(line, problem=line.problem[:MAX_SAID], hint=line.hint[:MAX_SAID])
        yield Line(problem="the replay process talks without an end")


def default_memory() -> int:
    """Bytes that a replay may fill: 8 GiB, or three quarters of the machine's memory if that is less."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 8 * _GIB
    return min(8 * _GIB, machine * 3 // 4)


def _files(claim: AnyClaim) -> str:
    """Under what a process's word about numerics is kept: all the files that it opened, since any of them may have
    taken it over. The model's digest, or one over it and the adapters'."""
    if not claim.adapters:
        return claim.model.blake3
    digests = [claim.model.blake3, *(adapter.blake3 for adapter in claim.adapters)]
    return hashlib.sha256(canonical(digests)).hexdigest()


def _check_size(claim: AnyClaim) -> None:
    """Refuse, before there is a process, a claim that is larger than any context. Raises CannotReplay."""
    size = claim.context.get("size")
    if type(size) is not int or not 0 < size <= MAX_CONTEXT:
        raise CannotReplay(f"the receipt's context size is not between 1 and {MAX_CONTEXT:,}")
    tokens = claim.longest
    if tokens > MAX_CONTEXT:
        raise CannotReplay(f"the receipt's {tokens:,} tokens are more than the {MAX_CONTEXT:,} that a context may have")


def _check_measured(replayed: Replayed, claim: AnyClaim) -> None:
    """Raises FormatError for margins of something else than this claim."""
    if replayed.measured is None:
        return
    if replayed.outcome is not None or not isinstance(claim, Claim):
        raise FormatError("it measured margins where there are none")
    check_margins(replayed.measured, claim)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(child: subprocess.Popen[bytes], late: threading.Event | None = None) -> None:
    """Kill the child and whatever it may have started before it was locked down: they are one process group."""
    if late is not None:
        late.set()
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
