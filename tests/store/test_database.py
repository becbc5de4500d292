"""The database: transactions that hold or vanish, and files that it refuses to touch."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from verity.errors import StoreError
from verity.store.database import Database
from verity.store.schema import MIGRATIONS

_INSERT = "INSERT INTO numerics VALUES ('m', ?, 'f', 1, 0, '2026-01-01T00:00:00Z')"


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = Database.open(home)
    yield opened
    opened.close()


def _settings(database: Database) -> list[str]:
    with database.snapshot() as connection:
        return [row[0] for row in connection.execute("SELECT setting FROM numerics ORDER BY setting")]


def test_a_transaction_is_there_for_the_next_opener(database: Database, home: Path) -> None:
    with database.transaction() as connection:
        connection.execute(_INSERT, ("a",))
    second = Database.open(home)
    assert _settings(second) == ["a"]
    second.close()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_transaction_leaves_nothing(database: Database, error: type[BaseException]) -> None:
    def write_and_fail() -> None:
        with database.transaction() as connection:
            connection.execute(_INSERT, ("a",))
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert _settings(database) == []
    with database.transaction() as connection:
        connection.execute(_INSERT, ("b",))
    assert _settings(database) == ["b"]


def test_a_rule_of_the_schema_that_is_broken_rolls_back(database: Database) -> None:
    def write_a_model_without_its_blob() -> None:
        with database.transaction() as connection:
            connection.execute(_INSERT, ("a",))
            connection.execute("INSERT INTO models VALUES ('m', 'missing', 's', 't')")

    with pytest.raises(StoreError, match="FOREIGN KEY"):
        write_a_model_without_its_blob()
    assert _settings(database) == []


def test_a_snapshot_does_not_see_later_writes(database: Database, home: Path) -> None:
    other = Database.open(home)
    with database.snapshot() as connection:
        assert connection.execute("SELECT count(*) FROM numerics").fetchone() == (0,)
        with other.transaction() as writer:
            writer.execute(_INSERT, ("a",))
        assert connection.execute("SELECT count(*) FROM numerics").fetchone() == (0,)
    other.close()
    assert _settings(database) == ["a"]


def test_the_file_is_for_its_owner_only(database: Database) -> None:
    assert database.path.stat().st_mode & 0o777 == 0o600


def test_a_newer_schema_is_refused(database: Database, home: Path) -> None:
    with database.transaction() as connection:
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    with pytest.raises(StoreError, match="newer Verity") as caught:
        Database.open(home)
    assert "update" in caught.value.hint


def test_a_file_that_is_no_database_is_refused_and_kept(home: Path) -> None:
    (home / "verity.db").write_bytes(b"these are not the bytes of a database " * 40)
    with pytest.raises(StoreError, match="cannot be used"):
        Database.open(home)
    assert (home / "verity.db").read_bytes().startswith(b"these are not")


def test_a_damaged_page_is_a_store_error(database: Database, home: Path) -> None:
    database.close()
    path = home / "verity.db"
    data = bytearray(path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="cannot be used"):
        Database.open(home)


def test_a_home_that_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be used"):
        Database.open(tmp_path / "file")


def test_a_failed_migration_leaves_the_old_version(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database.open(home).close()
    broken = (*MIGRATIONS, "CREATE TABLE extra (x TEXT); CREATE TABLE extra (x TEXT)")
    monkeypatch.setattr("verity.store.database.MIGRATIONS", broken)
    with pytest.raises(StoreError, match="already exists"):
        Database.open(home)
    connection = sqlite3.connect(home / "verity.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone() == (0,)
    connection.close()


OPEN = """
import sys, time
from pathlib import Path
from verity.store.database import Database
print("ready", flush=True)
sys.stdin.read()
Database.open(Path(sys.argv[1])).close()
"""


@pytest.mark.parametrize("round_", range(3))
def test_first_commands_at_once_all_get_the_database(tmp_path: Path, round_: int) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(6)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, errors


def test_opening_it_again_does_not_drop_the_locks_of_this_process(home: Path) -> None:
    """POSIX locks are gone when any descriptor of the file is closed; another process could then take it away."""
    code = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=0)\n"
        "print(connection.execute('PRAGMA journal_mode=DELETE').fetchone()[0])"
    )
    with Database.open(home) as first:
        with first.snapshot() as connection:
            connection.execute("SELECT count(*) FROM models").fetchone()
        Database.open(home).close()
        run = subprocess.run([sys.executable, "-c", code, str(first.path)], capture_output=True, text=True, timeout=60)
    assert "delete" not in run.stdout
    assert "locked" in run.stderr
