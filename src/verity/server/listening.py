"""A server from its first request to its last: the socket, TLS, signals, and a shutdown that lets answers finish.

SIGTERM (or Ctrl-C): new requests get 503, those under way go on for the time of grace, then they are cut off, which
their receipts say, and the device is closed. A second signal ends the time of grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any

import msgspec
import uvicorn
from starlette.types import ASGIApp

from verity.errors import UsageError
from verity.server.answering import Service
from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.patience import Patience
from verity.server.public_log import PublicLog
from verity.server.traffic import Traffic

_BACKLOG = 128
_LAST_WORDS_S = 5.0


class Tls(msgspec.Struct, frozen=True):
    """Paths of the certificate chain and its private key, PEM."""

    certificate: str
    key: str


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server that listens on ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any that is free. Raises UsageError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UsageError(
            f"cannot listen on {host}, port {port}: {reason}", "choose another with --port, or stop what uses it"
        ) from error


def check_tls(tls: Tls) -> None:
    """Raises UsageError when certificate and key cannot be used."""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(
            f"the TLS certificate and key cannot be used: {error}", "both are PEM files, the key without a passphrase"
        ) from error


async def serve(
    service: Service,
    rules: Rules,
    listener: socket.socket,
    *,
    grace_s: float,
    models: Sequence[str] = (),
    tls: Tls | None = None,
    public_log: PublicLog | None = None,
    ready: Callable[[], None] = lambda: None,
) -> signal.Signals:
    """Load ``models``, serve until a signal comes, shut down, and return the signal. ``ready`` is called when requests
    are taken; ``public_log`` is started and stopped. Raises UsageError, and what loading raises."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    with _listening(signals):
        await service.start()
        traffic = Traffic()
        server = make_server(make_app(service, rules, traffic, public_log), tls, ready)
        try:
            for model in models:
                await service.preload(model)
            if public_log is not None:
                await public_log.start()
            running = asyncio.create_task(server.serve(sockets=[listener]))
            received = await _first_of(signals, running)
            traffic.closing = True
            await _until(traffic.idle(), signals.get(), grace_s)
        finally:
            await service.stop(0.0)
            if public_log is not None:
                await public_log.stop()
        await _until(traffic.idle(), signals.get(), _LAST_WORDS_S)
        server.should_exit = True
        await running
    return received


async def serve_app(
    app: ASGIApp, traffic: Traffic, listener: socket.socket, *, tls: Tls | None, ready: Callable[[], None]
) -> signal.Signals:
    """Serve any application until a signal comes; requests under way may end. Returns the signal."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    with _listening(signals):
        server = make_server(app, tls, ready)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        received = await _first_of(signals, running)
        traffic.closing = True
        await _until(traffic.idle(), signals.get(), _LAST_WORDS_S)
        server.should_exit = True
        await running
    return received


async def _first_of(signals: asyncio.Queue[signal.Signals], running: asyncio.Task[None]) -> signal.Signals:
    first = asyncio.create_task(signals.get())
    await asyncio.wait((first, running), return_when=asyncio.FIRST_COMPLETED)
    if not first.done():
        first.cancel()
        running.result()
        raise UsageError("the server did not start", "see the lines above")
    return first.result()


async def _until(end: Coroutine[Any, Any, object], other: Coroutine[Any, Any, object], limit_s: float) -> None:
    tasks = [asyncio.create_task(end), asyncio.create_task(other)]
    await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _listening(signals: asyncio.Queue[signal.Signals]) -> Generator[None, None, None]:
    """Signals go into the queue; without this, one would interrupt whatever is being written."""
    loop = asyncio.get_running_loop()
    kinds = (signal.SIGTERM, signal.SIGINT)
    for kind in kinds:
        loop.add_signal_handler(kind, signals.put_nowait, kind)
    try:
        yield
    finally:
        for kind in kinds:
            loop.remove_signal_handler(kind)


class _Server(uvicorn.Server):
    """Leaves signals to ``serve``, and says when it is ready."""

    ready: Callable[[], None]

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()


def make_server(app: ASGIApp, tls: Tls | None, ready: Callable[[], None]) -> _Server:
    """A server that is not running yet."""
    config = uvicorn.Config(
        app,
        http=Patience,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(_LAST_WORDS_S),
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    server = _Server(config)
    server.ready = ready
    return server
