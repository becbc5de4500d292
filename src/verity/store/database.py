"""The device's state in one SQLite file: models, adapters, releases, numerics, the log, the private half of receipts.

WAL with ``synchronous=FULL``: a committed transaction survives a power cut. Every write runs in ``BEGIN IMMEDIATE``, so
that two processes of one device take turns; that is what keeps the log from forking.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from verity.errors import StoreError
from verity.store import locks
from verity.store.schema import MIGRATIONS

DATABASE_FILE = "verity.db"


class Database:
    """A connection to the device's database. One per thread; not to be shared between threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def open(cls, home: Path) -> Database:
        """Open (and create or migrate) ``home/verity.db``. Raises StoreError when it cannot be used."""
        path = home / DATABASE_FILE
        with _guarded(path), locks.one_at_a_time(home):  # SQLite's change to WAL does not wait: `database is locked`
            _create(path)
            connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
            database = cls(connection, path)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
                connection.execute("PRAGMA secure_delete=ON")  # what is deleted or moved leaves zeros: see `forget`
                database._migrate()
            except BaseException:
                connection.close()
                raise
        return database

    def _migrate(self) -> None:
        # Read outside a transaction first: opening an up-to-date database must not wait for a writer.
        if self._version() == len(MIGRATIONS):
            return
        with self.transaction() as connection:
            version = self._version()
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"{self.path} was written by a newer Verity (schema {version}, this one knows {len(MIGRATIONS)})",
                    "update Verity, or use another VERITY_HOME",
                )
            for script in MIGRATIONS[version:]:
                # executescript() would commit the transaction it runs in: one statement at a time instead.
                for statement in script.split(";"):
                    if statement.strip():
                        connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block is durable when it ends, or none of it. Other writers wait."""
        with _guarded(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """All reads of the block see one state of the database; writers are not held up."""
        with _guarded(self.path):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def joining(self, connection: sqlite3.Connection) -> Database:
        """This database for parts that write on their own, inside the transaction that ``connection`` is in: what they
        write is durable with it, and undone with it."""
        return _Joined(connection, self.path)

    def copy_to(self, path: Path) -> None:
        """Write one state of the whole database to a new file (mode 0600), whoever writes meanwhile."""
        with _guarded(path):
            _create(path)
            with contextlib.closing(sqlite3.connect(path)) as target:
                self._connection.backup(target)

    def scrub(self) -> None:
        """Leave nothing of what was deleted in the journal either. Raises StoreError while another command reads it."""
        with _guarded(self.path):
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StoreError(
                f"{self.path} is being read by another command, so its journal still holds what was deleted",
                "run the command again when the other has ended",
            )

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()


class _Joined(Database):
    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        yield self._connection

    snapshot = transaction


def _create(path: Path) -> None:
    """Make the file with mode 0600. One that is there is not touched: closing a descriptor of it would drop the locks
    that SQLite holds for this process's other connections (https://www.sqlite.org/howtocorrupt.html, section 2.2)."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"the database {path} cannot be used: {error}",
            "check that the folder is writable and the disk not full, or point VERITY_HOME at another folder",
        ) from error
