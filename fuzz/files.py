"""Files that come from elsewhere: keys, wheels, backups; and what a web server answers."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import shutil
import sqlite3
import struct
import zipfile
from typing import Any

import httpx
import pyrage

from fuzz import device
from fuzz.target import Target, dump, scratch, written
from verity.backup import FORMAT, restore
from verity.engines.scripted import ScriptedEngine
from verity.errors import FetchError, FormatError, LogError, SignatureError, StoreError, UsageError
from verity.identity.device_key import KEY_FILE, DeviceKey
from verity.node import Node
from verity.statements.strict import parse_json
from verity.store.database import DATABASE_FILE
from verity.store.downloads import _begins_well, _Part
from verity.store.gguf_header import parse_metadata
from verity.store.packages import extract_model

_PASSPHRASE = "open sesame"
_count = itertools.count()


def _key(data: bytes) -> None:
    home = scratch() / "key"
    home.mkdir(exist_ok=True)
    path = home / KEY_FILE
    path.write_bytes(data)
    path.chmod(0o600)
    assert len(DeviceKey.load(home).sign(b"")) == 64
    path.unlink()


def _gguf(data: bytes) -> None:
    metadata = parse_metadata(data)
    assert all(isinstance(key, str) for key in metadata)
    assert sum(len(key) for key in metadata) <= len(data)


def _adapters() -> list[bytes]:
    """An adapter's head, as ggml's docs/gguf.md has it: a text, a number, a truth value, arrays."""
    text = struct.pack("<Q", 7) + b"adapter"
    entries = [
        struct.pack("<I", 8) + text,
        struct.pack("<If", 6, 4.0),
        struct.pack("<I?", 7, True),
        struct.pack("<IIQ", 9, 8, 2) + text * 2,
        struct.pack("<IIQ4Q", 9, 10, 4, 1, 2, 3, 4),
    ]
    keyed = b"".join(struct.pack("<Q", 1) + bytes([97 + i]) + entry for i, entry in enumerate(entries))
    return [b"GGUF" + struct.pack("<IQQ", version, 0, len(entries)) + keyed for version in (1, 2, 3)]


def _wheel(data: bytes) -> None:
    writer = io.BytesIO()
    name = extract_model(written("a-1-py3-none-any.whl", data), None, writer)
    assert name.lower().endswith(".gguf")
    assert "/" not in name
    # What is written was paid for: Deflate makes at most 1,032 bytes of one.
    assert len(writer.getvalue()) <= 1100 * len(data)


def _restored(data: bytes, passphrase: str | None = None) -> None:
    home = scratch() / f"home-{next(_count)}"
    try:
        notes, origin = restore(written("device.backup", data), home, passphrase)
        assert origin.startswith(f"verity/{notes.device}/")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    left = [path.name for path in scratch().iterdir() if path.name.startswith(".restoring-")]
    assert not left, "a restore that failed left something behind"


def _database(data: bytes) -> None:
    """A sound backup of whatever the database is."""
    _restored(_packed(data))


def _encrypted(data: bytes) -> None:
    _restored(data, _PASSPHRASE)


def _part_notes(data: bytes) -> None:
    written("a.json", data)
    with written("a.part", b"some").open("r+b") as file:
        part = _Part(scratch() / "a.part", file)
        assert part.total is None or (type(part.total) is int and part.total >= 0)
        request = httpx.Request("GET", "https://example.org/a", headers=part.headers())
        assert set(request.headers) <= {"host", "range", "if-range"}
        assert part.size in (0, 4)


def _answer(data: bytes) -> None:
    try:
        said = parse_json(data, limit=1 << 16, what="answer")
        headers = [(str(name).encode("latin-1", "replace"), str(value).encode()) for name, value in said["headers"]]
        response = httpx.Response(
            said["status"], headers=headers, request=httpx.Request("GET", "https://example.org/a")
        )
        assert isinstance(response.status_code, int)
    except (FormatError, ValueError, TypeError, LookupError, AssertionError):
        return
    written("b.json", _NOTES[0])
    with written("b.part", b"some").open("r+b") as file:
        part = _Part(scratch() / "b.part", file)
        if _begins_well(response, part):
            assert part.size == (0 if response.status_code == 200 else 4)
            assert part.total is None or part.total >= 0


@functools.cache
def _parts() -> dict[str, bytes]:
    """A device's key and database, with a few receipts."""
    home = scratch() / "device"
    home.mkdir()
    (home / KEY_FILE).write_bytes(_pem())
    (home / KEY_FILE).chmod(0o600)
    with Node(home, engine=ScriptedEngine("Blue.")) as node:
        node.ask("Why?", temperature=0.0)
        node.ask("And why?", temperature=0.0)
    with sqlite3.connect(home / DATABASE_FILE) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return {KEY_FILE: _pem(), DATABASE_FILE: (home / DATABASE_FILE).read_bytes()}


