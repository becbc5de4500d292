"""A caller who goes away: what was being written for him is cut off."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from calling import CHAT, chat
from fake_service import FakeService
from fastapi import FastAPI


def scope() -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": headers,
        "server": ("127.0.0.1", 8737),
        "client": ("127.0.0.1", 1),
    }


async def goes_away(app: FastAPI, body: dict[str, Any], when: asyncio.Event) -> list[Any]:
    """What is sent to a caller who disconnects ``when`` that is set."""
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await when.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if b" light" in message.get("body", b""):
            when.set()

    await asyncio.wait_for(app(scope(), receive, send), 30)
    return sent


def test_in_the_middle_of_a_stream(app: FastAPI, service: FakeService) -> None:
    service.hang_at = 3

    async def going() -> list[Any]:
        return await goes_away(app, chat(stream=True, n=2), asyncio.Event())

    sent = asyncio.run(going())
    assert sent[0]["status"] == 200
    assert sent[-1]["more_body"] is True  # the end was not told
    assert [answer.cancelled.is_set() for answer in service.answers] == [True, True]


def test_while_waiting_for_a_whole_answer(app: FastAPI, service: FakeService) -> None:
    service.hang_at = 3

    async def going() -> None:
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, gone.set)
        await goes_away(app, chat(), gone)

    asyncio.run(going())
    assert [answer.cancelled.is_set() for answer in service.answers] == [True]


@pytest.mark.parametrize("stream", [False, True])
def test_while_waiting_to_begin(
    app: FastAPI, service: FakeService, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def waits(asking: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    monkeypatch.setattr(service, "answer", waits)

    async def going() -> None:
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, gone.set)
        await goes_away(app, chat(stream=stream), gone)

    asyncio.run(going())
    assert ended == ["cancelled"]


def test_a_caller_who_cannot_be_written_to(app: FastAPI, service: FakeService) -> None:
    service.hang_at = 3

    async def going() -> None:
        body = json.dumps(chat(stream=True)).encode()

        async def receive() -> Any:
            if not asked:
                asked.append(1)
                return {"type": "http.request", "body": body, "more_body": False}
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if b" light" in message.get("body", b""):
                raise ConnectionResetError

        asked: list[int] = []
        await asyncio.wait_for(app(scope(), receive, send), 30)

    asyncio.run(going())
    assert [answer.cancelled.is_set() for answer in service.answers] == [True]
