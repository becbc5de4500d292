"""READ FIRST in this package. One device at work for many callers at once.

answer(asking)
  admit      at most so many answers at once and in the queue; otherwise Busy                  (here)
  lease      the model is in memory, with its adapters, and stays there                        (worker)
  intent     rendered, in tokens, committed, signed, logged: durable                           (desk)
  run        its tokens come out of steps that all answers share                               (worker, scheduler)
  result     committed, signed, logged, before the caller is told that the answer is over      (desk)

Three threads: the event loop talks, the worker computes, the desk writes.
"""

from __future__ import annotations

import asyncio
import datetime
import hmac
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from verity.engines.engine import Engine
from verity.errors import Busy, UsageError
from verity.exporter import EVERYTHING, NOTHING
from verity.loader import Loader
from verity.node import Node
from verity.replayer import default_memory
from verity.server.answering import Asking, Embedded, ModelInfo
from verity.server.checking import Checker
from verity.server.desk import Desk
from verity.server.embedding import Limits, embed
from verity.server.running import Running, begin
from verity.server.worker import Worker
from verity.statements.states import encode_states
from verity.store.reading import Progress

_T = TypeVar("_T")
_LAST_S = 30.0
"""Seconds that answers have to end once they are cut off: a step, and their results on disk."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a device serves.

    parallel      answers that are written at once, by each model
    queue         answers that may wait beside them
    timeout_s     seconds that an answer may take, waiting included
    context_size  tokens of each answer, prompt included; None: as the model wants, 4096 at most
    memory_bytes  of all models together; None: three quarters of the machine's
    require_release  load only what a trusted publisher released; None: as the owner's config.toml says
    """

    parallel: int = 8
    queue: int = 64
    timeout_s: float = 300.0
    context_size: int | None = None
    threads: int | None = None
    memory_bytes: int | None = None
    require_release: bool | None = None


