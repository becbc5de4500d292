"""The one thread that writes: an intent before an answer begins, its result when it is over, and reads bundles.

It has a device of its own, so that no disk holds up the thread that computes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from verity.errors import Busy
from verity.node import Node

_T = TypeVar("_T")


class Desk:
    """Runs functions on its device, one after the other, in the order of asking."""

    def __init__(self, open_node: Callable[[], Node]) -> None:
        self._open_node = open_node
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verity-desk")
        self._node: Node | None = None
        self._closed = False

    async def run(self, function: Callable[[Node], _T]) -> _T:
        """What ``function`` returns or raises. Raises Busy once the desk is closed."""
        if self._closed:
            raise Busy("the server is shutting down", "try again later", 5.0)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, function)

    async def close(self) -> None:
        """Close the device when everything that was asked for is done."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _call(self, function: Callable[[Node], _T]) -> _T:
        if self._node is None:
            self._node = self._open_node()
        return function(self._node)

    def _close(self) -> None:
        if self._node is not None:
            self._node.close()
        self._node = None
