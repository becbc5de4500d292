"""When k independent operators had seen a head."""

from __future__ import annotations

import msgspec

from verity.log.cosignature import cosigned
from verity.log.note import Note, parse_key


class Witnesses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose cosignatures count: each operator's keys, and how many operators it takes (default: a majority)."""

    operators: dict[str, list[str]] = {}
    threshold: int | None = None


def witnessed_by(note: Note, witnesses: Witnesses) -> int | None:
    """The time (seconds since 1970) by which the head had been seen by as many operators as it takes, or None."""
    if not witnesses.operators:
        return None
    needed = witnesses.threshold or len(witnesses.operators) // 2 + 1
    times = []
    for words in witnesses.operators.values():
        seen = cosigned(note, map(parse_key, words))
        times += [min(seen.values())] if seen else []
    return sorted(times)[needed - 1] if len(times) >= needed else None
