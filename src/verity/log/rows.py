"""What the log's three tables hold, read with suspicion: a damaged row is a LogError, never a wrong answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from verity.errors import FormatError, LogError, SignatureError
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.tree import EMPTY_ROOT, HASH_SIZE

HINT = "keep the damaged file as evidence, then `verity restore` a backup or go on in a new home: a log is never mended"

FIRST = "0" * 64
"""What stands for the preceding leaf's hash in the log's first entry."""


class Stored(msgspec.Struct, frozen=True):
    """An entry as it is kept: the salted digest that is the leaf's data, its salt, and the envelope it stands for.

    Compaction takes salt and envelope away: the leaf stays, and with it every proof.
    """

    index: int
    entry: bytes
    salt: bytes | None
    envelope: bytes | None


class Head(NamedTuple):
    """The verified head. ``checkpoint`` is the signed note, empty for a log without entries."""

    size: int
    root: bytes
    checkpoint: str


def latest_epoch(connection: sqlite3.Connection) -> int:
    """The epoch that the device's log is in: the last that has a head; 0 before there is one."""
    return int(connection.execute("SELECT coalesce(max(epoch), 0) FROM log_heads").fetchone()[0])


def epochs(connection: sqlite3.Connection) -> list[int]:
    """The epochs of the device's log, the first one first."""
    return [int(row[0]) for row in connection.execute("SELECT epoch FROM log_heads ORDER BY epoch")]


class Rows(NamedTuple):
    """The rows of one epoch, over a connection inside a transaction or snapshot: what is read belongs together."""

    connection: sqlite3.Connection
    epoch: int

    def head(self, origin: str, public: bytes) -> Head:
        """The log's head, its signature checked under the device's own key. Raises LogError."""
        # As blobs: SQLite hands out text that is not UTF-8 by raising an error of its own.
        query = "SELECT CAST(origin AS BLOB), size, root, CAST(checkpoint AS BLOB) FROM log_heads WHERE epoch = ?"
        row = self.connection.execute(query, (self.epoch,)).fetchone()
        if row is None:
            return Head(0, EMPTY_ROOT, "")
        stored_origin, size, root, note = row
        try:
            signed = open_checkpoint(note, public)
        except (FormatError, SignatureError) as error:
            raise LogError(f"the log's stored head does not verify: {error}", HINT) from error
        if signed.origin != origin:
            raise LogError(
                f"the database holds the log {signed.origin}, not {origin}", "use the key that it belongs to"
            )
        if stored_origin != origin.encode() or signed != Checkpoint(origin, size, root):
            raise LogError("the log's stored size, root or origin is not the one its signed head states", HINT)
        return Head(size, root, note.decode())

    def entry(self, index: int) -> Stored:
        """The entry at ``index``, which the caller knows to be below the log's size. LogError when it is missing."""
        row = self.connection.execute(f"{_ENTRIES} AND position = ?", (self.epoch, index)).fetchone()
        if row is None:
            raise LogError(f"entry {index} is missing from the log", HINT)
        return Stored(*row)

    def entries(self, start: int, stop: int) -> list[Stored]:
        """The entries from ``start`` up to ``stop``, all of them. Raises LogError when one is missing."""
        query = f"{_ENTRIES} AND position >= ? AND position < ? ORDER BY position"
        entries = [Stored(*row) for row in self.connection.execute(query, (self.epoch, start, stop))]
        for expected, stored in zip(range(start, stop), entries, strict=False):
            if stored.index != expected:
                raise LogError(f"entry {expected} is missing from the log", HINT)
        if len(entries) < stop - start:
            raise LogError(f"entry {start + len(entries)} is missing from the log", HINT)
        return entries

    def every_entry(self) -> Iterator[Stored]:
        """Whatever rows there are, by position, gaps and all."""
        for row in self.connection.execute(f"{_ENTRIES} ORDER BY position", (self.epoch,)):
            yield Stored(*row)

    def find_node(self, level: int, position: int) -> bytes | None:
        query = "SELECT hash FROM log_nodes WHERE epoch = ? AND level = ? AND position = ?"
        row = self.connection.execute(query, (self.epoch, level, position)).fetchone()
        return None if row is None else bytes(row[0])

    def node(self, level: int, position: int) -> bytes:
        """The stored tree, in the form that the proof builders take. Raises LogError."""
        digest = self.find_node(level, position)
        if digest is None or len(digest) != HASH_SIZE:
            raise LogError(f"the log's tree has no sound hash at level {level}, position {position}", HINT)
        return digest

    def count_nodes(self) -> int:
        query = "SELECT COUNT(*) FROM log_nodes WHERE epoch = ?"
        return int(self.connection.execute(query, (self.epoch,)).fetchone()[0])


_ENTRIES = "SELECT position, entry, salt, envelope FROM log_entries WHERE epoch = ?"
