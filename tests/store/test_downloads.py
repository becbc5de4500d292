"""Downloads against a real server on 127.0.0.1: resumed, begun anew, and refused."""

from __future__ import annotations

import contextlib
import fcntl
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from verity.errors import DigestMismatch, FetchError, FormatError, UsageError, VerityError
from verity.store import downloads
from verity.store.blobs import Blobs
from verity.store.pull import pull

HALF = 1_500_000


@dataclass
class Site:
    """What the server serves and how; ``seen`` are the Range headers of the requests so far (None without)."""

    content: bytes
    etag: str | None = '"v1"'
    modified: str | None = None
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    shift: int = 0
    """Lie in Content-Range by so many bytes."""
    chunked: bool = False
    seen: list[str | None] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.seen.append(wanted)
        self.close_connection = True
        if site.status is not None:
            self._reply(site.status, b"")
            return
        current = self.headers.get("If-Range") in (None, site.etag, site.modified)
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        if not (match and site.ranges and current):
            self._reply(200, site.content)
            return
        start, total = int(match[1]), len(site.content)
        if start >= total:
            self._reply(416, b"", {"Content-Range": f"bytes */{total}"})
        else:
            ranged = f"bytes {start + site.shift}-{total - 1}/{total}"
            self._reply(206, site.content[start:], {"Content-Range": ranged})

    def _reply(self, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
        site = self.site
        self.send_response(status)
        named = {"ETag": site.etag, "Last-Modified": site.modified, **site.headers, **(more or {})}
        for name, value in named.items():
            if value is not None:
                self.send_header(name, value)
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body if site.cut is None else body[: site.cut])


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve ``site`` while the block runs; ``site.url`` is the address of the model."""
    handler = type("Handler", (_Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/models/Small-Model.gguf"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def site(content: bytes) -> Iterator[Site]:
    with serving(Site(content)) as served:
        yield served


def unfinished(blobs: Blobs) -> list[str]:
    return sorted(path.suffix for path in blobs.temporary_folder.iterdir())


def interrupted(site: Site, blobs: Blobs) -> None:
    """Bring half of the model here: the server closes the connection in the middle."""
    site.cut = HALF
    with pytest.raises(FetchError) as caught:
        pull(site.url, blobs)
    site.cut = None
    assert ("goes on from where it stopped" in caught.value.hint) == (
        site.etag is not None or site.modified is not None
    )


def stored(blobs: Blobs, digest: str) -> bytes:
    return blobs.open(digest).path.read_bytes()


def test_a_model_is_fetched_and_named_after_its_file(site: Site, blobs: Blobs) -> None:
    steps: list[tuple[int, int | None, str]] = []
    model = pull(site.url, blobs, progress=lambda *step: steps.append(step))
    assert (model.name, model.source) == ("small-model", site.url)
    assert stored(blobs, model.blake3) == site.content
    assert (len(site.content), len(site.content), "download") in steps
    assert unfinished(blobs) == []


def test_a_body_without_a_length(site: Site, blobs: Blobs) -> None:
    site.chunked = True
    assert stored(blobs, pull(site.url, blobs).blake3) == site.content


@pytest.mark.parametrize(("etag", "modified"), [('"v1"', None), ('W/"v1"', "Mon, 05 Jan 2026 10:00:00 GMT")])
def test_an_interrupted_download_goes_on(site: Site, blobs: Blobs, etag: str, modified: str | None) -> None:
    site.etag, site.modified = etag, modified
    interrupted(site, blobs)
    assert unfinished(blobs) == [".json", ".part"]
    assert blobs.models() == []
    assert stored(blobs, pull(site.url, blobs).blake3) == site.content
    assert site.seen == [None, f"bytes={HALF}-"]
    assert unfinished(blobs) == []


def test_ctrl_c_keeps_the_part(site: Site, blobs: Blobs) -> None:
    def stop(done: int, total: int | None, label: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(site.url, blobs, progress=stop)
    pull(site.url, blobs)
    assert site.seen[1] is not None


def test_a_changed_file_begins_anew(site: Site, blobs: Blobs) -> None:
    interrupted(site, blobs)
    site.content, site.etag = b"GGUF, the second version " * 100_000, '"v2"'
    assert stored(blobs, pull(site.url, blobs).blake3) == site.content


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": None}, {"shift": 1}])
def test_a_server_that_cannot_resume(site: Site, blobs: Blobs, change: dict[str, object]) -> None:
    if "etag" in change:
        site.etag = None
    interrupted(site, blobs)
    for name, value in change.items():
        setattr(site, name, value)
    assert stored(blobs, pull(site.url, blobs).blake3) == site.content


def test_a_partial_answer_of_another_version_is_not_glued_on(site: Site, blobs: Blobs) -> None:
    interrupted(site, blobs)
    site.headers = {"ETag": '"v2"'}
    assert stored(blobs, pull(site.url, blobs).blake3) == site.content
    assert site.seen == [None, f"bytes={HALF}-", None]


def test_a_download_that_was_complete_is_only_confirmed(site: Site, blobs: Blobs) -> None:
    def stop(done: int, total: int | None, label: str) -> None:
        if label == "check":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(site.url, blobs, progress=stop)
    assert stored(blobs, pull(site.url, blobs).blake3) == site.content
    assert site.seen == [None, f"bytes={len(site.content)}-"]


def test_a_part_longer_than_the_file_begins_anew(site: Site, blobs: Blobs) -> None:
    interrupted(site, blobs)
    part = next(blobs.temporary_folder.glob("*.part"))
    part.write_bytes(site.content + b"more")
    assert stored(blobs, pull(site.url, blobs).blake3) == site.content


@pytest.mark.parametrize("notes", [b"", b"[]", b'{"validator": 1, "total": 2}', b'{"validator": "a\\nb", "total": 2}'])
def test_damaged_notes_begin_anew(site: Site, blobs: Blobs, notes: bytes) -> None:
    interrupted(site, blobs)
    next(blobs.temporary_folder.glob("*.json")).write_bytes(notes)
    assert stored(blobs, pull(site.url, blobs).blake3) == site.content
    assert site.seen == [None, None]


@pytest.mark.parametrize("status", [404, 401, 500, 416])
def test_refusals_of_the_server(site: Site, blobs: Blobs, status: int) -> None:
    site.status = status
    with pytest.raises(FetchError) as caught:
        pull(site.url, blobs)
    assert caught.value.hint


@pytest.mark.parametrize("location", ["http://example.org/m.gguf", "ftp://127.0.0.1/m.gguf", "http://[", "/again"])
def test_redirects_to_places_without_encryption_and_in_circles(site: Site, blobs: Blobs, location: str) -> None:
    site.status, site.headers = 302, {"Location": location}
    with pytest.raises(VerityError) as caught:
        pull(site.url, blobs)
    assert isinstance(caught.value, FetchError | UsageError)
    assert len(site.seen) <= 8


def test_a_redirect_is_followed(site: Site, blobs: Blobs, content: bytes) -> None:
    with serving(Site(b"", status=307, headers={"Location": site.url})) as first:
        model = pull(first.url, blobs)
    assert stored(blobs, model.blake3) == content


def test_too_large_files_are_refused(site: Site, blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "LARGEST", HALF)
    for site.chunked in (False, True):
        with pytest.raises(FetchError, match="larger than"):
            pull(site.url, blobs)


def test_a_compressed_body_is_refused(site: Site, blobs: Blobs) -> None:
    site.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(FetchError, match="compressed"):
        pull(site.url, blobs)


def test_a_wrong_pin_removes_the_download(site: Site, blobs: Blobs) -> None:
    with pytest.raises(DigestMismatch):
        pull(site.url, blobs, blake3="0" * 64)
    assert unfinished(blobs) == []


def test_a_web_page_is_not_a_model(site: Site, blobs: Blobs) -> None:
    site.content = b"<!doctype html><title>Sign in</title>"
    with pytest.raises(FormatError, match="not a GGUF model file"):
        pull(site.url, blobs)
    assert unfinished(blobs) == []


def test_a_name_moves_when_the_address_serves_other_bytes(site: Site, blobs: Blobs) -> None:
    first = pull(site.url, blobs)
    site.content += b"!"
    second = pull(site.url, blobs)
    assert blobs.models() == [second]
    assert stored(blobs, first.blake3) + b"!" == stored(blobs, second.blake3)


def test_two_at_once_do_not_write_one_file(site: Site, blobs: Blobs) -> None:
    interrupted(site, blobs)
    with next(blobs.temporary_folder.glob("*.part")).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="another process"):
            pull(site.url, blobs)


def test_nobody_answers(site: Site, blobs: Blobs) -> None:
    with pytest.raises(FetchError, match="failed") as caught:
        pull("http://127.0.0.1:1/m.gguf", blobs)
    assert "same command" in caught.value.hint
