"""What this device knows about keys, its own and those of others: events as they were signed, and since when.

An event that this device's own log names is kept without its proof, which is made anew when it is handed out: a later
head may have more cosignatures. Of others' every copy that differs is kept, each with its own time: signatures and
cosignatures can be added and left out by anybody, so no copy may take the place, or the date, of another.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

import msgspec

from verity.errors import LogError, StoreError
from verity.statements.key_events import SignedEvent
from verity.store.clock import now
from verity.store.database import DATABASE_FILE, Database

_COLUMNS = "digest, key, signed, known_at, epoch, position"


class KeptEvent(NamedTuple):
    """An event about ``key`` (64 hex digits), named by its digest. ``epoch`` and ``position`` are where this device's
    own log names it, None if it does not."""

    digest: str
    key: str
    signed: SignedEvent
    known_at: str
    epoch: int | None
    position: int | None


class KeyEventStore:
    """The table ``key_events``. Raises StoreError when the database cannot be used, LogError when a row is damaged."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, digest: str, key: str, signed: SignedEvent, place: tuple[int, int] | None = None) -> bool:
        """Keep an event, durably; whether it was new. Since when a copy is known stays as it is."""
        with self._database.transaction() as connection:
            return self.insert(connection, digest, key, signed, place)

    @staticmethod
    def insert(
        connection: sqlite3.Connection, digest: str, key: str, signed: SignedEvent, place: tuple[int, int] | None
    ) -> bool:
        """The same, in a transaction that is under way."""
        encoded = msgspec.json.encode(signed)
        name = f"{digest}.{hashlib.sha256(encoded).hexdigest()}"
        known = connection.execute(
            "SELECT 1 FROM key_events WHERE digest > ? AND digest < ?", (f"{digest}.", f"{digest}/")
        )
        is_new = known.fetchone() is None
        insert = (
            "INSERT INTO key_events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE "
            "SET epoch = coalesce(excluded.epoch, epoch), position = coalesce(excluded.position, position)"
        )
        connection.execute(insert, (name, key, encoded, now(), *(place or (None, None))))
        return is_new

    def all(self) -> list[KeptEvent]:
        """Every event, in the order in which they became known."""
        with self._database.snapshot() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM key_events ORDER BY known_at, rowid").fetchall()  # noqa: S608
        return [_kept(row) for row in rows]


def _kept(row: tuple[str, str, bytes, str, int | None, int | None]) -> KeptEvent:
    try:
        signed = msgspec.json.decode(row[2], type=SignedEvent)
    except msgspec.DecodeError as error:
        raise LogError(f"a key event that this device kept is damaged: {error}", "`verity restore` a backup") from error
    return KeptEvent(row[0].partition(".")[0], row[1], signed, *row[3:])


def events_in(home: Path) -> list[KeptEvent]:
    """What the device of a home knows, if there is one; nothing is written. Raises StoreError, LogError: a revocation
    that cannot be read must not count as none."""
    path = home / DATABASE_FILE
    if not path.exists():
        return []
    # Where nobody has it open, a read-only folder is no obstacle: SQLite would want to make its journal's index there.
    quiet = "" if path.with_name(f"{DATABASE_FILE}-wal").exists() else "&immutable=1"
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro{quiet}", uri=True, isolation_level=None, timeout=30.0)
        with contextlib.closing(connection):
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'key_events'").fetchone():
                return []
            return KeyEventStore(Database(connection, path)).all()
    except sqlite3.Error as error:
        hint = "`verity doctor` looks at it; without it nobody can say which keys were revoked"
        raise StoreError(f"the database {path} cannot be read: {error}", hint) from error
