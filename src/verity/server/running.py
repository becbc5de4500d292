"""One answer under way: from its intent to its result, whoever listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from verity.engines.output import Output
from verity.errors import EngineError, TimedOut, VerityError
from verity.generation import finished
from verity.loader import Loaded
from verity.node import Node
from verity.recorder import Begun
from verity.request import Request, check_asked, intent_fields, make_request
from verity.server.answering import Asking, Ended, Piece
from verity.server.desk import Desk
from verity.server.scheduler import Job
from verity.server.worker import Lease, Worker
from verity.statements.receipt import Choice

_log = logging.getLogger("verity.server")


class Opened(msgspec.Struct, frozen=True):
    """A request whose intent is in the log."""

    request: Request
    begun: Begun
    device: str


def begin(node: Node, loaded: Loaded, asking: Asking) -> Opened:
    """Turn what is asked into tokens and log the intent.

    Raises UsageError, ContextOverflow, EngineError, StoreError.
    """
    asked = check_asked(
        asking.messages,
        max_tokens=asking.max_tokens,
        stops=asking.stops,
        sampling=asking.sampling,
        grammar=asking.grammar,
        tools=asking.tools,
        raw=asking.raw,
        adapters=loaded.adapters,
        choice=Choice(asking.choice, asking.choices),
    )
    request = make_request(loaded.engine, asked, nonce=asking.nonce)
    if asking.nonce_from == "device":  # drawn by the server, for several choices at once
        request = msgspec.structs.replace(request, nonce_from="device")
    fields = intent_fields(request, loaded.engine, loaded.model, loaded.numerics)
    return Opened(request, node.recorder.begin(fields), node.key.id)


class Running:
    """An answer being written; see ``verity.server.answering.Answering``."""

    def __init__(
        self, worker: Worker, desk: Desk, lease: Lease, opened: Opened, asking: Asking, deadline: float
    ) -> None:
        self._worker = worker
        self._desk = desk
        self._lease = lease
        self._opened = opened
        self._pieces: asyncio.Queue[Piece | VerityError | None] = asyncio.Queue()
        self._over = asyncio.Event()
        self._written = asyncio.Event()
        self._failed: VerityError | None = None
        self._loop = asyncio.get_running_loop()
        self._job = Job(
            opened.request,
            self._tell,
            adapters=lease.files,
            top_logprobs=asking.top_logprobs,
            deadline=deadline,
        )
        self.receipt = opened.begun.id
        self.nonce = (opened.request.nonce or b"").hex()
        self.device = opened.device
        self.model: dict[str, Any] = dict(lease.loaded.model)
        self.numerics: dict[str, Any] = msgspec.to_builtins(lease.loaded.numerics)
        self.parameters = _in_effect(opened.request, asking)
        self.ended: Ended | None = None

    async def run(self) -> None:
        """Have it written and put its result on record. Whatever happens, whoever waits for it is told."""
        told: VerityError | None = EngineError("the server met a fault of its own", "see its log")
        try:
            self._worker.submit(self._lease, self._job)
            await self._written.wait()
            told = await self._put_on_record()
        except Exception as error:
            _log.error("an answer met a fault: %s", type(error).__name__)
        finally:
            self._worker.give_back(self._lease)
            self._pieces.put_nowait(told)
            self._over.set()

    async def _put_on_record(self) -> VerityError | None:
        """Returns what the reader has to know: why it broke off, or that it could not be recorded."""
        output, finish, request, told = self._output(), self._finish(), self._opened.request, self._failed
        result = finished(request, self._job.generation, finish)
        try:
            await self._desk.run(
                lambda node: node.recorder.finish(self._opened.begun, result.fields, result.tokens, result.evaluated)
            )
        except VerityError as error:
            told = error
        self.ended = Ended(
            finish=finish,
            text=output.text,
            prompt_tokens=len(request.prompt_tokens),
            completion_tokens=len(output.tokens),
            cached_tokens=self._job.cached,
            tool_calls=result.calls,
        )
        return told

    async def __aiter__(self) -> AsyncIterator[Piece]:
        while True:
            piece = await self._pieces.get()
            if piece is None:
                return
            if isinstance(piece, VerityError):
                raise piece
            yield piece

    def cut_off(self) -> None:
        """End it at the next step; nothing happens when it is over."""
        self._job.cancelled = True
        self._worker.wake()

    async def cancel(self) -> None:
        """Cut it off, and return when that is on record."""
        self.cut_off()
        await self._over.wait()

    def _tell(self, told: Piece | VerityError | None) -> None:
        """From the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._told, told)

    def _told(self, told: Piece | VerityError | None) -> None:
        """In the event loop: a piece, or that the engine is done with this answer."""
        if isinstance(told, Piece):
            self._pieces.put_nowait(told)
        elif not self._written.is_set():
            self._failed = told
            self._written.set()

    def _output(self) -> Output:
        generation = self._job.generation
        return generation.output if generation is not None else Output(self._opened.request.max_tokens, ())

    def _finish(self) -> Any:
        """How it ended: by itself, or what cut it off."""
        cut_off = self._job.cancelled or isinstance(self._failed, TimedOut)
        return self._output().finish or ("cancelled" if cut_off else "error")


def _in_effect(request: Request, asking: Asking) -> dict[str, Any]:
    """The parameters that the answer is drawn with, defaults included."""
    asked = request.asked
    effective: dict[str, Any] = {
        **msgspec.to_builtins(asked.parameters),
        "max_tokens": request.max_tokens,
        "stop": asked.stops,
    }
    if asking.seed is not None:
        effective["seed"] = asking.seed
    if asked.grammar is not None:
        effective["grammar"] = {"compiler": asked.grammar.compiler, "kind": asked.grammar.kind}
    if asked.adapters:
        effective["adapters"] = [{"name": a.name, "blake3": a.blake3, "scale": a.scale} for a in asked.adapters]
    return effective
