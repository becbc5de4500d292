"""The published log over HTTP: for everybody, what is published and nothing beyond it; nothing else is opened by it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from calling import call, post, running
from fake_service import FakeService
from fastapi import FastAPI
from made_logs import entries

from verity.errors import Busy
from verity.identity.device_key import DeviceKey
from verity.log import device_copies, source, tiles
from verity.log.checkpoint import parse_note
from verity.log.device_log import DeviceLog, Draft
from verity.log.tile_folder import TileFolder
from verity.published_log import PublishedLog
from verity.server import public_log
from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys
from verity.server.public_log import PublicLog
from verity.statements.receipt import Place
from verity.store.database import Database
from verity.store.home import locate

API_KEY = "a-key-for-programs"
PAGE = "https://anybody.example"
PUBLISHED = 270


def append(home: Path, count: int, publish: bool = False) -> None:
    data = entries(1000)

    def build(place: Place) -> Draft:
        return Draft(data[place.index], bytes(16), b"{}")

    with Database.open(home) as database:
        key = DeviceKey.load(home)
        for _ in range(count):
            DeviceLog(database, key).append(build)
        if publish:
            PublishedLog(database, key).publish()


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device with 300 entries, of which 270 are published."""
    home = tmp_path_factory.mktemp("device")
    append(home, PUBLISHED, publish=True)
    append(home, 30)
    return home


@pytest.fixture
def log(device: Path) -> Iterator[PublicLog]:
    opened = PublicLog(device)
    yield opened
    asyncio.run(opened.stop())


@pytest.fixture
def app(service: FakeService, owner_key: str, log: PublicLog) -> FastAPI:
    """With an API key, which nobody below sends."""
    return make_app(service, Rules(Keys(owner_key, API_KEY), public_log=True), public_log=log)


TILES = [
    "tile/0/000", "tile/0/001.p/14", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/14", "tile/0/000.p/9",
]  # fmt: skip


def test_the_index_and_the_head(app: FastAPI, device: Path) -> None:
    reply = call(app, "GET", "/log/index.json")
    (row,) = reply.json()["logs"]
    assert (row["epoch"], row["size"]) == (0, PUBLISHED)
    assert reply.headers["content-type"] == "application/json"
    head = call(app, "GET", "/log/0/checkpoint")
    assert parse_note(head.text).size == PUBLISHED
    assert parse_note(head.text).origin == row["origin"] == f"verity/{DeviceKey.load(device).id}/0"
    assert head.headers["content-type"] == "text/plain; charset=utf-8"
    assert head.headers["cache-control"] == reply.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", TILES)
def test_tiles(app: FastAPI, path: str) -> None:
    reply = call(app, "GET", f"/log/0/{path}")
    assert reply.status_code == 200
    tile = tiles.parse_path(path)
    assert len(reply.content) == tile.width * (34 if tile.level == tiles.ENTRIES else 32)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert call(app, "GET", f"/log/0/{path}").content == reply.content


