"""What fuzzing found, kept: each input once ended in an error of Python's own, or took minutes or gigabytes."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sqlite3
import struct
import zipfile
from typing import Any

import pytest

from fuzz import device, files
from fuzz.target import dump, feed, vectors
from fuzz.targets import TARGETS
from verity.errors import FormatError
from verity.store.database import DATABASE_FILE


def edited(path: str, **changes: Any) -> bytes:
    """The published bundle with members of one line of its disclosure changed, or dropped (None)."""
    bundle = json.loads(dump(vectors("receipt")["bundle"]))
    line = next(line for line in bundle["disclosure"]["result"] if line["field"] == path)
    line |= changes
    for name in [name for name, value in changes.items() if value is None]:
        del line[name]
    return dump(bundle)


def damaged(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def archive(method: int, name: str = "a/m.gguf") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as written:
        written.writestr(zipfile.ZipInfo(name), b"GGUF" + bytes(300), method)
    return packed.getvalue()


def moved(offset: int) -> bytes:
    """A wheel whose list says that its member begins at ``offset``."""
    data = archive(zipfile.ZIP_STORED)
    return damaged(data, data.index(b"PK\x01\x02") + 42, struct.pack("<L", offset))


def undecodable() -> bytes:
    data = archive(zipfile.ZIP_STORED, "é.gguf")
    return data.replace("é".encode(), b"\xff\xff")


def database(*statements: str) -> bytes:
    """A device's database after somebody ran ``statements`` on it, each in a connection of its own."""
    data = journalled(files._parts()[DATABASE_FILE])
    for statement in statements:
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.deserialize(data)
            connection.execute("PRAGMA writable_schema=ON")
            connection.execute(statement)
            data = bytes(connection.serialize())
    return data


def journalled(data: bytes) -> bytes:
    """Not in WAL mode, in which nothing can be opened in memory (https://www.sqlite.org/fileformat.html, 1.3.3)."""
    return damaged(data, 18, b"\x01\x01")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
TRIGGER = f"CREATE TRIGGER t BEFORE INSERT ON log_entries BEGIN {ENDLESS}; END"
NULLABLE = "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'log_heads'"
_FOUND = "eyJ2YWxpZGF0b3IiOiJcInZ2MVwiMVwiIiwidG90YWwiOnRydWV9"

FINDINGS: list[tuple[str, str, bytes]] = [
    ("show: a line that is neither opened nor withheld", "show", edited("output/text", value=None, salt=None)),
    ("show: output/tokens is no object", "show", edited("output/tokens", value=[1])),
    ("part-notes: a length of `true`", "part-notes", base64.b64decode(_FOUND)),
    ("part-notes: a length below 0", "part-notes", b'{"validator": "\\"v1\\"", "total": -1}'),
    ("wheel: a member before the file", "wheel", moved(0xFFFFF9D4)),
    ("wheel: a member behind the file", "wheel", moved(0x7FFFFFFF)),
    ("wheel: a name that is not UTF-8", "wheel", undecodable()),
    ("wheel: bzip2", "wheel", archive(zipfile.ZIP_BZIP2)),
    ("wheel: damaged bzip2", "wheel", damaged(archive(zipfile.ZIP_BZIP2), 60, b"\xff" * 9)),
    ("wheel: LZMA", "wheel", archive(zipfile.ZIP_LZMA)),
    ("backup: Deflate that does not unpack", "backup", damaged(files._backups()[4], 500, b"\xff" * 40)),
    ("backup: a member before the file", "backup", damaged(files._backups()[0], -1, b"")),
    ("policy: a key of very many parts", "policy", b"a" + b".a" * 32_000 + b"=1"),
    ("policy: an error as long as the file", "policy", b"[trust]\n" + b"k" * 60_000 + b" = 1"),
    ("bundle: an error as long as the file", "bundle", b'{"' + b"k" * 20_000 + b'": 1}'),
    ("claim: an error as long as the value", "claim", dump(device.plan() | {"kind": "x" * 9000})),
    ("spec: an address whose host is read in two ways", "spec", b"http://pypi:[::1]"),
    ("checkpoint-file: longer than any", "checkpoint-file", b"a" * 70_000),
    ("encrypted: a passphrase that takes 4 GiB", "encrypted",
     b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 22\n" + b"A" * 43 + b"\n--- " + b"A" * 43 + b"\n"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "data"), [f[1:] for f in FINDINGS], ids=[f[0] for f in FINDINGS])
def test_what_was_found(target: str, data: bytes) -> None:
    feed(TARGETS[target], data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: database(TRIGGER), id="a trigger without an end"),
        pytest.param(lambda: database("CREATE VIEW v AS SELECT 1"), id="a view"),
        pytest.param(lambda: database(NULLABLE, "UPDATE log_heads SET checkpoint = NULL"), id="no head"),
        pytest.param(lambda: database("DROP TABLE receipts"), id="a table is missing"),
        pytest.param(lambda: database("PRAGMA user_version = 0"), id="of no version"),
        pytest.param(lambda: damaged(files._parts()[DATABASE_FILE], 3 * 4096, bytes(4096)), id="an empty page"),
        pytest.param(lambda: files._parts()[DATABASE_FILE][:5000], id="cut off"),
    ],
)
def test_a_strangers_database_is_refused_before_it_is_used(data: Any) -> None:
    made = data()
    with pytest.raises(FormatError, match="the backup's database is damaged"):
        files._restored(files._packed(made))
    assert not feed(TARGETS["database"], made)


def test_a_sound_database_of_these_makings_is_restored() -> None:
    assert feed(TARGETS["database"], database())
