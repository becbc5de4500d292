"""A hostile program on the other end of a real socket: it gets an answer in the API's form or is cut off, others are
served all the while, and the log holds nothing of what it said."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from attacking import SECRET, attack, chat, code
from calling import CHAT, TEXT
from served import OWNER, finishes

POST_HEAD = "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
CLOSE = "Connection: close\r\n"
HERE = "Connection: close\r\nHost: 127.0.0.1\r\n"
STAY = "Host: 127.0.0.1\r\n"


async def raw(http: httpx.AsyncClient, said: bytes) -> list[int]:
    """The status of every response to bytes on a connection of their own."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    got = b""
    with contextlib.suppress(ConnectionError):
        writer.write(said)
        await writer.drain()
        got = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return [int(part[:3]) for part in got.split(b"HTTP/1.1 ")[1:]]


SMUGGLED = f"GET /v1/models HTTP/1.1\r\n{HERE}\r\n"
MANY = "".join(f"X{n}: x\r\n" for n in range(20_000))
MALFORMED = {
    "no host": "GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n",
    "HTTP/1.0 without a host": "GET /v1/models HTTP/1.0\r\n\r\n",
    "two hosts": f"GET /v1/models HTTP/1.1\r\n{HERE}Host: evil.example\r\nConnection: close\r\n\r\n",
    "another host": f"GET /v1/models HTTP/1.1\r\n{CLOSE}Host: evil.example\r\n\r\n",
    "another host in the target": f"GET http://127.0.0.1/v1/models HTTP/1.1\r\n{CLOSE}Host: evil.example\r\n\r\n",
    "two lengths": f"{POST_HEAD}{HERE}Content-Length: 4\r\nContent-Length: 40\r\n\r\nnull{SMUGGLED}",
    "a signed length": f"{POST_HEAD}{HERE}Content-Length: +4\r\n\r\nnull",
    "a negative length": f"{POST_HEAD}{HERE}Content-Length: -4\r\n\r\nnull",
    "a folded header": f"GET /v1/models HTTP/1.1\r\n{HERE} evil.example\r\n\r\n",
    "a space before the colon": "GET /v1/models HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    "a null in a header": f"GET /v1/models HTTP/1.1\r\n{HERE}X: a\0b\r\n\r\n",
    "another transfer encoding": f"{POST_HEAD}{HERE}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no length": f"{POST_HEAD}{HERE}Transfer-Encoding: chunked\r\n\r\nzz\r\nnull\r\n0\r\n\r\n",
    "huge headers": f"GET /v1/models HTTP/1.1\r\n{HERE}X: {'x' * 200_000}\r\n\r\n",
    "many headers": f"GET /v1/models HTTP/1.1\r\n{HERE}{MANY}\r\n",
    "no HTTP": "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    "a method with a line break": f"GET\nX /v1/models HTTP/1.1\r\n{HERE}\r\n",
    "CONNECT": f"CONNECT evil.example:443 HTTP/1.1\r\n{HERE}\r\n",
}


def test_requests_that_are_not_quite_http(home: Path) -> None:
    async def work(http: httpx.AsyncClient) -> None:
        for name, said in MALFORMED.items():
            statuses = await raw(http, said.encode("latin-1"))
            assert len(statuses) <= 1, name  # nothing after it is taken for a request
            assert all(400 <= status < 500 for status in statuses), (name, statuses)

    attack(home, work)


def test_both_a_length_and_chunks(home: Path) -> None:
    async def work(http: httpx.AsyncClient) -> None:
        body = f"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n0\r\n\r\n{SMUGGLED}"
        statuses = await raw(http, f"{POST_HEAD}{STAY}{body}".encode())
        assert statuses in ([400], [400, 200])  # the body is `null`, wherever it ends

    attack(home, work)


def test_requests_one_after_the_other_without_waiting(home: Path) -> None:
    async def work(http: httpx.AsyncClient) -> None:
        body = json.dumps(chat(max_tokens=3))
        one = f"{POST_HEAD}{STAY}Content-Length: {len(body)}\r\n\r\n{body}"
        wrong = f"GET /nowhere HTTP/1.1\r\n{STAY}\r\n"
        assert await raw(http, f"{(one + wrong) * 3}{SMUGGLED}".encode()) == [200, 404] * 3 + [200]

    attack(home, work)


