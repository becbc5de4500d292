"""Makes a database of schema 1 out of one that the present recorder wrote: what an update finds on a device.

Only the rows that schema 1 knows are carried over; the log's statements, salts and signatures are the real ones.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from verity.log.tree import MemoryTree, hash_leaf
from verity.store.database import DATABASE_FILE
from verity.store.schema import MIGRATIONS

_COPY = (
    "INSERT INTO blobs SELECT * FROM new.blobs",
    "INSERT INTO models SELECT * FROM new.models",
    "INSERT INTO numerics SELECT * FROM new.numerics",
    "INSERT INTO log_entries SELECT position, entry, salt, envelope FROM new.log_entries WHERE epoch = 0",
    "INSERT INTO log_head SELECT 1, origin, size, root, checkpoint FROM new.log_heads WHERE epoch = 0",
    # Schema 1 kept no issuer's request in a receipt.
    "INSERT INTO receipts SELECT id, started_at, secret, intent_position, result_position, "
    "CAST(json_remove(CAST(disclosure AS TEXT), '$.request') AS BLOB) FROM new.receipts",
)


def make_version_1(home: Path, more_receipts: int = 0) -> None:
    """Put a database of schema 1 in the place of the one in ``home``. ``more_receipts`` of 20 KB each, which no log
    entry stands behind, make the migration take longer."""
    new, old = home / DATABASE_FILE, home / "old.db"
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(MIGRATIONS[0])
        connection.execute("ATTACH ? AS new", (str(new),))
        connection.execute("BEGIN")
        for statement in _COPY:
            connection.execute(statement)
        _copy_tree(connection)
        padding = b'{"intent":{"padding":"%s"},"result":{},"tokens":[]}' % (b"x" * 20_000)
        rows = [(f"{n:032x}", "2026-01-01T00:00:00Z", bytes(32), 0, None, padding) for n in range(more_receipts)]
        connection.executemany("INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("PRAGMA user_version=1")
        connection.execute("COMMIT")
    os.replace(old, new)
    new.chmod(0o600)


def _copy_tree(connection: sqlite3.Connection) -> None:
    """Schema 1 had a row for each hash of the tree."""
    entries = connection.execute("SELECT entry FROM log_entries ORDER BY position")
    tree = MemoryTree(hash_leaf(entry) for (entry,) in entries)
    places = [(level, at) for level in range(tree.size.bit_length()) for at in range(tree.size >> level)]
    nodes = [(level, at, tree.node(level, at)) for level, at in places]
    connection.executemany("INSERT INTO log_nodes VALUES (?, ?, ?)", nodes)


def version_of(home: Path) -> int:
    """The schema that a database in a home has now; looking does not migrate it."""
    with contextlib.closing(sqlite3.connect(f"{(home / DATABASE_FILE).as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
