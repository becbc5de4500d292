"""Replay in a process of its own, which gives up network, writing and unlimited memory before it opens the model.

The model file, its chat template and the claim come from strangers. If one of them takes the process down, the replay
could not be made. If one takes it over, it gets at no file of yours, no network and no other process
(engines/lockdown.py). It can lie about this replay, which is one more reason to name the model that you expect; and
what it says about its numerics is used for replays of the same files only.

Several claims may share a process if one device made them all: it gains nothing by a claim that takes the process over
and lies about the next one, since that one could have done so itself.

replay_process.py is one such process, replay_child.py its other side.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Sequence

import msgspec

from verity.engines import LLAMA, ONNX
from verity.engines.llama import DEFAULT_MICRO_BATCH, MAX_CONTEXT
from verity.engines.numerics import NumericsStore
from verity.errors import FormatError, ModelNotFound, UsageError, VerityError
from verity.replay_child import Line, Setup
from verity.replay_process import ReplayProcess
from verity.statements.adapters import AdapterUse
from verity.statements.strict import canonical
from verity.store import catalogue
from verity.store.adapters import Adapters, add_command, base_in
from verity.store.admission import Admission
from verity.store.blobs import Blob, Blobs
from verity.store.reading import Progress
from verity.verify.inference import InferenceClaim
from verity.verify.kinds import AnyClaim
from verity.verify.margins import check_margins
from verity.verify.replay import CannotReplay, Claim, ModelName, Replayed
from verity.verify.segments import SpotClaim
from verity.verify.verifier import Replayer

_GIB = 1 << 30
_COPIES = 2
"""An adapter, or a network, is read, and copied where it is used."""


class ProcessReplayer:
    """Hands claims to child processes: one for each, or ``together``. Raises CannotReplay, for whatever happens in one.

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
        with self.together(1) as replayer:
            return replayer(claim)

    @contextlib.contextmanager
    def together(self, most: int) -> Iterator[Together]:
        """A replayer of at most ``most`` claims, all by one device. Those that follow each other and name the same
        files and options share a process, so that the model is loaded once."""
        sharing = Together(self, most)
        try:
            yield sharing
        finally:
            sharing.close()

    def setup(self, claim: AnyClaim, most: int) -> Setup:
        """The process that this claim needs. Raises CannotReplay, and FormatError when it contradicts a file."""
        blob = self._blob(claim)
        adapters = self._adapters(claim)
        _check_size(claim)
        network = isinstance(claim, InferenceClaim)
        copied = [*adapters, blob] if network else adapters
        return Setup(
            network=network,
            path=str(blob.path),
            context=claim.context,
            adapters=claim.adapters,
            adapter_paths=[str(adapter.path) for adapter in adapters],
            grammars=_grammar(claim),
            known=self._numerics.known(_files(claim)) | self._numerics.known(claim.model.blake3),
            threads=self._threads,
            micro_batch=self._micro_batch,
            memory_bytes=self._memory_bytes + _COPIES * sum(file.size for file in copied),
            mapped_bytes=blob.size,
            cpu_s=most * math.ceil(self._limit_s * (os.cpu_count() or 1)),
            parent=os.getpid(),
        )

    def start(self, setup: Setup) -> ReplayProcess:
        return ReplayProcess(setup, limit_s=self._limit_s, progress=self._progress)

    def believe(self, claim: AnyClaim, last: Line) -> Replayed:
        """What the process says of this claim, and its word about numerics kept. Raises CannotReplay."""
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
        if claim.engine.get("name") != (ONNX if isinstance(claim, InferenceClaim) else LLAMA):
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


class Together:
    """See ``ProcessReplayer.together``. Raises CannotReplay, FormatError."""

    def __init__(self, replayer: ProcessReplayer, most: int) -> None:
        self._replayer = replayer
        self._left = self._most = most
        self._process: ReplayProcess | None = None
        self._setup: Setup | None = None

    def __call__(self, claim: AnyClaim) -> Replayed:
        if not self._left:
            raise UsageError(f"this replayer is for {self._most} claims", "make another")
        self._left -= 1
        setup = self._replayer.setup(claim, self._most)
        if self._process is None or not self._process.usable or self._setup != _apart_from_known(setup):
            self.close()
            self._process, self._setup = self._replayer.start(setup), _apart_from_known(setup)
        return self._replayer.believe(claim, self._process.ask(claim))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
        self._process = None


def _grammar(claim: AnyClaim) -> bool:
    """Whether its process needs the grammar's compiler."""
    answer = claim.claim if isinstance(claim, SpotClaim) else claim
    return isinstance(answer, Claim) and answer.grammar is not None


def _apart_from_known(setup: Setup) -> Setup:
    return msgspec.structs.replace(setup, known={})


def consenting(replayer: Replayer, blobs: Blobs, numerics: NumericsStore, vouched: Sequence[str]) -> Replayer:
    """Replays only what somebody here vouches for: files of models and adapters are strangers' (docs/sandbox.md).

    ``vouched`` are the digests, of either kind, that the caller or the policy names. A publisher whom this device
    trusts vouches for what he released; of what he revoked nobody's word counts but theirs.
    """
    admission = Admission(blobs)

    def replay(claim: AnyClaim) -> Replayed:
        digests = {claim.model.blake3, claim.model.sha256}
        _refuse_revoked([claim.model, *claim.adapters], admission, vouched)
        named = digests & {*vouched} or any(catalogue.find(digest) for digest in digests)
        named = named or admission.released(claim.model.sha256, "model")
        if not named and not numerics.declared(claim.model.blake3):
            hint = f"if you mean to run it, name it: --model {claim.model.blake3}"
            raise CannotReplay(f"nobody that you trust released the model {claim.model.name}", hint)
        for adapter in claim.adapters:
            named = {adapter.blake3, adapter.sha256} & {*vouched} or admission.released(adapter.sha256, "adapter")
            if not named and not Adapters(blobs).knows(adapter.blake3):
                hint = f"if you mean to run it, get its file and add it: {add_command(adapter.blake3, adapter.base)}"
                raise CannotReplay(f"the adapter {adapter.name} is not among this device's", hint)
        return replayer(claim)

    return replay


def _refuse_revoked(files: Sequence[ModelName | AdapterUse], admission: Admission, vouched: Sequence[str]) -> None:
    """Raises CannotReplay."""
    for file in files:
        revoked = admission.revoked(file.sha256)
        if revoked is not None and revoked.revoked is not None and not {file.blake3, file.sha256} & {*vouched}:
            said = f"the publisher of {file.name} revoked it at {revoked.revoked.at}: {revoked.revoked.reason}"
            raise CannotReplay(said, f"if you mean to run it all the same, name it: {file.blake3}")


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
    if isinstance(claim, InferenceClaim):
        return  # as large as a bundle at most
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
