"""What a witness keeps beside the heads: its name, the logs that it was told of, and forks that it was shown."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable

import msgspec

from verity.errors import FormatError, UsageError
from verity.log import note
from verity.log.checkpoint import split
from verity.log.evidence import Fork, decode_fork
from verity.log.heads import key_of
from verity.log.note import COSIGNATURE, ED25519, VerifierKey
from verity.log.rows import epochs, key_of_epoch, latest_epoch
from verity.statements.keys import Signer
from verity.store.clock import now
from verity.store.database import Database

MAX_FORKS = 16
"""Pieces of evidence kept of one log: one proves as much as a thousand, and its key can make as many as it likes."""


def choose_name(database: Database, signer: Signer, name: str | None = None) -> VerifierKey:
    """The key by which this device witnesses, under a name that is chosen once and kept.

    A cosignature does not commit to the witness's name, so a key must have one (tlog-cosignature). Raises UsageError
    for another name than before, and on a device that was restored: its backup lost what it cosigned since.
    """
    if name is not None:
        note.check_name(name, "the witness's name")
    with database.transaction() as connection:
        if _was_restored(connection, signer.public):
            raise UsageError(
                "a device that was restored from a backup cannot be a witness: it forgot what it cosigned since",
                "run the witness in a new home (--home): it gets a new key",
            )
        row = connection.execute("SELECT name FROM witness_self").fetchone()
        kept = row[0] if row is not None else name or f"verity/{signer.public.hex()}/witness"
        if name not in (None, kept):
            raise UsageError(f"this witness is named {kept}, and a key keeps its name", "use a new home for a new name")
        if row is None:
            connection.execute("INSERT INTO witness_self VALUES (1, ?)", (kept,))
    return VerifierKey(kept, COSIGNATURE, signer.public)


def _was_restored(connection: sqlite3.Connection, public: bytes) -> bool:
    """Whether this key was in use before the log's present epoch, or may have been: all but a key that took the place
    of another (verity/rotation.py) begin in epoch 0."""
    latest = latest_epoch(connection)
    if latest == 0:
        return False
    of_key = [epoch for epoch in epochs(connection) if key_of_epoch(connection, epoch) == public]
    return of_key != [latest] or key_of_epoch(connection, latest - 1) is None


class KnownLogs:
    """The logs that a witness was told of: origins, each with the keys that may sign its heads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: VerifierKey, origin: str | None = None) -> str:
        """Know a log, or a further key of one. Returns its origin (default: the key's name).

        Raises UsageError for a key that signs no log, or is another than the one that the origin names.
        """
        origin = origin if origin is not None else key.name
        note.check_name(origin, "the log's origin")
        if key.kind != ED25519:
            raise UsageError("this is the key of a witness", "a log's key is of kind 1, whose base64 begins with A")
        named = key_of(origin)
        if named is not None and named.public != key.public:
            raise UsageError(f"the log {origin} names another key", "a device's log has its key in its origin")
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO witness_logs VALUES (?, ?, ?)", (origin, str(key), now()))
        return origin

    def remove(self, origin: str) -> None:
        """Cosign no more heads of a log. Its last head stays kept, for whenever it is added again."""
        with self._database.transaction() as connection:
            if connection.execute("DELETE FROM witness_logs WHERE origin = ?", (origin,)).rowcount == 0:
                raise UsageError(f"the witness was not told of a log {origin}", "see `verity witness list`")

    def all(self) -> list[tuple[str, VerifierKey]]:
        """Origins with their keys, in order."""
        with self._database.snapshot() as connection:
            rows = connection.execute("SELECT origin, vkey FROM witness_logs ORDER BY origin, vkey").fetchall()
        return [(origin, note.parse_key(vkey)) for origin, vkey in rows]

    @staticmethod
    def keys(connection: sqlite3.Connection, origin: str) -> list[VerifierKey]:
        """The keys of one log; none when the witness was not told of it."""
        rows = connection.execute("SELECT vkey FROM witness_logs WHERE origin = ? ORDER BY vkey", (origin,))
        return [note.parse_key(vkey) for (vkey,) in rows]


class KeptFork(msgspec.Struct, frozen=True):
    """Evidence that was kept, and when it was found."""

    id: str
    origin: str
    found_at: str
    fork: Fork


def keep_fork(connection: sqlite3.Connection, origin: str, fork: Fork) -> bool:
    """Keep evidence, inside the caller's transaction; False when it is known, or enough of this log is."""
    bodies = "\n".join(split(text, extensions=True)[1].body for text in fork.checkpoints)
    name = hashlib.sha256(bodies.encode()).hexdigest()
    (count,) = connection.execute("SELECT count(*) FROM witness_forks WHERE origin = ?", (origin,)).fetchone()
    if count >= MAX_FORKS:
        return False
    row = (name, origin, now(), fork.encode())
    return connection.execute("INSERT OR IGNORE INTO witness_forks VALUES (?, ?, ?, ?)", row).rowcount == 1


def kept_forks(database: Database) -> Iterable[KeptFork]:
    """All evidence, in the order in which it was found. Raises FormatError for a damaged row."""
    with database.snapshot() as connection:
        rows = connection.execute("SELECT id, origin, found_at, fork FROM witness_forks ORDER BY rowid").fetchall()
    for name, origin, found_at, data in rows:
        try:
            yield KeptFork(name, origin, found_at, decode_fork(data))
        except FormatError as error:
            raise FormatError(f"the evidence {name} is damaged: {error}") from error
