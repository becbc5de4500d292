"""Publishes heads of this device's log: what its tiles, its witnesses and the proofs of its receipts go by."""

from __future__ import annotations

from verity.log import note
from verity.log.checkpoint import split
from verity.log.device_log import DeviceLog
from verity.log.published import Published, PublishedHeads
from verity.store.database import Database


class Publisher:
    """The published heads of one epoch of a device's log."""

    def __init__(self, database: Database, log: DeviceLog) -> None:
        self._heads = PublishedHeads(database)
        self._log = log

    def publish(self) -> Published:
        """Publish the log's present head; one that is published already keeps the signature lines that it has.

        Raises LogError while the log is empty, StoreError.
        """
        signed = self._log.checkpoint()
        head, said = split(signed)
        known = self._heads.latest(self._log.epoch)
        if known is not None and known.size == head.size:
            said = note.with_lines(said, split(known.checkpoint)[1].lines)
        self._heads.keep(self._log.epoch, head.size, str(said))
        latest = self._heads.latest(self._log.epoch)
        assert latest is not None
        return latest
