"""This device's log as others see it: the published heads and the tiles below them. What is beyond is not there."""

from __future__ import annotations

from pathlib import Path

from verity.errors import UsageError
from verity.identity.device_key import DeviceKey
from verity.log import rows, tile_export
from verity.log.checkpoint import open_checkpoint
from verity.log.device_log import DeviceLog
from verity.log.log_index import Index, listed
from verity.log.published import Published, PublishedHeads
from verity.log.tile_export import Exported
from verity.log.tile_folder import TileFolder
from verity.log.tiles import Tile
from verity.publisher import Publisher
from verity.statements.keys import RetiredKey
from verity.store.database import Database
from verity.store.reading import Progress


class PublishedLog:
    """All epochs of a device's log, over a connection of its own or its caller's. Raises LogError, StoreError."""

    def __init__(self, database: Database, key: DeviceKey) -> None:
        self._database = database
        self._key = key
        self._heads = PublishedHeads(database)

    def epochs(self) -> list[int]:
        with self._database.snapshot() as connection:
            return rows.epochs(connection)

    def head(self, epoch: int) -> Published | None:
        """The largest published head of an epoch."""
        return self._heads.latest(epoch)

    def index(self) -> bytes:
        """``index.json`` (log/log_index.py): the epochs that have a published head."""
        lines = []
        for head in filter(None, map(self.head, self.epochs())):
            public = self._log(head.epoch).public
            lines.append(listed(head.epoch, open_checkpoint(head.checkpoint, public), public))
        return Index(lines).encode()

    def tile(self, epoch: int, tile: Tile) -> bytes | None:
        """A tile or bundle of an epoch; None unless the published head covers all of it."""
        head = self.head(epoch)
        if head is None or not tile.within(head.size):
            return None
        return self._log(epoch).tile(tile)

    def publish(self) -> Published | None:
        """Publish the present head of the log, if it has entries."""
        known = self.epochs()
        return Publisher(self._database, self._log(known[-1])).publish() if known else None

    def export(self, folder: Path, *, publish: bool = False, progress: Progress | None = None) -> list[Exported]:
        """Write all epochs as static files (log/tile_export.py). An epoch without a published head has its head
        published, and with ``publish`` the present one has. Raises UsageError while the log is empty."""
        known = self.epochs()
        if not known:
            raise UsageError("the log is empty: there is nothing to publish", "it gets a head with its first entry")
        logs = [(self._log(epoch), self._head(epoch)) for epoch in known]
        if publish and (head := self.publish()) is not None:
            logs[-1] = (logs[-1][0], head)
        return tile_export.export(TileFolder(folder), logs, progress)

    def _head(self, epoch: int) -> Published:
        return self.head(epoch) or Publisher(self._database, self._log(epoch)).publish()

    def _log(self, epoch: int) -> DeviceLog:
        """The log of an epoch, in which the device may have had another key than now (verity/rotation.py)."""
        with self._database.snapshot() as connection:
            public, latest = rows.key_of_epoch(connection, epoch), rows.latest_epoch(connection)
        is_closed = epoch < latest and public not in (None, self._key.public)
        return DeviceLog(self._database, RetiredKey(public) if is_closed and public else self._key, epoch)