def _pem() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return device.key()._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _packed(database: bytes, method: int = zipfile.ZIP_STORED, **wrong: Any) -> bytes:
    files = {KEY_FILE: _pem(), DATABASE_FILE: database}
    measured = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}
    notes = {"format": FORMAT, "device": device.key().id, "made_at": "2026-01-02T03:04:05Z",
             "origin": f"verity/{device.key().id}/0", "size": 5, "files": measured} | wrong  # fmt: skip
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in {"backup.json": dump(notes), **files}.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return packed.getvalue()


def _archive(method: int, *names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"GGUF" + bytes(300), method)
    return packed.getvalue()


def _wheels() -> list[bytes]:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    one = [_archive(method, "a/m.gguf", "a/__init__.py") for method in methods]
    return [*one, _archive(0, "é.gguf"), _archive(0, "a.gguf", "b.gguf"), b"PK\x05\x06" + bytes(18), b""]


def _backups() -> list[bytes]:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    small = [_packed(b"SQLite format 3\0" + bytes(84), method) for method in methods]
    whole = _packed(_parts()[DATABASE_FILE], zipfile.ZIP_DEFLATED)
    return [*small, whole, _packed(b"", format="verity-backup/2"), _packed(b"", files={})]


def _secret_backups() -> list[bytes]:
    stanza = b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA %d\n" + b"A" * 43 + b"\n--- " + b"A" * 43 + b"\n"
    encrypted = pyrage.passphrase.encrypt(_packed(b"SQLite format 3\0"), _PASSPHRASE)
    return [encrypted.replace(b" 1", b" 0", 1), stanza % 2, stanza % 2 + bytes(64), encrypted[:60]]


def _keys() -> list[bytes]:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    pkcs8, openssl = PrivateFormat.PKCS8, PrivateFormat.OpenSSH
    others: list[Any] = [
        ec.generate_private_key(ec.SECP256R1()),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
    ]
    plain = [other.private_bytes(Encoding.PEM, pkcs8, NoEncryption()) for other in others]
    own = device.key()._private
    locked = own.private_bytes(Encoding.PEM, pkcs8, BestAvailableEncryption(b"x"))
    return [_pem(), *plain, locked, own.private_bytes(Encoding.PEM, openssl, NoEncryption()), b"", _pem() * 2]


_ANSWERS = [
    {"status": 200, "headers": [["Content-Length", "9"], ["ETag", '"v1"']]},
    {"status": 206, "headers": [["Content-Range", "bytes 4-8/9"], ["ETag", '"v1"']]},
    {"status": 206, "headers": [["Content-Range", "bytes */9"]]},
    {"status": 416, "headers": [["Content-Range", "bytes */4"]]},
    {"status": 200, "headers": [["Content-Encoding", "gzip"], ["Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT"]]},
    {"status": 404, "headers": []},
]
_NOTES = [b'{"validator": "\\"v1\\"", "total": 9}', b'{"validator": null, "total": null}', b"{", b"[]"]
_RESTORE = (FormatError, StoreError, LogError, UsageError, SignatureError)

TARGETS = [
    Target("gguf", "what a GGUF file says of itself", _gguf, _adapters, (FormatError,)),
    Target("key", "device keys (PEM)", _key, _keys, (StoreError,)),
    Target("wheel", "wheels that carry a model", _wheel, _wheels, (FormatError, FetchError), max_bytes=1 << 16),
    Target("backup", "backups (ZIP), restored", _restored, _backups, _RESTORE, max_bytes=1 << 17, timeout_s=10),
    Target("database", "the database in a sound backup", _database, lambda: [_parts()[DATABASE_FILE]], _RESTORE,
           max_bytes=1 << 18, timeout_s=20),
    Target("encrypted", "backups with a passphrase", _encrypted, _secret_backups, _RESTORE, timeout_s=30, rss_mb=2560),
    Target("part-notes", "notes beside an unfinished download", _part_notes, lambda: _NOTES, (), structured=True),
    Target("answer", "headers of a web server's answer", _answer, lambda: [dump(a) for a in _ANSWERS], (FetchError,),
           structured=True),
]  # fmt: skip
