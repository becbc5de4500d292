"""The device's published log, for whoever asks over HTTP, and its publication from time to time; see docs/log.md.

What is beyond the published head is not there. Reading has a thread and a database connection of its own, and so has
publishing, which may wait for witnesses: neither holds up answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from verity.errors import Busy, FormatError, VerityError
from verity.identity.device_key import DeviceKey
from verity.log import tiles
from verity.log.tiles import Tile
from verity.published_log import PublishedLog
from verity.store.database import Database

PUBLISH_EVERY_S = 600.0
MAX_WAITING = 64
"""Requests that may wait for the thread that reads."""

_KEPT = 256
"""Full tiles kept in memory: 2 MiB."""

_T = TypeVar("_T")
_log = logging.getLogger("verity.server")


class PublicLog:
    """The published log of the device whose home this is. Every method that reads raises Busy, LogError, StoreError."""

    def __init__(self, home: Path, publish_every_s: float = PUBLISH_EVERY_S) -> None:
        self._home = home
        self._every_s = publish_every_s
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="verity-public-log")
        self._publishing = ThreadPoolExecutor(1, thread_name_prefix="verity-publish")
        self._opened: tuple[Database, PublishedLog] | None = None
        self._task: asyncio.Task[None] | None = None
        self._full: OrderedDict[tuple[int, Tile], bytes] = OrderedDict()
        self._waiting = 0

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Publish the present head, and go on doing so."""
        self._task = asyncio.create_task(self._keep_publishing())

    async def stop(self) -> None:
        """What is being published or read is waited for."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._publishing.shutdown)
        await loop.run_in_executor(self._reading, self._close)
        self._reading.shutdown()

    async def _keep_publishing(self) -> None:
        while True:
            await asyncio.get_running_loop().run_in_executor(self._publishing, self._publish)
            await asyncio.sleep(self._every_s)

    def _publish(self) -> None:
        try:
            with Database.open(self._home) as database:
                PublishedLog(database, DeviceKey.load(self._home)).publish()
        except VerityError as error:  # the next time may be better
            _log.error("the log was not published: %s", error)

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[0].close()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def index(self) -> bytes:
        """``index.json``: the epochs that have a published head."""
        return await self._run(lambda log: log.index())

    async def checkpoint(self, epoch: int) -> bytes | None:
        """The published head of an epoch."""

        def read(log: PublishedLog) -> bytes | None:
            head = log.head(epoch)
            return None if head is None else head.checkpoint.encode()

        return await self._run(read)

    async def tile(self, epoch: int, path: str) -> bytes | None:
        """A tile or a bundle of entries, by its path below the epoch."""
        try:
            tile = tiles.parse_path(path)
        except FormatError:
            return None
        if (known := self._full.get((epoch, tile))) is not None:
            return known
        data = await self._run(lambda log: log.tile(epoch, tile))
        if data is not None and tile.full:
            self._full[epoch, tile] = data
            while len(self._full) > _KEPT:
                self._full.popitem(last=False)
        return data

    async def _run(self, function: Callable[[PublishedLog], _T]) -> _T:
        if self._waiting >= MAX_WAITING:
            raise Busy("too many readers of the log at once", "try again later", 1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, self._call, function)
        finally:
            self._waiting -= 1

    def _call(self, function: Callable[[PublishedLog], _T]) -> _T:
        if self._opened is None:
            database = Database.open(self._home)
            self._opened = database, PublishedLog(database, DeviceKey.load(self._home))
        return function(self._opened[1])
