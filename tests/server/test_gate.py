"""Who may come in: hosts, web pages, keys, forms and sizes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from calling import CHAT, call, chat, connected, post
from fake_service import FakeService
from fastapi import FastAPI

from verity.server import gate
from verity.server.app import make_app
from verity.server.gate import MAX_BODY, MAX_VERIFY_BODY, Rules
from verity.server.keys import Keys
from verity.server.traffic import Traffic

API_KEY = "a-key-for-programs"


@pytest.fixture
def locked(service: FakeService, owner_key: str) -> FastAPI:
    """With an API key, a name of its own and one web page that may come in."""
    rules = Rules(Keys(owner_key, API_KEY), frozenset({"lamp.lan"}), frozenset({"https://console.example"}))
    return make_app(service, rules)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8737", "localhost:1", "LOCALHOST", "[::1]:8737", "[::1]"])
def test_names_of_this_machine(app: FastAPI, host: str) -> None:
    assert call(app, "GET", "/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8737",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "10.0.0.1",
        "lamp.lan",
        "",
        "localhost:8737:1",
        "[::1",
        "localhost/",
        "a b",
    ],
)
def test_a_name_that_was_bound_to_this_address_does_not_come_in(app: FastAPI, host: str) -> None:
    response = call(app, "GET", "/v1/models", headers={"Host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "host_not_allowed")


def test_a_name_that_the_owner_allows(locked: FastAPI) -> None:
    headers = {"Host": "Lamp.lan:8737", "Authorization": f"Bearer {API_KEY}"}
    assert call(locked, "GET", "/v1/models", headers=headers).status_code == 200


def test_the_address_that_the_connection_came_to_is_a_name(app: FastAPI) -> None:
    scope: dict[str, Any] = {"server": ("192.168.7.7", 8737)}
    assert gate._address(scope) == "192.168.7.7"
    assert gate._address({"server": ("evil.example", 80)}) is None
    assert gate._address({}) is None


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8737"])
def test_web_pages_do_not_come_in(app: FastAPI, service: FakeService, origin: str) -> None:
    response = post(app, CHAT, chat(), Origin=origin)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert service.asked == []


def test_a_web_page_that_the_owner_allows(locked: FastAPI) -> None:
    headers = {"Origin": "https://console.example", "Authorization": f"Bearer {API_KEY}"}
    assert post(locked, CHAT, chat(), **headers).status_code == 200
    assert post(locked, CHAT, chat(), **{**headers, "Origin": "https://console.example.evil"}).status_code == 403


def test_a_key_is_needed_where_one_is_set(locked: FastAPI, service: FakeService, owner_key: str) -> None:
    for given in (None, "", "Bearer", f"Bearer {API_KEY}x", f"Basic {API_KEY}", API_KEY, "Bearer \xff"):
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        response = call(locked, "POST", CHAT, json=chat(), headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key"), given
        assert response.headers["www-authenticate"] == "Bearer"
    assert service.asked == []
    for key in (API_KEY, owner_key):
        assert post(locked, CHAT, chat(), Authorization=f"Bearer {key}").status_code == 200
    assert call(locked, "GET", "/openapi.json").status_code == 401
    assert call(locked, "GET", "/health").status_code == 200


def test_without_a_key_any_will_do(app: FastAPI) -> None:
    assert post(app, CHAT, chat(), Authorization="Bearer anything").status_code == 200
    assert post(app, CHAT, chat()).status_code == 200


def test_the_api_key_opens_no_disclosure(locked: FastAPI, owner_key: str) -> None:
    path = f"/v1/receipts/{'ab' * 16}"
    assert "disclosure" not in call(locked, "GET", path, headers={"Authorization": f"Bearer {API_KEY}"}).json()
    assert "disclosure" in call(locked, "GET", path, headers={"Authorization": f"Bearer {owner_key}"}).json()


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; q=x"]
)
def test_other_forms_than_json(app: FastAPI, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    response = call(app, "POST", CHAT, content=b"{}", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_json_with_its_encoding_is_json(app: FastAPI) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        assert post(app, CHAT, chat(), **{"Content-Type": kind}).status_code == 200


def test_a_body_that_says_that_it_is_too_large(app: FastAPI) -> None:
    for path, limit in ((CHAT, MAX_BODY), ("/v1/verify", MAX_VERIFY_BODY)):
        headers = {"Content-Type": "application/json", "Content-Length": str(limit + 1)}
        response = call(app, "POST", path, content=b"{}", headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_a_body_is_counted_as_it_comes(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_BODY", 1000)
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000_000:
            sent += 100
            yield b" " * 100

    async def calling() -> int:
        async with connected(app) as client:
            headers = {"Content-Type": "application/json"}
            return (await client.post(CHAT, content=pieces(), headers=headers)).status_code

    assert asyncio.run(calling()) == 413
    assert sent <= 1200


def test_a_body_that_never_ends(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_TIME_S", 0.0)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def calling() -> int:
        async with connected(app) as client:
            headers = {"Content-Type": "application/json"}
            return (await client.post(CHAT, content=pieces(), headers=headers)).status_code

    assert asyncio.run(calling()) == 408


def test_bodies_are_counted_together(service: FakeService, owner_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_HELD", 1000)
    traffic = Traffic()
    app = make_app(service, Rules(Keys(owner_key)), traffic)
    body = json.dumps(chat("x" * 500)).encode()

    async def calling() -> list[int]:
        half, go_on = asyncio.Event(), asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            yield body[:-1]
            half.set()
            await go_on.wait()
            yield body[-1:]

        async def asks(content: Any) -> int:
            headers = {"Content-Type": "application/json"}
            return (await client.post(CHAT, content=content, headers=headers)).status_code

        async with connected(app) as client:
            first = asyncio.ensure_future(asks(pieces()))
            await half.wait()
            statuses = [await asks(body)]
            go_on.set()
            return [*statuses, await first, await asks(body)]

    assert asyncio.run(calling()) == [429, 200, 200]
    assert traffic.held == 0


def test_a_server_that_is_shutting_down(service: FakeService, owner_key: str) -> None:
    traffic = Traffic()
    app = make_app(service, Rules(Keys(owner_key)), traffic)
    traffic.closing = True
    response = post(app, CHAT, chat())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "shutting_down")
    assert response.headers["retry-after"] == "5"
    assert service.asked == []
