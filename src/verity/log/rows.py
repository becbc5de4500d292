"""What the log's three tables hold, read with suspicion: a damaged row is a LogError, never a wrong answer.

The functions take a connection inside a transaction or snapshot, so that what they return belongs together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from verity.errors import FormatError, LogError, SignatureError
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.tree import EMPTY_ROOT, HASH_SIZE, Node

HINT = "keep the damaged file as evidence and go on in a new home: a log is never mended, nor restored from a copy"


FIRST = "0" * 64
"""What stands for the preceding leaf's hash in the log's first entry."""


class Stored(msgspec.Struct, frozen=True):
    """An entry as it is kept: the salted digest that is the leaf's data, its salt, and the envelope it stands for."""

    index: int
    entry: bytes
    salt: bytes
    envelope: bytes


class Head(NamedTuple):
    """The verified head. ``checkpoint`` is the signed note, empty for a log without entries."""

    size: int
    root: bytes
    checkpoint: str


def read_head(connection: sqlite3.Connection, origin: str, public: bytes) -> Head:
    """The log's head, its signature checked under the device's own key. Raises LogError."""
    # As blobs: SQLite hands out text that is not UTF-8 by raising an error of its own.
    query = "SELECT CAST(origin AS BLOB), size, root, CAST(checkpoint AS BLOB) FROM log_head WHERE id = 1"
    row = connection.execute(query).fetchone()
    if row is None:
        return Head(0, EMPTY_ROOT, "")
    stored_origin, size, root, note = row
    try:
        signed = open_checkpoint(note, public)
    except (FormatError, SignatureError) as error:
        raise LogError(f"the log's stored head does not verify: {error}", HINT) from error
    if signed.origin != origin:
        raise LogError(f"the database holds the log {signed.origin}, not {origin}", "open the log with its own epoch")
    if stored_origin != origin.encode() or signed != Checkpoint(origin, size, root):
        raise LogError("the log's stored size, root or origin is not the one its signed head states", HINT)
    return Head(size, root, note.decode())


def read_entry(connection: sqlite3.Connection, index: int) -> Stored:
    """The entry at ``index``, which the caller knows to be below the log's size. Raises LogError when it is missing."""
    row = connection.execute(f"{_ENTRIES} WHERE position = ?", (index,)).fetchone()
    if row is None:
        raise LogError(f"entry {index} is missing from the log", HINT)
    return Stored(*row)


def read_entries(connection: sqlite3.Connection, start: int, stop: int) -> list[Stored]:
    """The entries from ``start`` up to ``stop``, all of them. Raises LogError when one is missing."""
    query = f"{_ENTRIES} WHERE position >= ? AND position < ? ORDER BY position"
    entries = [Stored(*row) for row in connection.execute(query, (start, stop))]
    for expected, stored in zip(range(start, stop), entries, strict=False):
        if stored.index != expected:
            raise LogError(f"entry {expected} is missing from the log", HINT)
    if len(entries) < stop - start:
        raise LogError(f"entry {start + len(entries)} is missing from the log", HINT)
    return entries


def every_entry(connection: sqlite3.Connection) -> Iterator[Stored]:
    """Whatever rows there are, by position, gaps and all."""
    for row in connection.execute(f"{_ENTRIES} ORDER BY position"):
        yield Stored(*row)


def find_node(connection: sqlite3.Connection, level: int, position: int) -> bytes | None:
    query = "SELECT hash FROM log_nodes WHERE level = ? AND position = ?"
    row = connection.execute(query, (level, position)).fetchone()
    return None if row is None else bytes(row[0])


def node_reader(connection: sqlite3.Connection) -> Node:
    """The stored tree, in the form that the proof builders take. The function it returns raises LogError."""

    def node(level: int, position: int) -> bytes:
        digest = find_node(connection, level, position)
        if digest is None or len(digest) != HASH_SIZE:
            raise LogError(f"the log's tree has no sound hash at level {level}, position {position}", HINT)
        return digest

    return node


_ENTRIES = "SELECT position, entry, salt, envelope FROM log_entries"
