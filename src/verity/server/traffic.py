"""Requests under way: counted, so that a shutdown can wait for them, and logged in one line each, without content."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from verity.server.failures import failure_of

RECEIPT_HEADER = "x-verity-receipt"
_log = logging.getLogger("verity.server")


class Traffic:
    """``closing`` is set when nothing new is to be taken; ``held`` counts the bytes of the requests under way."""

    def __init__(self) -> None:
        self.closing = False
        self.held = 0
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is under way."""
        await self._idle.wait()

    def __enter__(self) -> None:
        self._active += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._active -= 1
        if not self._active:
            self._idle.set()


class Counted:
    """Middleware around all others. What nobody expected ends here, as a 500 without its text."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun, seen = time.monotonic(), _Seen(send)
        with self._traffic:
            try:
                await self._app(scope, receive, seen)
            except Exception as error:
                failure = failure_of(error)
                if seen.status is None:
                    await failure.response()(scope, receive, seen)
            finally:
                took = (time.monotonic() - begun) * 1000
                method, path = scope["method"], _template(scope)
                _log.info("%s %s %s %.0f ms %s", method, path, seen.status, took, seen.receipt or "-")


class _Seen:
    """``send``, with what the log says of the response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.receipt: str | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.receipt = Headers(raw=list(message.get("headers", []))).get(RECEIPT_HEADER)
        await self._send(message)


def _template(scope: Scope) -> str:
    """The path as it stands in the code: what a caller wrote in it is his."""
    route: Any = scope.get("route")
    return getattr(route, "path", "(no such address)")
