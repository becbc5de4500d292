"""Processor time of this thread inside a function, so that other programs disturb little."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch


class Clocked:
    """``seconds`` inside the functions that it watches."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextlib.contextmanager
    def watching(self, owner: Any, name: str) -> Iterator[None]:
        original = getattr(owner, name)

        @functools.wraps(original)
        def timed(*args: Any, **options: Any) -> Any:
            started = time.thread_time()
            try:
                return original(*args, **options)
            finally:
                self.seconds += time.thread_time() - started

        with patch.object(owner, name, timed):
            yield


def spent(run: Callable[[], Any]) -> float:
    """Seconds of processor time of this thread."""
    started = time.thread_time()
    run()
    return time.thread_time() - started
