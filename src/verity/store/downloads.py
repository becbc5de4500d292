"""One file over HTTPS, which goes on where it stopped (RFC 9110: Range §14.2, If-Range §13.1.5, 416 §15.5.17).

The unfinished file is ``<hash of the address>.part``; beside it ``.json`` keeps the validator (ETag or Last-Modified)
of the version that it is a part of. If the server has another version by now, the file begins anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from verity.errors import FetchError, UsageError, VerityError
from verity.store.home import guarded, write_atomically
from verity.store.reading import LARGEST, Progress, too_large
from verity.store.specs import is_loopback

if TYPE_CHECKING:
    import httpx

_REDIRECTS = 8
_MAX_NOTES = 1 << 14
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})")


@contextlib.contextmanager
def downloaded(url: str, folder: Path, progress: Progress | None = None) -> Iterator[Path]:
    """The complete file at ``url``, to be adopted. If the block refuses it (VerityError), it is removed.

    Whatever interrupts the download, Ctrl-C included, leaves the part in ``folder``. Raises FetchError when the server
    cannot be reached, does not have it, or breaks off, and when another process is fetching the same.
    """
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.part"
    with guarded(path), _open_alone(path) as file:
        part = _Part(path, file)
        with _explained(url, part):
            _transfer(url, part, progress)
        try:
            yield path
        except VerityError:
            path.unlink(missing_ok=True)
            raise
        finally:
            if not path.exists():
                part.notes_path.unlink(missing_ok=True)


class _Part:
    """What is here of a file, and which version of it that is."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.file = file
        self.notes_path = path.with_suffix(".json")
        self.size = file.seek(0, os.SEEK_END)
        self.validator, self.total = self._notes()
        if self.validator is None:
            self.begin(None, None)

    def _notes(self) -> tuple[str | None, int | None]:
        try:
            with self.notes_path.open("rb") as file:
                notes = json.loads(file.read(_MAX_NOTES))
            validator, total = notes["validator"], notes["total"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None, None
        sound = isinstance(validator, str) and validator.isascii() and validator.isprintable()
        return validator if sound else None, total if type(total) is int and total >= 0 else None

    def begin(self, validator: str | None, total: int | None) -> None:
        """Forget what is here; what follows is of the version ``validator``, ``total`` bytes long."""
        self.file.truncate(0)
        self.file.seek(0)
        os.fsync(self.file.fileno())  # first: never bytes of one version under the validator of another
        self.size, self.validator, self.total = 0, validator, total
        notes = {"validator": validator, "total": total}
        write_atomically(self.notes_path, json.dumps(notes).encode())

    def append(self, data: bytes) -> None:
        """Add bytes. Raises FetchError above the largest size that is allowed."""
        if self.size + len(data) > LARGEST:
            raise too_large()
        self.file.write(data)
        self.size += len(data)

    @property
    def resumable(self) -> bool:
        return self.size > 0 and self.validator is not None

    def headers(self) -> dict[str, str]:
        """The request headers that ask for the rest, if there is a part."""
        if self.validator is None or self.size == 0:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.validator}


def _open_alone(path: Path) -> IO[bytes]:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held the lock before may have moved the file to its final place: never write to that.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.lstat()):
                    return file
        except BlockingIOError:
            file.close()
            raise FetchError("another process is fetching the same file", "wait for it, then try again") from None
        file.close()


@contextlib.contextmanager
def _explained(url: str, part: _Part) -> Iterator[None]:
    import httpx

    try:
        with guarded(part.notes_path.parent):
            yield
            part.file.flush()
    except httpx.InvalidURL as error:
        raise UsageError(f"{_shown(url)} is not an address: {error}", "check it") from error
    except httpx.HTTPError as error:
        raise FetchError(f"fetching {_shown(url)} failed: {error or type(error).__name__}", _again(part)) from error


def _transfer(url: str, part: _Part, progress: Progress | None) -> None:
    import httpx

    # Identity: lengths and ranges are of the bytes as they are kept. A proxy has no business with loopback.
    headers = {"User-Agent": "verity", "Accept-Encoding": "identity"}
    direct = is_loopback(httpx.URL(url).host)
    timeout = httpx.Timeout(60.0, connect=20.0)
    try:
        client = httpx.Client(headers=headers, timeout=timeout, trust_env=not direct, follow_redirects=False)
    except (ImportError, ValueError) as error:
        raise FetchError(f"the proxy settings cannot be used: {error}", "check HTTPS_PROXY and ALL_PROXY") from error
    with client:
        for _ in range(2):
            with _answer(client, url, part.headers()) as response:
                if _begins_well(response, part):
                    _receive(response, part, progress)
                    return
                if response.status_code == 416 and part.size and _complete_size(response) == part.size:
                    return
            part.begin(None, None)
    raise FetchError(f"{_shown(url)}: the server's answers contradict each other", "try again later, or elsewhere")


@contextlib.contextmanager
def _answer(client: httpx.Client, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    import httpx

    address = httpx.URL(url)
    local = address.scheme == "http" and is_loopback(address.host)
    for _ in range(_REDIRECTS):
        if address.scheme != "https" and not (local and address.scheme == "http" and is_loopback(address.host)):
            raise FetchError(f"the server leads to {_shown(str(address))}, without encryption", "use another source")
        with client.stream("GET", address, headers=headers) as response:
            if not response.has_redirect_location:
                yield response
                return
            address = address.join(response.headers["Location"])
    raise FetchError(f"{_shown(url)} leads in circles", "check the address")


def _begins_well(response: httpx.Response, part: _Part) -> bool:
    """Whether the body can be written to the part: as its rest (206), or from the start (200)."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        part.begin(_validator(response), int(length) if length.isdecimal() and len(length) < 20 else None)
    elif response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or match[1] is None or int(match[1]) != part.size:
            return False
        if part.total not in (None, int(match[3])) or _validator(response) not in (None, part.validator):
            return False
        part.total = int(match[3])
    elif response.status_code == 416:
        return False
    else:
        raise FetchError(
            f"{_shown(str(response.url))}: the server answers {response.status_code} {response.reason_phrase}".rstrip(),
            "check the address; if it needs an account, download it in a browser and `verity pull FILE`",
        )
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchError("the server sends the file compressed, though asked not to", "use another source")
    if part.total is not None and part.total > LARGEST:
        raise too_large()
    return True


def _receive(response: httpx.Response, part: _Part, progress: Progress | None) -> None:
    # As the pieces come: with a chunk size, what was gathered for the last chunk would be lost when the line breaks.
    for data in response.iter_raw():
        part.append(data)
        if progress is not None:
            progress(part.size, part.total, "download")
    if part.total is not None and part.size != part.total:
        raise FetchError(f"the server sent {part.size} of {part.total} bytes", _again(part))


def _validator(response: httpx.Response) -> str | None:
    """What may stand in If-Range (RFC 9110 §13.1.5): a strong ETag, else Last-Modified."""
    tag: str = response.headers.get("ETag", "")
    if tag.startswith('"') and tag.endswith('"') and len(tag) > 2:
        return tag
    date: str | None = response.headers.get("Last-Modified")
    return date


def _complete_size(response: httpx.Response) -> int | None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[3]) if match is not None and match[1] is None else None


def _again(part: _Part) -> str:
    if part.resumable:
        return "run the same command again: it goes on from where it stopped"
    return "check the connection and run the same command again"


def _shown(url: str) -> str:
    """An address without its query, which may hold a key."""
    return url.partition("?")[0][:200]
