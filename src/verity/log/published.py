"""Heads of this device's log that it showed to others: what its tiles, witnesses and receipts go by.

Every append signs a head. To publish each would tell when the device was at work, and would ask its witnesses for every
entry; so some heads are published, whenever the owner says so. A published head keeps the cosignatures that it got.
"""

from __future__ import annotations

import msgspec

from verity.errors import LogError
from verity.log import note
from verity.log.note import Line
from verity.store.clock import now
from verity.store.database import Database


class Published(msgspec.Struct, frozen=True):
    """A head of an epoch: how many entries it counts, the note with all its signature lines, when it was published,
    and the TPM's word for it (JSON of a HardwareProof), if there is one."""

    epoch: int
    size: int
    checkpoint: str
    published_at: str
    hardware: bytes | None = None


class PublishedHeads:
    """The table ``published``. Raises StoreError when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, epoch: int, size: int, checkpoint: str, hardware: bytes | None = None) -> None:
        """Keep a head, or a newer note of one that is kept: one with more signature lines. Durable on return."""
        upsert = (
            "INSERT INTO published VALUES (?, ?, ?, ?, ?) ON CONFLICT (epoch, size) DO UPDATE SET "
            "checkpoint = excluded.checkpoint, hardware = coalesce(excluded.hardware, hardware)"
        )
        with self._database.transaction() as connection:
            connection.execute(upsert, (epoch, size, checkpoint, now(), hardware))

    def cosign(self, epoch: int, size: int, line: Line) -> None:
        """Add a cosignature to a kept head, whoever adds others meanwhile. A line that its witness gave before stays:
        the earlier time says more. Raises LogError for a head that is not published. Durable on return."""
        row = (epoch, size)
        with self._database.transaction() as connection:
            found = connection.execute("SELECT checkpoint FROM published WHERE epoch = ? AND size = ?", row).fetchone()
            if found is None:
                raise LogError(f"no head of {size} entries is published", "see `verity log publish`")
            said = note.parse(found[0])
            if len(said.lines) >= note.MAX_SIGNATURES:
                raise LogError(f"the head of {size} entries takes no more lines", "publish the next one")
            if all((kept.name, kept.key_id) != (line.name, line.key_id) for kept in said.lines):
                update = "UPDATE published SET checkpoint = ? WHERE epoch = ? AND size = ?"
                connection.execute(update, (str(note.with_lines(said, [line])), *row))

    def latest(self, epoch: int) -> Published | None:
        """The largest published head of an epoch."""
        with self._database.snapshot() as connection:
            row = connection.execute(f"{_HEADS} WHERE epoch = ? ORDER BY size DESC LIMIT 1", (epoch,)).fetchone()
        return Published(*row) if row is not None else None

    def all(self, epoch: int, least: int = 0, limit: int = -1) -> list[Published]:
        """The published heads of an epoch that count at least so many entries, the smallest first, so many at most."""
        query = f"{_HEADS} WHERE epoch = ? AND size >= ? ORDER BY size LIMIT ?"
        with self._database.snapshot() as connection:
            return [Published(*row) for row in connection.execute(query, (epoch, least, limit))]


_HEADS = "SELECT epoch, size, checkpoint, published_at, hardware FROM published"
