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


def shifted(data: bytes) -> bytes:
    """The same archive, whose end says that the list of members stands 100 bytes further on: so begins the first member
    100 bytes before the file."""
    end = data.rindex(b"PK\x05\x06") + 16
    return damaged(data, end, struct.pack("<L", struct.unpack("<L", data[end : end + 4])[0] + 100))


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


def wordy_plan() -> bytes:
    plan = device.plan()
    plan["intent"]["model"]["k" * 9000] = 1
    return dump(plan)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
TRIGGER = f"CREATE TRIGGER t BEFORE INSERT ON log_entries BEGIN {ENDLESS}; END"
NULLABLE = "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'log_heads'"
_KEY = (
    "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1DNENBUUF3QlFZREsyVnhCQ0lFSUREREdqQkFYT280NmxGVVFQWUJBQmhMZE0wNFJTa2wwVGxyVnlSVE8wSm0K"
    "LS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo="
)
_FOUND = "eyJ2YWxpZGF0b3IiOiJcInZ2MVwiMVwiIiwidG90YWwiOnRydWV9"

FINDINGS: list[tuple[str, str, bytes]] = [
    ("show: a line that is neither opened nor withheld", "show", edited("output/text", value=None, salt=None)),
    ("show: output/tokens is no object", "show", edited("output/tokens", value=[1])),
    ("part-notes: a length of `true`", "part-notes", base64.b64decode(_FOUND)),
    ("part-notes: a length below 0", "part-notes", b'{"validator": "\\"v1\\"", "total": -1}'),
    ("wheel: a name that is not UTF-8", "wheel", undecodable()),
    ("wheel: damaged bzip2", "wheel", damaged(archive(zipfile.ZIP_BZIP2), 60, b"\xff" * 9)),
    ("backup: Deflate that does not unpack", "backup", damaged(files._backups()[4], 500, b"\xff" * 40)),
    ("key: an Ed448 key of 32 bytes", "key", base64.b64decode(_KEY)),
    ("policy: an error as long as the file", "policy", b"[trust]\n" + b"k" * 60_000 + b" = 1"),
    ("bundle: an error as long as the file", "bundle", b'{"' + b"k" * 20_000 + b'": 1}'),
    ("spec: an address whose host is read in two ways", "spec", b"http://pypi:[::1]"),
    ("checkpoint-file: longer than any", "checkpoint-file", b"a" * 70_000),
    ("wheel: a member before the file", "wheel", shifted(archive(zipfile.ZIP_STORED))),
    ("claim: an error as long as the value", "claim", wordy_plan()),
]  # fmt: skip


@pytest.mark.parametrize(("target", "data"), [f[1:] for f in FINDINGS], ids=[f[0] for f in FINDINGS])
def test_what_was_found(target: str, data: bytes) -> None:
    feed(TARGETS[target], data)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_are_stored_or_deflated(method: int) -> None:
    for target, data in (("wheel", archive(method)), ("backup", files._packed(files._parts()[DATABASE_FILE], method))):
        with pytest.raises(FormatError, match="neither stored nor deflated"):
            TARGETS[target].run(data)


def test_a_key_of_very_many_parts_is_not_parsed() -> None:
    # tomllib took 27 s and 4 GB for 64 KB of it.
    for parts, read in ((30, True), (33, False), (32_000, False)):
        assert feed(TARGETS["policy"], b"[pin]\na" + b' . "a"' * parts + b" = 1") == read
    assert feed(
        TARGETS["policy"], b"[pin]\na = '" + b"a." * 100 + b"' # b" + b".b" * 100 + b'\nb = "\\"' + b".c" * 99 + b'"'
    )


def test_a_passphrase_may_not_take_all_memory() -> None:
    stanza = b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA %d\n" + b"A" * 43 + b"\n--- " + b"A" * 43 + b"\n"
    for factor in (22, 30, 63, 999):
        with pytest.raises(FormatError, match="asks for more than 2 GiB of memory"):
            TARGETS["encrypted"].run(stanza % factor)


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
        pytest.param(
            lambda: files._parts()[DATABASE_FILE].replace(b"CREATE TABLE", b"CREATE TA\xf3LE"), id="not UTF-8"
        ),
    ],
)
def test_a_strangers_database_is_refused_before_it_is_used(data: Any) -> None:
    made = data()
    with pytest.raises(FormatError, match="the backup's database is damaged"):
        files._restored(files._packed(made))
    assert not feed(TARGETS["database"], made)


def test_a_sound_database_of_these_makings_is_restored() -> None:
    assert feed(TARGETS["database"], database())
