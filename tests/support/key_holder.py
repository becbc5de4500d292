"""Whoever holds a device's key and signs whatever helps him: any number of histories, heads of any of them at any size.

Made of the package's pure parts; it never asks the device's database, which an attacker need not keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from memory_signer import MemorySigner

from verity.log import tree
from verity.log.checkpoint import Checkpoint, sign
from verity.log.submission import encode

KEY = MemorySigner(hashlib.sha256(b"device").digest())
DEVICE = KEY.public.hex()
ORIGIN = f"verity/{DEVICE}/0"


class History:
    """A log that was never written down: its entries (32 bytes each), and when each of them came to be (seconds)."""

    def __init__(self, entries: Sequence[bytes] = (), born: Sequence[int] = ()) -> None:
        self.entries = list(entries)
        self.born = list(born)

    @property
    def size(self) -> int:
        return len(self.entries)

    def add(self, count: int, now: int, label: str) -> None:
        for _ in range(count):
            self.entries.append(hashlib.sha256(f"{label} {self.size}".encode()).digest())
            self.born.append(now)

    def fork(self, size: int) -> History:
        """Another history that has the first ``size`` entries in common."""
        return History(self.entries[:size], self.born[:size])

    def tree(self, size: int | None = None) -> tree.MemoryTree:
        return tree.MemoryTree(tree.hash_leaf(entry) for entry in self.entries[:size])

    def head(self, size: int) -> Checkpoint:
        return Checkpoint(ORIGIN, size, self.tree(size).root)

    def note(self, size: int) -> str:
        """The signed head."""
        return sign(self.head(size), KEY)

    def consistency(self, old: int, new: int) -> list[bytes]:
        return tree.consistency_proof(old, new, self.tree(new).node)

    def agrees(self, other: History, size: int) -> bool:
        """Whether both begin with the same ``size`` entries."""
        return self.entries[:size] == other.entries[:size] and min(self.size, other.size) >= size


def submission(history: History, size: int, old: int, *, by: History | None = None) -> bytes:
    """A request to a witness: from ``old``, with the proof that ``by`` (the history itself) gives, as far as it can."""
    source = by or history
    try:
        proof = source.consistency(old, min(size, source.size))
    except Exception:  # an old size that it never had: the attacker sends something
        proof = []
    return encode(old, proof, history.note(size))
