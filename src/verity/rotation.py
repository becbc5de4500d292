"""Exchanges a device's key for a new one, to which the old passes its trust on; see spec/keys.md and docs/keys.md.

1. The new key is written beside the old, as ``device.key.next``.
2. In one transaction the old log gets its last entry, which names the succession, and the new key's log its first; the
   succession itself, signed by both, is kept. From here on the rotation has happened.
3. The new key takes the old one's place, whose bytes are overwritten.

A crash before 2 leaves a key that nobody uses, and the next rotation takes it; after 2, whoever opens the device next
finds that its log is another key's, which lies ready, and makes step 3.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from verity.errors import LogError, StoreError
from verity.identity.device_key import KEY_FILE, NEXT_KEY_FILE, DeviceKey
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.device_log import DeviceLog
from verity.log.rows import Rows, key_of_epoch, latest_epoch
from verity.log.tree import EMPTY_ROOT
from verity.recorder import Recorder
from verity.statements.key_events import (
    KINDS,
    NAMED,
    SUCCESSION,
    ClosedLog,
    Event,
    SignedEvent,
    Succession,
    read_event,
    sign_event,
)
from verity.statements.keys import Signer
from verity.statements.receipt import EPOCH
from verity.store import locks
from verity.store.clock import now
from verity.store.database import Database
from verity.store.home import guarded, sync_folder
from verity.store.key_events import KeyEventStore

_AGAIN = "wait for it to end, stop `verity serve`, and try again: nothing was changed"


class Rotated(NamedTuple):
    """The keys before and after (64 hex digits), the epoch that was closed, the new log's name, the succession's
    digest, how many promised answers were given up, and where the old key lies if it was to be kept."""

    old: str
    new: str
    closed: int
    log: str
    event: str
    given_up: int
    kept: Path | None


def rotate(
    home: Path, database: Database, log: DeviceLog, key: DeviceKey, recovery: Signer | None = None, *, keep_old: bool
) -> Rotated:
    """Give the device of ``home`` a new key. ``recovery`` signs the succession too, so that it counts even if the old
    key was compromised. Raises StoreError while an answer is under way, LogError when the device changed meanwhile."""
    kept = home / f"{KEY_FILE}.old-{key.id[:8]}" if keep_old else None
    with guarded(home), locks.one_at_a_time(home):
        with database.snapshot() as connection:
            if (latest := latest_epoch(connection)) != log.epoch:
                raise LogError(f"the log goes on in epoch {latest}", "open the device again: it changed meanwhile")
        Recorder(database, log, key).close_orphans()
        successor = DeviceKey.load(home, NEXT_KEY_FILE)
        if kept is not None and not kept.exists():
            os.link(home / KEY_FILE, kept)
            sync_folder(home)
        passing = _Passing(database, log, key, successor)
        event = passing.run([key, successor, *([recovery] if recovery is not None else [])])
        _take_place(home)
    return Rotated(key.id, successor.id, log.epoch, passing.origin, event.digest, passing.given_up, kept)


def settled(home: Path, database: Database, key: DeviceKey) -> DeviceKey:
    """The key of the device, once a rotation that a crash cut off is finished. Raises StoreError, LogError."""
    if _owner(database) in (None, key.public):
        return key
    with guarded(home), locks.one_at_a_time(home):
        key = DeviceKey.load(home)  # another process may have finished it
        if _owner(database) == key.public or not (home / NEXT_KEY_FILE).exists():
            return key
        successor = DeviceKey.load(home, NEXT_KEY_FILE)
        if _owner(database) != successor.public:
            return key
        _take_place(home)
    return successor


def _owner(database: Database) -> bytes | None:
    with database.snapshot() as connection:
        return key_of_epoch(connection, latest_epoch(connection))


class _Passing:
    """Step 2."""

    def __init__(self, database: Database, log: DeviceLog, key: DeviceKey, successor: DeviceKey) -> None:
        self._database = database
        self._log = log
        self._key = key
        self._successor = successor
        self.origin = ""
        self.given_up = 0

    def run(self, signers: list[Signer]) -> Event:
        head = self._head()
        body = Succession(ClosedLog(head.origin, head.root.hex(), head.size), self._successor.id, now())
        envelope = sign_event(self._key.id, body, signers)
        event = read_event(envelope)

        def open_the_new(connection: sqlite3.Connection, index: int) -> None:
            if index != head.size:
                raise StoreError("the device wrote to its log meanwhile", _AGAIN)
            place = (self._log.epoch, index)
            KeyEventStore.insert(connection, event.digest, event.key, SignedEvent(envelope), place)
            self._close_the_old(connection)
            self._begin(connection)

        named = {"event": {"sha256": event.digest, "type": event.type}, "time/started": now()}
        recorder = Recorder(self._database, self._log, self._key)
        recorder.declare(NAMED, KINDS[SUCCESSION], named, open_the_new, shown=True)
        return event

    def _head(self) -> Checkpoint:
        if self._log.size() == 0:
            return Checkpoint(self._log.origin, 0, EMPTY_ROOT)
        return open_checkpoint(self._log.checkpoint(), self._log.public)

    def _close_the_old(self, connection: sqlite3.Connection) -> None:
        """Nobody goes on with what was under way: it could only be finished in a log that takes no more."""
        if connection.execute("SELECT 1 FROM receipts WHERE state = 'open' LIMIT 1").fetchone():
            raise StoreError("an answer is being written", _AGAIN)
        self.given_up = connection.execute("UPDATE receipts SET state = 'done' WHERE state != 'done'").rowcount
        connection.execute("DELETE FROM requests WHERE revealed IS NULL")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """The first entry of the new key's log, in the same transaction."""
        closed = Rows(connection, self._log.epoch).head(self._log.origin, self._log.public)
        joined = self._database.joining(connection)
        log = DeviceLog(joined, self._successor, self._log.epoch + 1)
        fields: dict[str, Any] = {
            "epoch": {"number": log.epoch, "reason": "key rotated"},
            "previous_log": {"origin": self._log.origin, "size": closed.size, "root": closed.root.hex()},
            "time/started": now(),
        }
        Recorder(joined, log, self._successor).declare(EPOCH, "epoch", fields)
        self.origin = log.origin


def _take_place(home: Path) -> None:
    """Step 3. The old key's bytes go, if no other name of the file is left; a flash disk may keep worn copies."""
    descriptor = None
    with contextlib.suppress(OSError):  # its owner may have taken the right to write away
        descriptor = os.open(home / KEY_FILE, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.replace(home / NEXT_KEY_FILE, home / KEY_FILE)
        sync_folder(home)
        if descriptor is not None and os.fstat(descriptor).st_nlink == 0:
            os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
            os.fsync(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)
