"""The one thread that computes: it holds the models in memory and steps the answers of all of them in turn.

Models are loaded when they are first asked for and put out, the least recently used first, when there is no room.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol, TypeVar

from verity.engines.engine import AdapterFile
from verity.engines.numerics import PROBE_TOKENS, setting_of
from verity.errors import Busy, EngineError, UsageError, VerityError
from verity.loader import Loaded, Loader, Wanted
from verity.node import Node
from verity.server.scheduler import Job, Scheduler

_T = TypeVar("_T")
_log = logging.getLogger("verity.server")


class MakeLoader(Protocol):
    def __call__(self, node: Node, *, sequences: int | None = None, context_size: int | None = None) -> Loader: ...


class _Resident:
    """A model in memory. It stays while somebody has a lease on it."""

    def __init__(self, loader: Loader, loaded: Loaded) -> None:
        self.loader = loader
        self.loaded = loaded
        self.scheduler = Scheduler(loaded.engine)
        self.leases = 0
        self.used = time.monotonic()


class Lease(NamedTuple):
    """A model with these adapters, for one answer."""

    resident: _Resident
    loaded: Loaded
    files: list[AdapterFile]


class Worker:
    """Runs from ``start`` to ``stop``. ``open_node`` opens the device in the worker's own thread, ``make_loader`` gives
    a loader for one model; ``memory_bytes`` bounds what all models together may take."""

    def __init__(self, open_node: Callable[[], Node], make_loader: MakeLoader, memory_bytes: int) -> None:
        self._open_node = open_node
        self._make_loader = make_loader
        self._memory_bytes = memory_bytes
        self._calls: deque[tuple[Callable[[Node], Any], Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._residents: dict[str, _Resident] = {}
        self._thread = threading.Thread(target=self._run, name="verity-engine", daemon=True)
        self._ready: Future[None] = Future()

    def start(self) -> Future[None]:
        """Done when the device is open; its exception says why it could not be."""
        self._thread.start()
        return self._ready

    def stop(self) -> None:
        """End all answers and free the models. Returns when that is done."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    # --- for other threads --------------------------------------------------------------------------------------------

    def call(self, function: Callable[[Node], _T]) -> Future[_T]:
        """Run ``function`` between two steps, with the worker's own device."""
        future: Future[_T] = Future()
        with self._wake:
            if self._stopping:
                future.set_exception(_stopped())
            else:
                self._calls.append((function, future))
                self._wake.notify()
        return future

    def lease(self, model: str, adapters: Sequence[Wanted] = ()) -> Future[Lease]:
        """The model of this name or digest, in memory until it is given back. Raises Busy when others fill the memory,
        ModelNotFound, UsageError, EngineError."""
        return self.call(lambda node: self._lease(node, model, adapters))

    def give_back(self, lease: Lease) -> None:
        self.call(lambda _: self._given_back(lease.resident))

    def submit(self, lease: Lease, job: Job) -> None:
        """Begin an answer on a model that is leased."""
        self.call(lambda _: lease.resident.scheduler.add(job)).add_done_callback(lambda done: _refused(job, done))

    def wake(self) -> None:
        """Look whether an answer was cut off."""
        with self._wake:
            self._wake.notify()

    def loaded(self) -> list[str]:
        """The BLAKE3 digests of the models in memory."""
        return list(self._residents)

    # --- in the worker's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            node = self._open_node()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        try:
            with node:
                while self._turn(node):
                    pass
                for resident in self._residents.values():
                    resident.scheduler.drain(_stopped())
                    resident.loader.close()
                self._residents.clear()
        finally:  # whatever ended the thread, nobody may wait for it
            with self._wake:
                self._stopping = True
            for _, future in self._calls:
                if future.set_running_or_notify_cancel():
                    future.set_exception(_stopped())

    def _turn(self, node: Node) -> bool:
        """Do what was called for, then one step of every model that has something to do."""
        with self._wake:
            busy = any(resident.scheduler.busy for resident in self._residents.values())
            while not (busy or self._calls or self._stopping):
                self._wake.wait()
            if self._stopping:
                return False
        for _ in range(len(self._calls)):
            self._do(node, *self._calls.popleft())
        for resident in list(self._residents.values()):
            if resident.scheduler.busy:
                self._step(resident)
        return True

    @staticmethod
    def _do(node: Node, function: Callable[[Node], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = function(node)
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            future.set_result(result)

    @staticmethod
    def _step(resident: _Resident) -> None:
        try:
            resident.scheduler.step()
        except Exception as error:  # one answer's fault must not end the thread that all wait for
            _log.error("the engine's thread met a fault: %s", type(error).__name__)
            resident.scheduler.drain(EngineError("the server met a fault of its own", "see its log"))
            resident.scheduler = Scheduler(resident.loaded.engine)  # what the sequences hold is not known any more

    def _lease(self, node: Node, model: str, adapters: Sequence[Wanted]) -> Lease:
        resident = self._found(model)
        if resident is None:
            resident = self._load(node, model)
        else:
            resident.loader.admit(resident.loaded.model)  # it may have been revoked since
        loaded, files = resident.loaded, list[AdapterFile]()
        if adapters:
            loaded, files = self._with_adapters(node, resident, adapters)
        resident.leases += 1
        resident.used = time.monotonic()
        return Lease(resident, loaded, files)

    def _found(self, model: str) -> _Resident | None:
        known = ((resident.loaded.model, resident) for resident in self._residents.values())
        return next((resident for said, resident in known if model in (said["name"], said["blake3"])), None)

    def _load(self, node: Node, model: str) -> _Resident:
        loader = self._make_loader(node)
        described = loader.find(model)
        loader.admit(described)  # before others are put out for it
        if described["blake3"] in self._residents:
            return self._residents[described["blake3"]]
        self._make_room(described["size"])
        loaded = loader.load(model)
        size = loaded.engine.memory_bytes
        try:
            self._make_room(size)
        except VerityError:
            loader.close()
            raise
        _log.info("loaded %s (%.2f GiB)", described["blake3"][:16], size / (1 << 30))
        self._residents[described["blake3"]] = resident = _Resident(loader, loaded)
        return resident

    def _with_adapters(
        self, node: Node, resident: _Resident, wanted: Sequence[Wanted]
    ) -> tuple[Loaded, list[AdapterFile]]:
        """The model with these adapters. Unknown numerics are measured on an engine apart, which disturbs no answer."""
        loader, digest = resident.loader, resident.loaded.model["blake3"]
        uses = loader.adapters(digest, wanted)
        engine = resident.loaded.engine
        engine.use_adapters(loader.files(uses))
        if setting_of(engine) not in node.numerics.declared(digest):
            apart = self._make_loader(node, sequences=1, context_size=2 * PROBE_TOKENS)
            try:
                if apart.load(digest, adapters=wanted).engine is engine:  # a given one, and there is no other
                    resident.scheduler.forget()
            finally:
                apart.close()
        loaded = loader.use(resident.loaded, uses)
        return loaded, loader.files(uses)

    def _make_room(self, size: int) -> None:
        """Put out models that nobody has a lease on, until ``size`` bytes fit. Raises UsageError, Busy."""
        if size > self._memory_bytes:
            wanted, bound = size / (1 << 30), self._memory_bytes / (1 << 30)
            raise UsageError(
                f"the model needs {wanted:.1f} GiB, and the server may use {bound:.1f}",
                "start it with more --memory, a smaller --context, or fewer answers at once (--parallel)",
            )
        while sum(r.loaded.engine.memory_bytes for r in self._residents.values()) + size > self._memory_bytes:
            idle = [item for item in self._residents.items() if not item[1].leases]
            if not idle:
                raise Busy("the models that are answering now fill the memory", "try again later", 5.0)
            digest, oldest = min(idle, key=lambda item: item[1].used)
            oldest.loader.close()
            del self._residents[digest]

    @staticmethod
    def _given_back(resident: _Resident) -> None:
        resident.leases -= 1
        resident.used = time.monotonic()


def _stopped() -> Busy:
    return Busy("the server is shutting down", "try again later", 5.0)


def _refused(job: Job, done: Future[None]) -> None:
    error = done.exception()
    if error is not None:
        job.tell(error if isinstance(error, VerityError) else EngineError("the answer could not begin"))
