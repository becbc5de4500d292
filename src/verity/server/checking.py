"""Bundles of strangers, checked for callers of the server, and states for those who check: one at a time, apart from
what computes answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import verity
from verity.errors import Busy
from verity.verify.report import Report

_T = TypeVar("_T")


class Checker:
    """Checks with the models of the device whose home this is; a replay has ``limit_s`` seconds."""

    def __init__(self, home: Path, *, threads: int | None, limit_s: float) -> None:
        self._home = home
        self._threads = threads
        self._limit_s = limit_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verity-verify")
        self._present: Future[Any] | None = None

    async def check(self, bundle: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
        """The report. Who leaves does not end it: until it is over, others are told Busy.

        Raises Busy, UsageError, FormatError, SignatureError.
        """
        report = await self._alone(self._report, bundle, options)
        result: dict[str, Any] = report.to_dict()
        return result

    async def _alone(self, work: Callable[..., _T], *given: Any) -> _T:
        if self._present is not None and not self._present.done():
            raise Busy("another bundle is being verified", "try again later", 5.0)
        self._present = present = self._thread.submit(work, *given)
        waiting = asyncio.wrap_future(present)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # asked for: it is not logged
        return await asyncio.shield(waiting)

    async def states(self, receipt_id: str, segments: list[int]) -> list[bytes]:
        """The states of a receipt of this device, computed again. Raises Busy, and as ``Node.states`` does."""
        return await self._alone(self._states, receipt_id, segments)

    def close(self) -> None:
        """Take no more; a replay under way ends within its time."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _states(self, receipt_id: str, segments: list[int]) -> list[bytes]:
        with verity.open(self._home, threads=self._threads) as node:
            return node.states(receipt_id, segments)

    def _report(self, bundle: bytes, options: Mapping[str, Any]) -> Report:
        return verity.verify(bundle, home=self._home, threads=self._threads, limit_s=self._limit_s, **options)