@pytest.mark.parametrize("path", ["/log/index.json", "/log/0/checkpoint", *(f"/log/0/{path}" for path in TILES)])
def test_head_and_etags(app: FastAPI, path: str) -> None:
    whole, head = call(app, "GET", path), call(app, "HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "cache-control", "content-type"):
        assert head.headers[name] == whole.headers[name]
    tag = whole.headers["etag"]
    assert tag == f'"{hashlib.sha256(whole.content).hexdigest()[:32]}"'
    for held in (tag, f'"x", W/{tag}', "*"):
        again = call(app, "GET", path, headers={"If-None-Match": held})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert call(app, "GET", path, headers={"If-None-Match": '"other"'}).content == whole.content


@pytest.mark.parametrize(
    "path",
    [
        "/log/0/tile/0/001.p/15", "/log/0/tile/0/001", "/log/0/tile/entries/001.p/44", "/log/0/tile/1/000.p/2",
        "/log/0/tile/2/000.p/1", "/log/1/checkpoint", "/log/1/tile/0/000", "/log/0/tile/0/0", "/log/0/tile/x",
        "/log/0/tile/0/../0/000", "/log/0/tile/0/000/", "/log/0", "/log/", "/log/0/checkpoint/", "/log/0/tile",
        "/log/0/tile/64/000", "/log/../v1/models", "/log/0/tile/0/000.p/0", "/log//index.json",
    ],
)  # fmt: skip
def test_what_is_not_published_is_not_there(app: FastAPI, path: str) -> None:
    reply = call(app, "GET", path) if ".." not in path else call(app, "GET", path.replace("..", "%2e%2e"))
    assert reply.status_code in (401, 404)
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert reply.status_code == 404 or path.startswith("/log/..")


@pytest.mark.parametrize("epoch", ["x", "-1", "00", "1" * 16, "0x0", " 0"])
def test_what_is_no_epoch(app: FastAPI, epoch: str) -> None:
    for path in ("checkpoint", "tile/0/000"):
        assert call(app, "GET", f"/log/{epoch}/{path}").status_code == 400


def test_only_reading_and_only_the_log_needs_no_key(app: FastAPI) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert call(app, method, "/log/0/checkpoint", json={}).status_code == 401
        allowed = call(app, method, "/log/0/checkpoint", json={}, headers={"Authorization": f"Bearer {API_KEY}"})
        assert allowed.status_code == 405
    for path in ("/v1/models", "/openapi.json", "/logs", "/log", "/v1/log/0/checkpoint", "//log/0/checkpoint"):
        assert call(app, "GET", path).status_code == 401
    assert call(app, "GET", "/log/0/checkpoint", headers={"Authorization": "Bearer wrong"}).status_code == 200


def test_web_pages_may_read_the_log_and_nothing_else(app: FastAPI) -> None:
    for path in ("/log/index.json", "/log/0/tile/0/000", "/log/0/tile/9/000"):
        reply = call(app, "GET", path, headers={"Origin": PAGE})
        assert reply.status_code in (200, 404)
        assert reply.headers["access-control-allow-origin"] == "*"
    for path in ("/v1/models", "/health"):
        reply = call(app, "GET", path, headers={"Origin": PAGE})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in reply.headers
    assert post(app, "/log/0/checkpoint", {}, Origin=PAGE).status_code == 403


def test_the_host_must_name_this_machine(app: FastAPI) -> None:
    reply = call(app, "GET", "/log/0/checkpoint", headers={"Host": "evil.example"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "host_not_allowed")


def test_nothing_is_public_unless_the_owner_says_so(service: FakeService, owner_key: str) -> None:
    closed = make_app(service, Rules(Keys(owner_key, API_KEY)))
    assert call(closed, "GET", "/log/index.json").status_code == 401
    assert call(closed, "GET", "/log/index.json", headers={"Origin": PAGE}).status_code == 403
    key = {"Authorization": f"Bearer {API_KEY}"}
    assert call(closed, "GET", "/log/index.json", headers=key).status_code == 404
    assert not [path for path in closed.openapi()["paths"] if path.startswith("/log")]


def test_a_mirror_of_the_server(app: FastAPI, device: Path, tmp_path: Path) -> None:
    key, copy = DeviceKey.load(device).id, TileFolder(tmp_path / "copy")
    with running(app) as address, source.opened(f"{address}/log") as given:
        copied = device_copies.mirror(given, copy, key)
        assert [one.head.size for one in copied.values()] == [PUBLISHED]
        assert not any(one.total for one in device_copies.fsck(given, key).values())
    assert not any(one.total for one in device_copies.fsck(copy, key).values())
    assert json.loads((copy.root / "index.json").read_text())["logs"][0]["size"] == PUBLISHED


async def until(test: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(500):
        if await test():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came")


def test_the_log_is_published_from_time_to_time(home: Path) -> None:
    locate(home)

    async def main() -> None:
        log = PublicLog(home, 0.05)

        async def shows(size: int) -> bool:
            head = await log.checkpoint(0)
            return head is not None and parse_note(head).size == size

        await log.start()
        try:
            assert json.loads(await log.index()) == {"logs": []}  # an empty log has no head
            for size in (2, 5):
                await asyncio.to_thread(append, home, 2 if size == 2 else 3)
                await until(lambda size=size: shows(size))  # type: ignore[misc]
        finally:
            await log.stop()

    asyncio.run(main())


def test_too_many_readers_wait_elsewhere(log: PublicLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_log, "MAX_WAITING", 2)

    async def main() -> None:
        asked = [asyncio.create_task(log.checkpoint(0)) for _ in range(9)]
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, bytes) for each in done) == 2
        assert sum(isinstance(each, Busy) for each in done) == 7
        assert isinstance(await log.checkpoint(0), bytes)

    asyncio.run(main())
