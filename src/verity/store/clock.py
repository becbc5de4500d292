"""The device's clock. Its word: nobody else vouches for it."""

from __future__ import annotations

import datetime


def now() -> str:
    """The time in UTC, to the second (RFC 3339)."""
    return written(datetime.datetime.now(datetime.UTC))


def written(time: datetime.datetime) -> str:
    """A time in UTC as it is kept everywhere, so that texts compare as times do."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
