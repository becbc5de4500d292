"""Bundles of strangers, checked for callers of the server: one at a time, apart from what computes answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import verity
from verity.errors import Busy
from verity.verify.report import Report


class Checker:
    """Checks with the models of the device whose home this is; a replay has ``limit_s`` seconds."""

    def __init__(self, home: Path, *, threads: int | None, limit_s: float) -> None:
        self._home = home
        self._threads = threads
        self._limit_s = limit_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verity-verify")
        self._present: Future[Report] | None = None

    async def check(self, bundle: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
        """The report. Who leaves does not end it: until it is over, others are told Busy.

        Raises Busy, UsageError, FormatError, SignatureError.
        """
        if self._present is not None and not self._present.done():
            raise Busy("another bundle is being verified", "try again later", 5.0)
        self._present = self._thread.submit(self._report, bundle, options)
        waiting = asyncio.wrap_future(self._present)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # asked for: it is not logged
        report = await asyncio.shield(waiting)
        result: dict[str, Any] = report.to_dict()
        return result

    def close(self) -> None:
        """Take no more; a replay under way ends within its time."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _report(self, bundle: bytes, options: Mapping[str, Any]) -> Report:
        return verity.verify(bundle, home=self._home, threads=self._threads, limit_s=self._limit_s, **options)
