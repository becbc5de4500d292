"""The checks of a device: what is not there yet, what is damaged, and that looking changes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest
from memory_signer import MemorySigner

from verity.doctor import device as checks
from verity.doctor import examination
from verity.doctor.examination import CHECKS, examine
from verity.doctor.finding import Finding, Outcome
from verity.engines.scripted import ScriptedEngine
from verity.errors import StoreError
from verity.node import Node
from verity.store.blobs import Blobs
from verity.store.database import Database
from verity.store.pull import pull
from verity.store.schema import MIGRATIONS

MODEL = b"GGUF" + bytes(range(256)) * 100
DEVICE = ("home", "permissions", "disk", "key", "database", "answers", "log", "revocation", "models", "numerics")


@pytest.fixture
def lived_in(home: Path, tmp_path: Path) -> Path:
    """A home with an answer and a model in it."""
    with Node(home, engine=ScriptedEngine()) as node:
        node.ask("Why?", temperature=0)
        (tmp_path / "mine.gguf").write_bytes(MODEL)
        pull(str(tmp_path / "mine.gguf"), node.blobs)
    return home


def find(home: Path, name: str, *, full: bool = False) -> Finding:
    return examine(home, full=full).finding(name)


def content(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file() and "-shm" not in path.name}


def test_where_nothing_is_nothing_is_made(home: Path) -> None:
    found = examine(home)
    assert not home.exists()
    assert {name: found.finding(name).status for name in DEVICE} == {
        **dict.fromkeys(DEVICE, "note"), "disk": found.finding("disk").status
    }  # fmt: skip
    home.mkdir(mode=0o700)
    examine(home, full=True)
    assert list(home.iterdir()) == []


def test_a_key_alone_gets_no_database_and_a_database_alone_no_key(home: Path, tmp_path: Path) -> None:
    with Node(home):
        pass
    shutil.copytree(home, tmp_path / "other")
    for path in home.glob("verity.db*"):
        path.unlink()
    assert find(home, "key").status == "works"
    assert [path.name for path in home.iterdir()] == ["device.key"]
    (tmp_path / "other" / "device.key").unlink()
    assert find(tmp_path / "other", "key").status == "note"
    assert find(tmp_path / "other", "log").status == "note"
    assert not (tmp_path / "other" / "device.key").exists()


def test_a_device_that_is_well(lived_in: Path) -> None:
    before = content(lived_in)
    found = examine(lived_in)
    for name in DEVICE:
        assert found.finding(name).status in (("note",) if name == "numerics" else ("works", "note")), name
    with Node(lived_in) as node:
        assert found.finding("key").sentence == node.key.id
    assert found.finding("log").sentence == "3 entries, every one in its place"
    assert found.finding("answers").sentence == "1 receipts, none without an end"
    assert found.finding("models").sentence == "mine: not touched since last read in full"
    assert found.finding("models").status == "works"
    assert found.finding("database").sentence == f"sound, schema {len(MIGRATIONS)}"
    assert content(lived_in) == before


def test_a_key_that_is_revoked(lived_in: Path) -> None:
    assert "no recovery key" in find(lived_in, "revocation").sentence
    with Node(lived_in) as node:
        node.keyring.name_recovery(MemorySigner(b"r" * 32))
    assert find(lived_in, "revocation").status == "works"
    with Node(lived_in) as node:
        node.keyring.revoke("2026-01-01T00:00:00Z", "stolen")
    finding = find(lived_in, "revocation")
    assert (finding.status, finding.needed) == ("does not work", False)
    assert "verity device events" in finding.hint


def test_a_home_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "home"):
        finding = find(place, "home")
        assert (finding.status, finding.needed) == ("does not work", True)
        assert "VERITY_HOME" in finding.hint
    nobody = examine("~no-such-user/home")
    assert all(nobody.finding(name).status == "does not work" for name in DEVICE)
    assert "not the name of a folder" in nobody.finding("home").sentence


def test_a_home_that_cannot_be_written_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The answer is put in os.access's mouth: for root every folder is writable.
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be made" in find(home, "home").sentence
    home.mkdir()
    assert "cannot" not in find(home, "permissions").sentence
    assert find(home, "home").status == "does not work"


def test_what_others_may_read(lived_in: Path) -> None:
    assert find(lived_in, "permissions").status == "works"
    lived_in.chmod(0o755)
    (lived_in / "verity.db").chmod(0o640)
    (lived_in / "device.key").chmod(0o604)
    found = examine(lived_in)
    assert found.finding("permissions").sentence.endswith("home (0755), device.key (0604), verity.db (0640)")
    assert "chmod -R go=" in found.finding("permissions").hint
    assert "can be read by other users" in found.finding("key").sentence
    assert [f.name for f in found.broken] == ["key", "log"]


def test_somebody_elses_home(lived_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = lived_in.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    assert f"home (belongs to user {owner})" in find(lived_in, "permissions").sentence


@pytest.mark.parametrize(("free", "status"), [(63 << 20, "does not work"), (999 << 20, "note"), (2 << 30, "works")])
def test_free_space(home: Path, free: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, free))
    finding = find(home, "disk")
    assert finding.status == status
    assert f"{free:,} bytes free" in finding.sentence
    assert bool(finding.hint) == (status != "works")


def test_a_key_that_is_none(lived_in: Path) -> None:
    (lived_in / "device.key").write_text("-----BEGIN PRIVATE KEY-----")
    finding = find(lived_in, "key")
    assert (finding.status, finding.needed) == ("does not work", True)
    assert "not a device key" in finding.sentence
    assert "backup" in finding.hint


def test_a_log_whose_key_is_lost(lived_in: Path) -> None:
    (lived_in / "device.key").unlink()
    found = examine(lived_in)
    assert found.finding("key").status == "does not work"
    assert "restore device.key" in found.finding("key").hint
    assert found.finding("log").status == "note"
    assert not (lived_in / "device.key").exists()


def test_another_devices_log(lived_in: Path, tmp_path: Path) -> None:
    with Node(tmp_path / "other"):
        pass
    shutil.copy(tmp_path / "other" / "device.key", lived_in / "device.key")
    assert find(lived_in, "key").status == "works"
    assert find(lived_in, "log").status == "does not work"


def test_a_file_that_is_no_database(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "verity.db").write_bytes(b"not a database, but long enough to be one" * 100)
    found = examine(home)
    for name in ("database", "answers", "log", "models", "numerics"):
        assert found.finding(name).status == "does not work", name
    assert "not a database" in found.finding("database").sentence
    assert found.exit_code == 1


def test_a_damaged_database(lived_in: Path) -> None:
    with sqlite3.connect(lived_in / "verity.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'receipts'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    with (lived_in / "verity.db").open("r+b") as file:
        file.seek((page - 1) * size + 8)
        file.write(b"\xff" * 200)
    finding = find(lived_in, "database")
    assert finding.status == "does not work"
    assert "damaged" in finding.sentence or "malformed" in finding.sentence


@pytest.mark.parametrize(("change", "status"), [(1, "does not work"), (-1, "note")])
def test_a_database_of_another_version(lived_in: Path, change: int, status: str) -> None:
    with sqlite3.connect(lived_in / "verity.db") as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + change}")
    connection.close()
    found = examine(lived_in)
    assert found.finding("database").status == status
    assert found.finding("log").sentence == "not checked: the database is of another version of Verity"
    with sqlite3.connect(lived_in / "verity.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS) + change
    connection.close()


def test_a_damaged_log(lived_in: Path) -> None:
    with sqlite3.connect(lived_in / "verity.db") as connection:
        connection.execute("UPDATE log_entries SET envelope = x'00'")
    connection.close()
    finding = find(lived_in, "log")
    assert (finding.status, finding.needed) == ("does not work", True)
    assert finding.sentence.count(";") <= 3
    assert finding.hint


def test_an_answer_that_was_never_finished(home: Path) -> None:
    with Node(home, engine=ScriptedEngine()) as node:
        node.ask("Why?", temperature=0)
        stream = node.stream("And?", temperature=0)
        next(stream)
        finding = find(home, "answers")
        assert finding.status == "note"
        assert finding.sentence.startswith("1 of 2 receipts")
        stream.close()
    assert find(home, "answers").status == "works"


def test_models_that_are_missing_touched_or_damaged(lived_in: Path) -> None:
    blob = next(path for path in (lived_in / "blobs").rglob("*") if path.is_file())
    assert find(lived_in, "models", full=True).sentence == "mine: every byte as it was"
    before = blob.stat()
    with blob.open("r+b") as file:
        file.write(b"GGUX")
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find(lived_in, "models").status == "works"
    assert find(lived_in, "models", full=True).status == "does not work"
    os.utime(blob, ns=(1, 1))
    touched = find(lived_in, "models")
    assert (touched.status, touched.sentence[:13]) == ("note", "mine: touched")
    assert "--full" in touched.hint
    blob.unlink()
    missing = find(lived_in, "models")
    assert (missing.status, missing.needed) == ("does not work", True)
    assert "verity pull" in missing.hint


@pytest.mark.model
def test_the_numerics_of_the_default_model(model_home: Path) -> None:
    finding = find(model_home, "numerics")
    assert finding.status == "works"
    assert "is exact here: fingerprint" in finding.sentence


def test_numerics_that_are_not_exact(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from verity.engines.numerics import Numerics, write_declared
    from verity.store import catalogue

    home.mkdir(mode=0o700)
    (tmp_path / "mine.gguf").write_bytes(MODEL)
    with Database.open(home) as database:
        digest = pull(str(tmp_path / "mine.gguf"), Blobs(home, database)).blake3
        monkeypatch.setattr(catalogue, "DEFAULT", "mine")
        assert find(home, "numerics").sentence.startswith("not measured yet")
        with database.transaction() as connection:
            write_declared(connection, digest, "ab" * 32, Numerics(exact=False, fingerprint="cd" * 32))
    finding = find(home, "numerics")
    assert finding.status == "note"
    assert "not exact" in finding.sentence


@pytest.mark.parametrize("error", [ZeroDivisionError("x\x1b[2J"), StoreError("said so", "do this"), MemoryError()])
def test_whatever_a_check_raises_is_its_line(home: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: checks.Device) -> Outcome:
        raise error

    replaced = tuple(check._replace(make=fail) for check in CHECKS)
    monkeypatch.setattr(examination, "CHECKS", replaced)
    found = examine(home)
    assert [f.status for f in found.findings] == ["does not work"] * len(CHECKS)
    assert found.exit_code == 1
    assert {f.name for f in found.broken} == {check.name for check in CHECKS if check.needed}
    assert "\x1b" not in str(found)
    if isinstance(error, StoreError):
        assert (found.findings[0].sentence, found.findings[0].hint) == ("said so", "do this")


def test_the_list_of_checks_is_the_one_that_is_documented() -> None:
    assert examination.__doc__ is not None
    assert [check.name for check in CHECKS] == [
        word
        for line in examination.__doc__.splitlines()
        if line.endswith(".py)")
        for word in line.split("  ")[0].split()
    ]
