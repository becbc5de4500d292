"""What is too large for the database, kept beside it: a file of encrypted chunks for a receipt.

    home/<kind>/<receipt id>    "verity-chunks/1\\n" ‖ (length u32 ‖ ChaCha20-Poly1305 of a chunk) …

The key is HMAC-SHA256(the receipt's secret, domain ‖ kind), the nonce a chunk's number: whoever destroys the secret has
destroyed the chunks too, wherever copies of the file may be. A file is written once, by one process, and only appended
to. What a process that died had not finished to write is a torn end, which a reader leaves out.
"""

from __future__ import annotations

import hmac
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from verity.errors import StoreError
from verity.store.home import guarded, sync_folder

MAX_CHUNK = 64 << 20
"""Bytes of one chunk, before it is encrypted."""

_MAGIC = b"verity-chunks/1\n"
_DOMAIN = b"verity/chunks/v1\x00"
_LENGTH = struct.Struct(">I")
_TAG = 16
_NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Chunks:
    """The files of one ``kind`` (the name of a folder, and part of every key) under a device's home."""

    def __init__(self, home: Path, kind: str) -> None:
        self._folder = home / kind
        self._kind = kind

    def write(self, receipt_id: str, secret: bytes) -> ChunkWriter:
        """A writer of a new file for this receipt, made with its first chunk. Raises StoreError for what is no id."""
        return ChunkWriter(self._path(receipt_id), self._key(secret))

    def read(self, receipt_id: str, secret: bytes) -> Iterator[bytes]:
        """The chunks in order, up to the first that was not written whole or does not open under this secret; none
        when there is no file. Raises StoreError when it cannot be read."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        path, cipher = self._path(receipt_id), ChaCha20Poly1305(self._key(secret))
        with guarded(path):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                return
            with file:
                for number, sealed in enumerate(_sealed(file)):
                    try:
                        chunk = cipher.decrypt(_nonce(number), sealed, None)
                    except InvalidTag:
                        return
                    yield chunk

    def names(self) -> list[str]:
        """The receipt ids that have a file."""
        with guarded(self._folder):
            try:
                return sorted(filter(_NAME.fullmatch, os.listdir(self._folder)))
            except FileNotFoundError:
                return []

    def drop(self, receipt_id: str) -> None:
        """Remove the receipt's file, if there is one. Raises StoreError."""
        path = self._path(receipt_id)
        with guarded(path):
            path.unlink(missing_ok=True)

    def _path(self, receipt_id: str) -> Path:
        if not _NAME.fullmatch(receipt_id):  # it names a file, and a restored database may hold anything
            raise StoreError(f"{receipt_id[:80]!r} is no receipt's id", "the database is damaged: use another backup")
        return self._folder / receipt_id

    def _key(self, secret: bytes) -> bytes:
        return hmac.digest(secret, _DOMAIN + self._kind.encode(), "sha256")


class ChunkWriter:
    """Appends to one file. After an error nothing more is written: a number is never used for two chunks."""

    def __init__(self, path: Path, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._path = path
        self._cipher = ChaCha20Poly1305(key)
        self._descriptor: int | None = None
        self._count = 0
        self._sound = True

    def append(self, chunk: bytes) -> None:
        """Write a chunk (MAX_CHUNK bytes at most); durable after ``sync``. Raises StoreError."""
        if not self._sound:
            raise StoreError(f"{self._path} could not be written before", "what it holds up to there can be read")
        if len(chunk) > MAX_CHUNK:
            raise StoreError(f"a chunk has at most {MAX_CHUNK:,} bytes", "write several")
        sealed = self._cipher.encrypt(_nonce(self._count), chunk, None)
        self._sound = False
        with guarded(self._path):
            if self._descriptor is None:
                self._create()
            assert self._descriptor is not None
            _write_all(self._descriptor, _LENGTH.pack(len(sealed)) + sealed)
        self._count += 1
        self._sound = True

    def sync(self) -> None:
        """Make durable what was written. Raises StoreError; then it may not be, and nothing more is written."""
        if self._descriptor is not None:
            sound, self._sound = self._sound, False
            with guarded(self._path):
                os.fsync(self._descriptor)
            self._sound = sound

    def close(self) -> None:
        """Close the file, whatever is durable of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._sound = False

    def _create(self) -> None:
        if not self._path.parent.is_dir():
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._path.parent.parent)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _write_all(self._descriptor, _MAGIC)
        sync_folder(self._path.parent)


def _sealed(file: IO[bytes]) -> Iterator[bytes]:
    """What is encrypted, one chunk after the other, up to a torn end."""
    if file.read(len(_MAGIC)) != _MAGIC:
        return
    while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        if not _TAG <= length <= MAX_CHUNK + _TAG or len(sealed := file.read(length)) < length:
            return
        yield sealed


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
