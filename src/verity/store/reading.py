"""Reading large files in pieces: their two digests in one pass, and copies, both with progress.

A blob is named by BLAKE3; SHA-256 is kept beside it because hubs and package indexes publish that one. The stamp (size,
modification time, inode) tells cheaply that a file is not the one that was hashed; that it is equal proves nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from blake3 import blake3

from verity.errors import FetchError, StoreError, UsageError

CHUNK = 1 << 20
LARGEST = 64 << 30
"""No model file may be larger (bytes): what a source announces is not believed, what it sends is counted."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Progress(Protocol):
    """Told how far a long step is: bytes done, bytes in all where known, and the step's name."""

    def __call__(self, done: int, total: int | None, label: str, /) -> None: ...


class Stamp(NamedTuple):
    """What the file system says of a file: size in bytes, modification time in ns, inode."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class Measured(NamedTuple):
    """Both digests (lower-case hex) of a file, and its stamp while it was read."""

    blake3: str
    sha256: str
    stamp: Stamp


def measure(path: Path, progress: Progress | None = None, *, label: str = "check", sync: bool = False) -> Measured:
    """Hash the regular file at ``path`` once, both ways; with ``sync`` its bytes are on the disk afterwards.

    Raises OSError when it cannot be read (a symbolic link counts as that) and StoreError when it changed meanwhile.
    """
    blake, sha = blake3(), hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        before = Stamp.of(os.fstat(file.fileno()))
        done = 0
        # A file that grows as fast as it is read must not hold this loop for ever.
        while done <= before.size and (chunk := file.read(CHUNK)):
            blake.update(chunk)
            sha.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, before.size, label)
        if sync:
            os.fsync(file.fileno())
        after = Stamp.of(os.fstat(file.fileno()))
    if before != after or done != after.size:
        raise StoreError(f"{path} was changed while it was being read", "close what writes to it and try again")
    return Measured(blake.hexdigest(), sha.hexdigest(), after)


def copy(reader: IO[bytes], writer: IO[bytes], total: int, label: str, progress: Progress | None = None) -> int:
    """Copy to the end of ``reader`` and return the bytes copied. Raises FetchError above LARGEST; OSErrors pass."""
    done = 0
    while chunk := reader.read(CHUNK):
        done += len(chunk)
        if done > LARGEST:
            raise too_large()
        writer.write(chunk)
        if progress is not None:
            progress(done, total, label)
    writer.flush()
    return done


def copy_file(path: Path, target: Path, label: str, progress: Progress | None = None) -> None:
    """Write the regular file at ``path`` over ``target``. Raises UsageError when it cannot be read or is none,
    FetchError above LARGEST, and OSError when ``target`` cannot take it."""
    try:
        # Non-blocking, so that a pipe in the file's place is refused instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{str(path)[:200]!r} cannot be read ({reason})", "give the path of a file") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is not a regular file", "give the path of a file")
    with os.fdopen(descriptor, "rb") as reader:
        if status.st_size > LARGEST:
            raise too_large()
        with target.open("wb") as writer:
            copy(reader, writer, status.st_size, label, progress)


def too_large() -> FetchError:
    """The error for a source that sends, or announces, more than LARGEST."""
    return FetchError(f"the file is larger than {LARGEST >> 30} GiB", "choose a smaller model")


def normal_digest(text: str, kind: str) -> str:
    """``text`` as 64 lower-case hex digits. Raises UsageError when it is not a digest of 256 bits."""
    digest = text.strip().lower()
    if not _DIGEST.fullmatch(digest):
        raise UsageError(f"{text[:80]!r} is not a {kind} digest", "give all 64 hex digits of it")
    return digest
