"""How the tree's hashes lie in the database: in blocks, so that a proof reads few rows and an append writes few.

A block holds the complete subtrees over 16 neighbours of one level, without the one that covers them all, which is a
leaf of a block above: levels 0 to 3 of the tree lie in blocks of level 0, 4 to 7 in those of level 1, and so on. Within
a block hashes stand in the order in which they come to be (a subtree after its right half, as in
https://pkg.go.dev/golang.org/x/mod/sumdb/tlog#StoredHashIndex): a block is only ever appended to, up to 30 hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from verity.log.tree import HASH_SIZE, Place

_HEIGHT = 4

Block = tuple[int, int]
"""A block's own level and position."""


def _offset(inner: int, position: int) -> int:
    last = (position + 1 << inner) - 1  # of the leaves below it in the block
    return HASH_SIZE * (2 * last - last.bit_count() + inner)


_OFFSETS = [[_offset(inner, position) for position in range(16 >> inner)] for inner in range(_HEIGHT)]


_PATHS = [tuple(_OFFSETS[inner][(leaf >> inner) ^ 1] for inner in range(_HEIGHT)) for leaf in range(1 << _HEIGHT)]


def path(index: int, height: int) -> list[tuple[Block, tuple[int, ...]]]:
    """Where the siblings on the way up from leaf ``index`` lie, through so many levels, the lowest first: block by
    block, and where each of them begins."""
    return [
        ((level // _HEIGHT, index >> level + _HEIGHT), _PATHS[index >> level & 15][: height - level])
        for level in range(0, height, _HEIGHT)
    ]


def locate(places: Iterable[Place]) -> list[tuple[Block, int]]:
    """Where the complete subtrees at these places of the tree lie: the block of each, and the byte where it begins."""
    return [
        (
            (level // _HEIGHT, position >> _HEIGHT - level % _HEIGHT),
            (offsets := _OFFSETS[level % _HEIGHT])[position % len(offsets)],
        )
        for level, position in places
    ]


def gathered(nodes: Sequence[tuple[int, int, bytes]]) -> dict[Block, tuple[int, bytes]]:
    """New subtrees (level, position, hash), in the order in which they came to be, by block: where the first begins,
    and the hashes from there on."""
    found: dict[Block, tuple[int, list[bytes]]] = {}
    located = locate((level, position) for level, position, _ in nodes)
    for (block, offset), (_, _, digest) in zip(located, nodes, strict=True):
        found.setdefault(block, (offset, []))[1].append(digest)
    return {block: (first, b"".join(hashes)) for block, (first, hashes) in found.items()}
