"""Clients that connect and do not ask, ask slowly, or do not read: their places are taken back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from served import served

from verity.server import patience


class Endless:
    """An application that writes until the client has gone, unless asked for /short."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        if scope["path"] == "/short":
            await send({"type": "http.response.body", "body": b""})
            return


class Streaming(Endless):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        self.gone.set()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the server cut the connection."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 30)
    return b""


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: "])
def test_who_does_not_ask_is_cut(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(patience, "ASK_S", 0.2)

    async def main() -> None:
        async with served(Endless()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            assert await ended(reader) == b""
            writer.close()

    asyncio.run(main())


def test_who_asks_slowly_a_second_time_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "ASK_S", 0.2)

    async def main() -> None:
        async with served(Endless()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /short HTTP/1.1\r\nHost: here\r\n\r\nGET /short HT")
            assert (await ended(reader)).startswith(b"HTTP/1.1 200")
            writer.close()

    asyncio.run(main())


def test_who_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "READ_S", 0.2)

    async def main() -> None:
        app = Streaming()
        async with served(app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await asyncio.wait_for(app.gone.wait(), 30)
            writer.close()

    asyncio.run(main())


def test_who_reads_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "ASK_S", 0.05)

    async def main() -> None:
        app = Streaming()
        async with served(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await reader.readexactly(50 << 20)
            await asyncio.sleep(0.1)
            assert not app.gone.is_set()
            writer.close()
            await asyncio.wait_for(app.gone.wait(), 30)

    asyncio.run(main())


def test_more_connections_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "MAX_CONNECTIONS", 2)

    async def main() -> None:
        async with served(Endless()) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await ended(reader) == b""
            for each in (writer, *(w for _, w in held)):
                each.close()

    asyncio.run(main())
