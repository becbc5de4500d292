"""Where a device keeps the steps of its sessions: too many for the database, and never to be had again.

    home/steps/<receipt id>    "verity-steps/1\\n" ‖ (u32 length ‖ sealed chunk) …
    chunk                      (u32 length ‖ bytes of a step) …       (statements/steps.py)

Every chunk is sealed (seal.py) with a key that derives from the receipt's secret. A file is written once, by one
process, and only appended to. What a process that died had not finished to write is a torn end, which a reader leaves
out.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from verity.errors import StoreError
from verity.statements.steps import MAX_BODY_BYTES
from verity.store.home import guarded, sync_folder
from verity.store.seal import OVERHEAD, Broken, Seal

CHUNK_BYTES = 4 << 20
"""A chunk is closed when it has so many bytes."""

_MAGIC = b"verity-steps/1\n"
_DOMAIN = b"verity/kept-steps/v1\x00"
_LENGTH = struct.Struct(">I")
_LARGEST = CHUNK_BYTES + MAX_BODY_BYTES + _LENGTH.size + OVERHEAD
_NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Steps:
    """The steps of one device's receipts."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "steps"

    def writer(self, receipt_id: str, secret: bytes) -> StepWriter:
        """What writes the file of a new receipt. Raises StoreError for what is no receipt's id."""
        return StepWriter(self._path(receipt_id), Seal(secret, _DOMAIN, receipt_id))

    def read(self, receipt_id: str, secret: bytes) -> Iterator[bytes]:
        """The bytes of every step in order, up to the first that was not written whole or was changed; none when there
        is no file. Raises StoreError when it cannot be read."""
        path, seal = self._path(receipt_id), Seal(secret, _DOMAIN, receipt_id)
        with guarded(path), contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
            except FileNotFoundError:
                return
            for number, sealed in enumerate(_sealed(file)):
                try:
                    chunk = seal.open(number, sealed)
                except Broken:
                    return
                yield from _parted(chunk)

    def names(self) -> list[str]:
        """The receipt ids that have a file."""
        with guarded(self._folder), contextlib.suppress(FileNotFoundError):
            return sorted(filter(_NAME.fullmatch, os.listdir(self._folder)))
        return []

    def drop(self, receipt_id: str) -> None:
        """Remove the file of a receipt, if it has one. Raises StoreError."""
        path = self._path(receipt_id)
        with guarded(path):
            path.unlink(missing_ok=True)

    def _path(self, receipt_id: str) -> Path:
        if not _NAME.fullmatch(receipt_id):  # it names a file, and a restored database may hold anything
            raise StoreError(f"{receipt_id[:80]!r} is no receipt's id", "the database is damaged: use another backup")
        return self._folder / receipt_id


class StepWriter:
    """Appends steps to one file, made with the first. After an error nothing more is written: a reader stops at what is
    torn."""

    def __init__(self, path: Path, seal: Seal) -> None:
        self._path = path
        self._seal = seal
        self._descriptor: int | None = None
        self._chunks = 0
        self._sound = True

    def append(self, bodies: Sequence[bytes]) -> None:
        """Write these steps; when this returns, they are durable. Raises StoreError: then they may not be."""
        if not self._sound:
            raise StoreError(f"{self._path} could not be written before", "begin a new session: it is on record so far")
        self._sound = False
        with guarded(self._path):
            if self._descriptor is None:
                self._create()
            assert self._descriptor is not None
            for chunk in _chunks(bodies):
                sealed = self._seal.close(self._chunks, chunk)
                _write_all(self._descriptor, _LENGTH.pack(len(sealed)) + sealed)
                self._chunks += 1
            os.fsync(self._descriptor)
        self._sound = True

    def close(self) -> None:
        """Close the file. Nothing more can be written."""
        self._sound = False
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _create(self) -> None:
        folder = self._path.parent
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(folder.parent)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _write_all(self._descriptor, _MAGIC)
        sync_folder(folder)


def _chunks(bodies: Sequence[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for body in bodies:
        parts += (_LENGTH.pack(len(body)), body)
        size += len(body)
        if size >= CHUNK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def _parted(chunk: bytes) -> Iterator[bytes]:
    """The steps of a chunk, which this device itself sealed."""
    at = 0
    while at < len(chunk):
        (length,) = _LENGTH.unpack_from(chunk, at)
        at += _LENGTH.size
        yield chunk[at : at + length]
        at += length


def _sealed(file: IO[bytes]) -> Iterator[bytes]:
    """What is sealed, one chunk after the other, up to a torn end."""
    if file.read(len(_MAGIC)) != _MAGIC:
        return
    while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        if not OVERHEAD < length <= _LARGEST or len(sealed := file.read(length)) < length:
            return
        yield sealed


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
