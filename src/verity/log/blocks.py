"""How the tree's hashes lie in the database: in blocks, so that a proof reads few rows and an append writes few.

A block holds the complete subtrees over 16 neighbours of one level, without the one that covers them all, which is a
leaf of a block above: levels 0 to 3 of the tree lie in blocks of level 0, 4 to 7 in those of level 1, and so on. Within
a block hashes stand in the order in which they come to be (a subtree after its right half, as in
https://pkg.go.dev/golang.org/x/mod/sumdb/tlog#StoredHashIndex): a block is only ever appended to, up to 30 hashes.
"""

from __future__ import annotations

from collections.abc import Iterable

from verity.log.tree import HASH_SIZE

_HEIGHT = 4


Block = tuple[int, int]
"""A block's own level and position."""


def _number(inner: int, position: int) -> int:
    last = (position + 1 << inner) - 1  # of the leaves below it in the block
    return 2 * last - last.bit_count() + inner


_NUMBERS = [[_number(inner, position) for position in range(16 >> inner)] for inner in range(_HEIGHT)]


def locate(level: int, position: int) -> tuple[Block, int]:
    """Where the complete subtree at this place of the tree lies: its block, and its number in it."""
    inner = level % _HEIGHT
    numbers = _NUMBERS[inner]
    return (level // _HEIGHT, position >> _HEIGHT - inner), numbers[position % len(numbers)]


def hash_in(hashes: bytes, number: int) -> bytes:
    """Hash ``number`` of a block; empty or cut off when it has none."""
    return hashes[number * HASH_SIZE : (number + 1) * HASH_SIZE]


def gathered(nodes: Iterable[tuple[int, int, bytes]]) -> dict[Block, tuple[int, bytes]]:
    """New subtrees (level, position, hash), in the order in which they came to be, by block: the number of the first,
    and the hashes from there on."""
    found: dict[Block, tuple[int, list[bytes]]] = {}
    for level, position, digest in nodes:
        block, number = locate(level, position)
        found.setdefault(block, (number, []))[1].append(digest)
    return {block: (first, b"".join(hashes)) for block, (first, hashes) in found.items()}
