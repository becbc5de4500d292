"""A witness over HTTP: C2SP tlog-witness's ``add-checkpoint``, and what it cosigned last, for whoever compares views.

    POST /add-checkpoint    a log's head, to be cosigned (log/witness.py)
    GET  /heads/<hex>       the head cosigned last of the log whose origin has this SHA-256, with its signature lines
    GET  /key               the witness's key, as one word
    GET  /health            whether it is at work

There is no API key, and no rule for the Host header: a submission's authority is the log's signature, and all that can
be read is public. Web pages have no business here: what has an Origin header is refused. One thread does the work, in
the order in which it comes; when too much waits, a submission is told to come again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from verity.errors import StoreError
from verity.identity.device_key import DeviceKey
from verity.log.submission import MAX_BYTES
from verity.log.witness import MAX_LOGS, Answer, Witness
from verity.server.traffic import Traffic
from verity.store.database import Database

BODY_TIME_S = 30.0
MAX_WAITING = 256
_HEAD = re.compile(r"/heads/([0-9a-f]{64})", re.ASCII)
_T = TypeVar("_T")


class Desk:
    """The thread that has the witness's database; whatever is to be done with it is done there, one after another."""

    def __init__(self, home: Path, name: str | None, *, any_device: bool = False, most: int = MAX_LOGS) -> None:
        """Raises StoreError, UsageError."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="verity-witness")
        self._waiting = 0

        def open_it() -> tuple[Database, Witness]:
            database = Database.open(home)
            try:
                return database, Witness(database, DeviceKey.load(home), name, any_device=any_device, most=most)
            except BaseException:
                database.close()
                raise

        try:
            self._database, self._witness = self._pool.submit(open_it).result()
        except BaseException:
            self._pool.shutdown()
            raise
        self.key = self._witness.key

    async def run(self, do: Callable[[Witness], _T]) -> _T | None:
        """What ``do`` gives; None when too much waits already."""
        if self._waiting >= MAX_WAITING:
            return None
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, do, self._witness)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.submit(self._database.close).result()
        self._pool.shutdown()


class WitnessApp:
    """The ASGI application. Paths may have a prefix, which is that of ``prefix``."""

    def __init__(self, desk: Desk, traffic: Traffic, prefix: str = "") -> None:
        self._desk = desk
        self._traffic = traffic
        self._prefix = prefix.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            with self._traffic:
                await (await self._answer(scope, receive))(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if self._traffic.closing:
            return _plain(503, "the witness is shutting down", retry_after_s=5)
        if "origin" in Headers(scope=scope):
            return _plain(403, "web pages have no business here")
        path = scope["path"]
        if not path.startswith(f"{self._prefix}/"):
            return _plain(404, "there is no such address")
        path, method = path.removeprefix(self._prefix), scope["method"]
        try:
            if path == "/add-checkpoint":
                return await self._submitted(receive) if method == "POST" else _plain(405, "this address takes POST")
            if method not in ("GET", "HEAD"):
                return _plain(405, "this address takes GET")
            return await self._read(path)
        except StoreError:
            return _plain(500, "the witness's database cannot be used")

    async def _submitted(self, receive: Receive) -> Response:
        body = b""
        try:
            async with asyncio.timeout(BODY_TIME_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return _plain(400, "the request broke off")
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > MAX_BYTES:
                        return _plain(413, f"a submission has at most {MAX_BYTES:,} bytes")
        except TimeoutError:
            return _plain(408, "the request took too long to come")
        answer = await self._desk.run(lambda witness: witness.add_checkpoint(body))
        return _response(answer or _BUSY)

    async def _read(self, path: str) -> Response:
        if path == "/health":
            return _plain(200, "ok")
        if path == "/key":
            return _plain(200, str(self._desk.key))
        match = _HEAD.fullmatch(path)
        if match is None:
            return _plain(404, "there is no such address")
        found = await self._desk.run(lambda witness: (witness.head(match[1]),))
        if found is None:
            return _response(_BUSY)
        return _plain(404, "no head of such a log was cosigned") if found[0] is None else _text(found[0].note)


_BUSY = Answer(503, "too much is asked for at once\n", retry_after_s=1)


def _plain(status: int, sentence: str, retry_after_s: int | None = None) -> Response:
    return _response(Answer(status, f"{sentence}\n", retry_after_s=retry_after_s))


def _text(note: str) -> Response:
    return _response(Answer(200, note))


def _response(answer: Answer) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": answer.content_type}
    if answer.retry_after_s is not None:
        headers["Retry-After"] = str(answer.retry_after_s)
    return PlainTextResponse(answer.body, answer.status, headers)
