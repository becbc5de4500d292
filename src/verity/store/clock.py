"""The device's clock. Its word: nobody else vouches for it."""

from __future__ import annotations

import datetime


def now() -> str:
    """The time in UTC, to the second (RFC 3339)."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