class Serving:
    """The Service that the HTTP layer stands on. ``engine`` is used instead of llama.cpp, whatever model is asked
    for."""

    def __init__(
        self,
        home: Path,
        settings: Settings | None = None,
        *,
        engine: Engine | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._home = home
        self._settings = settings = settings or Settings()
        self._engine = engine
        self._progress = progress
        self.desk = Desk(self._open_node)
        self.worker = Worker(self._open_node, self._loader, settings.memory_bytes or default_memory())
        self.checker = Checker(home, threads=settings.threads, limit_s=settings.timeout_s)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._answers: set[Running] = set()
        self._embedding = asyncio.Lock()
        self._admitted = 0
        self._seconds = 1.0
        self._stopping = False
        self._cut = False

    def _open_node(self) -> Node:
        return Node(self._home, engine=self._engine, require_release=self._settings.require_release)

    def _loader(self, node: Node, *, sequences: int | None = None, context_size: int | None = None) -> Loader:
        options: dict[str, Any] = {"threads": self._settings.threads, "sequences": sequences or self._settings.parallel}
        size = context_size or self._settings.context_size
        return Loader(
            node.blobs,
            node.numerics,
            node.recorder,
            self._engine,
            self._progress,
            context_size=size,
            fetches=False,
            require_release=self._settings.require_release,
            **options,
        )

    def _owners_loader(self, node: Node) -> Loader:
        rule = self._settings.require_release
        return Loader(node.blobs, node.numerics, node.recorder, self._engine, self._progress, require_release=rule)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the device, and close what a server that died left open. Raises StoreError."""
        await asyncio.wrap_future(self.worker.start())
        await self.desk.run(lambda node: node.recorder.close_orphans())

    async def preload(self, model: str) -> None:
        """Have a model in memory before the first caller asks. Raises as ``answer`` does, and FetchError: the default
        model is pulled for its owner, and for no caller."""
        await self.desk.run(lambda node: self._owners_loader(node).find(model))
        self.worker.give_back(await asyncio.wrap_future(self.worker.lease(model)))

    async def stop(self, grace_s: float) -> None:
        """Let answers under way go on for ``grace_s`` seconds, cut off the others, and close the device."""
        self._stopping = True
        await self._ended(grace_s)
        self._cut = True
        for answer in list(self._answers):
            answer.cut_off()
        await self._ended(_LAST_S)
        await asyncio.get_running_loop().run_in_executor(None, self.worker.stop)
        while self._tasks:  # all are told now that it is over, and have only to be put on record
            await asyncio.wait(self._tasks)
        await self.desk.close()
        self.checker.close()

    async def _ended(self, limit_s: float) -> None:
        """Wait until nothing is under way. What is being opened goes on as an answer: a task more."""
        until = time.monotonic() + limit_s
        while self._tasks and (left := until - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _task(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # if nobody is there to be told, asyncio would log it, caller's words included

    # --- answers ------------------------------------------------------------------------------------------------------

    async def answer(self, asking: Asking) -> Running:
        """Begin an answer: its intent is in the log.

        Raises Busy, TimedOut, UsageError, ContextOverflow, ModelNotFound, EngineError, StoreError.
        """
        self._admit()
        opening = self._task(self._open(asking))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:  # the caller is gone: what is on record is cut off, once it is
            opening.add_done_callback(_abandon)
            raise

    def _admit(self) -> None:
        if self._stopping:
            raise Busy("the server is shutting down", "try again later", 5.0)
        if self._admitted >= self._settings.parallel + self._settings.queue:
            rounds = self._admitted / self._settings.parallel
            raise Busy("too many answers are waiting", "try again later", min(60.0, max(1.0, rounds * self._seconds)))
        self._admitted += 1

    async def _open(self, asking: Asking) -> Running:
        started = time.monotonic()
        try:
            lease = await asyncio.wrap_future(self.worker.lease(asking.model, asking.adapters))
            try:
                begun = await self.desk.run(lambda node: begin(node, lease.loaded, asking))
            except BaseException:
                self.worker.give_back(lease)
                raise
        except BaseException:
            self._admitted -= 1
            raise
        running = Running(self.worker, self.desk, lease, begun, asking, started + self._settings.timeout_s)
        self._answers.add(running)
        self._task(self._attend(running, started))
        if self._cut:
            running.cut_off()
        return running

    async def _attend(self, running: Running, started: float) -> None:
        try:
            await running.run()
        finally:
            self._answers.discard(running)
            self._admitted -= 1
            self._seconds += 0.1 * (time.monotonic() - started - self._seconds)

    async def embed(self, model: str, texts: list[str]) -> Embedded:
        """Vectors of texts, with one receipt. Raises as ``answer`` does."""
        self._admit()
        gone = asyncio.Event()
        limits = Limits(lambda: gone.is_set() or self._cut, time.monotonic() + self._settings.timeout_s)
        try:
            return await asyncio.shield(self._task(self._embed(model, texts, limits)))
        except asyncio.CancelledError:  # the caller is gone: no further text is computed
            gone.set()
            raise

    async def _embed(self, model: str, texts: list[str], limits: Limits) -> Embedded:
        try:
            return await embed(self.worker, self.desk, self._embedding, model, texts, limits)
        finally:
            self._admitted -= 1

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def models(self) -> list[ModelInfo]:
        """The models of this device, and whether they are in memory now."""
        loaded = set(self.worker.loaded())
        return await self.desk.run(lambda node: _models(node, loaded))

    async def bundle(self, receipt_id: str, disclose: bool) -> bytes:
        """A receipt's bundle (JSON), everything opened or nothing. Raises UsageError when there is none."""
        selection = EVERYTHING if disclose else NOTHING
        return await self.desk.run(lambda node: node.exporter.bundle(receipt_id, selection).encode())

    async def states(self, receipt_id: str, segments: list[int], key: str | None) -> bytes:
        """The states (statements/states.py) of a receipt before the last of ``segments``: those that are kept, or else
        computed again, apart from the answers. ``key`` shows that the caller holds the full disclosure; the owner
        (None) need not.

        Raises UsageError when it has none or the key is another, Busy, EngineError, ModelNotFound.
        """
        chunks = await self.desk.run(lambda node: _kept_states(node, receipt_id, segments, key))
        if chunks is None:
            chunks = await self.checker.states(receipt_id, segments)
        return encode_states(receipt_id, chunks)

    async def verify(self, bundle: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
        """The report on a bundle; options as in ``verity.verify``. One at a time.

        Raises Busy, UsageError, FormatError, SignatureError.
        """
        return await self.checker.check(bundle, options)


def _kept_states(node: Node, receipt_id: str, segments: list[int], key: str | None) -> list[bytes] | None:
    if key is not None and not hmac.compare_digest(key.encode(), node.exporter.disclosure_key(receipt_id).encode()):
        raise UsageError("this is not the key of the receipt's disclosure", "use a bundle that opens all")
    return node.states.kept(receipt_id, segments)


def _abandon(opening: asyncio.Future[Running]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().cut_off()


def _models(node: Node, loaded: set[str]) -> list[ModelInfo]:
    def created(added_at: str) -> int:
        return int(datetime.datetime.fromisoformat(added_at).timestamp())

    return [ModelInfo(m.name, created(m.added_at), m.blake3, m.blake3 in loaded) for m in node.blobs.models()]
