"""Connections that hold a place without using it: each has a time to ask in, and a time to read what it asked for.

uvicorn waits for ever for a connection's first request and for a client that does not read its answer. A program of
this machine could so use up the server's sockets and memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
ASK_S = 30.0
"""Seconds from the connection, or from the last answer, to the end of the next request's head."""
READ_S = 60.0
"""Seconds in which a client has to make room when what is sent to it fills every buffer."""


class Patience(H11Protocol):
    """A connection that is cut when its time is over. Requests under way then end as for every client that leaves."""

    _asking: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        self._asking = self._later(self._asking, ASK_S, self._asked)

    def on_response_complete(self) -> None:
        self._asking = self._later(self._asking, ASK_S, self._asked)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self._later(self._reading, READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reading = self._later(self._reading)

    def connection_lost(self, exc: Exception | None) -> None:
        self._asking, self._reading = self._later(self._asking), self._later(self._reading)
        super().connection_lost(exc)

    def _asked(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()

    def _later(
        self, old: asyncio.TimerHandle | None, seconds: float = 0.0, call: Callable[[], None] | None = None
    ) -> asyncio.TimerHandle | None:
        """A timer in the place of an ``old`` one, or none."""
        if old is not None:
            old.cancel()
        return self.loop.call_later(seconds, call) if call is not None else None