def test_numbers_and_lists_as_large_as_they_get(home: Path) -> None:
    tool = {"type": "function", "function": {"name": "f"}}

    async def work(http: httpx.AsyncClient) -> None:
        for wrong in (
            chat(n=16, max_tokens=1 << 31),
            chat(n=17),
            chat(n=1 << 62),
            chat(max_tokens=1 << 62),
            chat(seed=1 << 70),
            chat(stop=["s"] * 65),
            chat(stop=["s" * 1025]),
            chat(tools=[tool] * 129),
            chat(adapters=["a"] * 9),
            chat(temperature=1e308),
            chat(top_k=-(1 << 40)),
            {**chat(), "messages": [{"role": "user", "content": "?"}] * 2049},
        ):
            assert code(await http.post(CHAT, json=wrong)) == 400, wrong
        assert code(await http.post(TEXT, json={"model": "scripted", "prompt": ["?"] * 9, "n": 2})) == 400
        texts = {"model": "scripted", "input": [SECRET] * 2049}
        assert code(await http.post("/v1/embeddings", json=texts)) == 400
        stops = [f"{n:02}" + "s" * 1022 for n in range(64)]
        assert code(await http.post(CHAT, json=chat(stop=stops))) == 200
        many = [{"role": "user", "content": "?"}] * 300
        assert code(await http.post(CHAT, json={**chat(max_tokens=2), "messages": many})) == 200

    attack(home, work)
    assert set(finishes(home)) == {"end", "length"}  # what was refused is not on record


PATHS = (
    "/v1/receipts/../owner-key",
    "/v1/receipts/%2e%2e%2fowner-key",
    "/v1/receipts/" + "0" * 31,
    "/v1/receipts/" + "0" * 32 + "%0a",
    "/v1/receipts/" + "A" * 32,
    "/v1/receipts/" + "0" * 32 + "/",
    "/v1/receipts/%00",
    "/v1/models/../../owner-key",
    "/v1/models/%2fetc%2fpasswd",
    "/v1/models/" + "m" * 5000,
    "/v1/models/%ff%fe",
    "/v1/models/%0d%0aSet-Cookie:%20a=b",
    "//v1/models",
    "/v1/models/",
    "/docs",
    "/redoc",
    "/%",
)


def test_paths(home: Path) -> None:
    async def work(http: httpx.AsyncClient) -> None:
        for path in PATHS:
            statuses = await raw(http, f"GET {path} HTTP/1.1\r\n{HERE}\r\n".encode())
            assert statuses in ([400], [404]), path

    attack(home, work)


async def bundle(http: httpx.AsyncClient) -> Any:
    receipt = (await http.post(CHAT, json=chat())).json()["verity"]["receipt"]
    return (await http.get(f"/v1/receipts/{receipt}", headers={"Authorization": f"Bearer {OWNER}"})).json()


def test_bundles_that_were_changed(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(http: httpx.AsyncClient) -> None:
        good = await bundle(http)
        for number, name in enumerate(good):
            values: tuple[Any, ...] = (None, [], {}, SECRET, 1 << 60, [[]] * 1000, json.loads("[" * 20 + "]" * 20))
            for value in values:
                body = {"bundle": {**good, name: value}, "replay": number % 2 == 0}
                assert code(await http.post("/v1/verify", json=body)) in (200, 400), (name, value)
        for expected in ({"key": SECRET}, {"model": "/etc/passwd"}, {"nonce": SECRET}, {"prompt": SECRET * 1000}):
            response = await http.post("/v1/verify", json={"bundle": good, "replay": False, **expected})
            assert code(response) in (200, 400, 404), expected
            assert response.status_code != 200 or not response.json()["passed"]

    attack(home, work)
    assert SECRET not in caplog.text


def test_names_that_would_write_lines_into_the_log(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "verity.server")
    lines = f"{SECRET}\n2026-01-01 00:00:00 POST /v1/verify 200"

    async def work(http: httpx.AsyncClient) -> None:
        await http.get(f"/{quote(lines)}")
        await http.request(SECRET.upper(), "/v1/models")
        await http.post(CHAT, json={**chat(), "model": lines})
        await http.post(CHAT, json={**chat(), "adapters": [lines]})
        await http.post(CHAT, json={**chat(), lines: 1})
        await http.post(CHAT, json=chat(tools=[{"type": "function", "function": {"name": lines}}]))
        await http.get("/v1/models", headers={"Authorization": SECRET, "X-Verity-Nonce": SECRET})

    attack(home, work)
    said = [record.getMessage() for record in caplog.records if record.name == "verity.server"]
    assert len([line for line in said if " ms " in line]) == 8
    assert not [line for line in said if "\n" in line or "2026-01-01" in line]
    assert not [line for line in said if SECRET in line.lower() and not line.startswith(SECRET.upper())]
