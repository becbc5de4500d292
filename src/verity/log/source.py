"""Where tiles of a log are read from: a folder, or a web server. Nothing of what they give is believed here.

A source gives the bytes at a path, or None where there is nothing. What it sends is counted and timed; it cannot send
the reader elsewhere (redirects are refused). C2SP tlog-tiles lets servers compress: gzip is undone, within the limit.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from verity.errors import FetchError, LogError, UsageError
from verity.log import tiles
from verity.log.checked_tiles import Read
from verity.log.tile_folder import TileFolder
from verity.log.tiles import ENTRIES, WIDTH, Tile
from verity.log.tree import HASH_SIZE
from verity.store.specs import is_loopback

if TYPE_CHECKING:
    import httpx

CONNECT_S = 10.0
READ_S = 20.0
"""Seconds without a byte."""
FILE_S = 120.0
"""Seconds for one file in all: a server that drips must not hold a mirror for ever."""
_GZIP = 31


class Source(Protocol):
    """Raises FetchError or StoreError."""

    def read(self, path: str, limit: int, /) -> bytes | None:
        """What is at a relative path, at most ``limit`` bytes of it; None where there is nothing."""


@contextmanager
def opened(where: str) -> Iterator[Source]:
    """The source at an address (http, https) or in a folder. Raises UsageError, FetchError."""
    if where.startswith(("http://", "https://")):
        with _client(where) as client:
            yield WebSource(client, where)
        return
    if not where or "\0" in where or not Path(where).is_dir():
        raise UsageError(f"{where[:200]!r} is neither a folder nor an address", "give a folder, or https://…")
    yield TileFolder(Path(where))


class Below:
    """A source below a folder of another."""

    def __init__(self, source: Source, prefix: str) -> None:
        self._source = source
        self._prefix = prefix

    def read(self, path: str, limit: int) -> bytes | None:
        return self._source.read(f"{self._prefix}/{path}", limit)


def reader(source: Source) -> Read:
    """Read tiles from a source. A partial tile that is gone is cut from the full one: a log that grew may delete it
    (tlog-tiles, "Partial Tiles"). Raises LogError when there is neither."""

    def read(tile: Tile) -> bytes:
        data = source.read(tile.path, _limit(tile))
        if data is None and not tile.full:
            full = tile._replace(width=WIDTH)
            whole = source.read(full.path, _limit(full))
            data = whole if whole is None else tiles.cut(tile, whole)
        if data is None:
            raise LogError(f"{tile.path} is missing, though the signed head counts it", "ask the log's owner for it")
        return data

    return read


def _limit(tile: Tile) -> int:
    return tile.width * (2 + tiles.MAX_ENTRY if tile.level == ENTRIES else HASH_SIZE)


class WebSource:
    """A log's prefix on a web server."""

    def __init__(self, client: httpx.Client, address: str) -> None:
        self._client = client
        self._address = address.rstrip("/")

    def read(self, path: str, limit: int) -> bytes | None:
        import httpx

        url = f"{self._address}/{path}"
        try:
            try:
                return self._get(url, limit)
            except httpx.RemoteProtocolError:  # it closed a connection that was kept for the next request
                return self._get(url, limit)
        except httpx.InvalidURL as error:
            raise UsageError(f"{url[:200]} is not an address: {error}", "check it") from error
        except (httpx.HTTPError, RuntimeError) as error:
            if self._client.is_closed:
                raise _too_long(url[:200]) from error
            hint = "run the same command again: what is here already is kept"
            raise FetchError(f"fetching {url[:200]} failed: {error or type(error).__name__}", hint) from error

    def _get(self, url: str, limit: int) -> bytes | None:
        # A header may drip as well, or never begin: nobody is asked then before the connection ends.
        late = threading.Timer(FILE_S, self._client.close)
        late.daemon = True
        late.start()
        try:
            with self._client.stream("GET", url) as response:
                if response.status_code in (404, 410):
                    return None
                if response.status_code != 200:
                    raise FetchError(f"{url[:200]}: the server answers {response.status_code}", _hint(response))
                return _received(response, limit)
        finally:
            late.cancel()


def _hint(response: httpx.Response) -> str:
    if response.is_redirect:
        return "redirects are not followed: give the address that the log itself has"
    return "check the address, or try again later"


def _received(response: httpx.Response, limit: int) -> bytes:
    name = str(response.url)[:200]
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise FetchError(f"{name} is compressed in a way that was not asked for", "use another source")
    until, received, count = time.monotonic() + FILE_S, bytearray(), 0
    gzip = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    for piece in response.iter_raw():
        count += len(piece)
        try:
            received += gzip.decompress(piece, limit + 1 - len(received)) if gzip is not None else piece
        except zlib.error as error:
            raise FetchError(f"{name} is not the gzip that it says it is", "try again, or elsewhere") from error
        if len(received) > limit or count > limit + 1024:
            raise FetchError(f"{name} sends more than the {limit:,} bytes that belong there", "use another source")
        if time.monotonic() > until:
            raise _too_long(name)
    if gzip is not None and not gzip.eof:
        raise FetchError(f"{name} breaks off", "run the same command again later")
    return bytes(received)


def _too_long(name: str) -> FetchError:
    return FetchError(f"{name} takes longer than {FILE_S:.0f} s", "run the same command again later")


@contextmanager
def _client(where: str) -> Iterator[httpx.Client]:
    import httpx

    try:
        direct = is_loopback(httpx.URL(where).host)  # a proxy has no business with this machine
        headers = {"User-Agent": "verity", "Accept-Encoding": "gzip, identity"}
        timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
        client = httpx.Client(headers=headers, timeout=timeout, trust_env=not direct, follow_redirects=False)
    except httpx.InvalidURL as error:
        raise UsageError(f"{where[:200]!r} is not an address: {error}", "check it") from error
    except (ImportError, ValueError) as error:
        raise FetchError(f"the proxy settings cannot be used: {error}", "check HTTPS_PROXY and ALL_PROXY") from error
    with client:
        yield client
