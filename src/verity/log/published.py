"""Heads of this device's log that it showed to others: what its tiles, witnesses and receipts go by.

Every append signs a head. To publish each would tell when the device was at work, and would ask its witnesses for every
entry; so some heads are published, whenever the owner says so. A published head keeps the cosignatures that it got.
"""

from __future__ import annotations

import msgspec

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

    def latest(self, epoch: int) -> Published | None:
        """The largest published head of an epoch."""
        found = self.all(epoch)
        return found[-1] if found else None

    def all(self, epoch: int, least: int = 0) -> list[Published]:
        """The published heads of an epoch that count at least so many entries, the smallest first."""
        query = (
            "SELECT epoch, size, checkpoint, published_at, hardware FROM published "
            "WHERE epoch = ? AND size >= ? ORDER BY size"
        )
        with self._database.snapshot() as connection:
            return [Published(*row) for row in connection.execute(query, (epoch, least))]
