"""Static tiles of a log: C2SP tlog-tiles (https://c2sp.org/tlog-tiles), without I/O; specified in spec/tiles.md.

A tree is cut into tiles of 256 hashes: the tile (level, number) holds the roots of the complete subtrees of
256**level leaves from number 256 * number on. A tile at the right edge may hold fewer, and is then called partial. An
entry bundle holds the leaves' data instead, and is written here as the tile of level ENTRIES. Their paths::

    tile/0/x001/x234/067       the full tile 1234067 of level 0
    tile/1/000.p/17            the first 17 hashes of tile 0 of level 1
    tile/entries/000.p/17      the first 17 entries

A tile never changes: a tree that grew has further ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from verity.errors import FormatError, ProofError
from verity.log.tree import HASH_SIZE, SIZE_LIMIT, Node, Place, fold, root_of

WIDTH = 256
ENTRIES = -1
"""The level that stands for bundles of entries."""

MAX_ENTRY = 0xFFFF
MAX_BUNDLE = WIDTH * (2 + MAX_ENTRY)
MAX_PATH = 64
"""Characters: longer than the path of any tile of a tree below 2^63."""

_HEIGHT = 8
_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


class Tile(NamedTuple):
    """Which hashes (or entries) of a tree: ``width`` of them, 1 to 256, from ``256 * number`` on in ``level``."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def full(self) -> bool:
        return self.width == WIDTH

    @property
    def path(self) -> str:
        """Where it is served, below the log's prefix."""
        digits = f"{self.number:0{3 * (-(-len(str(self.number)) // 3))}d}"
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        level = "entries" if self.level == ENTRIES else self.level
        return f"tile/{level}/{number}" + ("" if self.full else f".p/{self.width}")

    @property
    def stop(self) -> int:
        """How many hashes of its level (entries, of a bundle) come before its end."""
        return WIDTH * self.number + self.width

    def within(self, size: int) -> bool:
        """Whether a tree of this size has all of its hashes."""
        return self.stop <= size >> _HEIGHT * max(self.level, 0)


def parse_path(path: str) -> Tile:
    """Read a path. Raises FormatError for what is not the one path of a tile that a tree below 2^63 can have."""
    match = _PATH.fullmatch(path) if len(path) <= MAX_PATH else None
    if match is None:
        raise FormatError("this is not the path of a tile", "see https://c2sp.org/tlog-tiles")
    level = ENTRIES if match[1] == "entries" else int(match[1])
    tile = Tile(level, int(re.sub("[x/]", "", match[2])), int(match[3] or WIDTH))
    if tile.path != path or not tile.within(SIZE_LIMIT - 1):
        raise FormatError("this is not the path of a tile", "see https://c2sp.org/tlog-tiles")
    return tile


# --- which tiles there are --------------------------------------------------------------------------------------------


def tiles_of(size: int) -> Iterator[Tile]:
    """All tiles and bundles of a tree of this size: see ``new_tiles``."""
    return new_tiles(0, size)


def new_tiles(old_size: int, new_size: int) -> Iterator[Tile]:
    """What a tree of the new size has and one of the old size has not: the highest level first, so that whatever a tile
    is checked against comes before it, and the bundles of entries last."""
    levels = [level for level in range(SIZE_LIMIT.bit_length() // _HEIGHT + 1) if new_size >> _HEIGHT * level]
    for level in [*levels[::-1], *([ENTRIES] if new_size else [])]:
        before, after = (size >> _HEIGHT * max(level, 0) for size in (old_size, new_size))
        for number in range(before // WIDTH, after // WIDTH):
            yield Tile(level, number)
        if after % WIDTH and after > before:
            yield Tile(level, after // WIDTH, after % WIDTH)


def edge_of(size: int) -> list[Tile]:
    """The partial tiles of a tree of this size, the lowest level first. Its root follows from their hashes alone."""
    edge = (Tile(level, (size >> _HEIGHT * level) // WIDTH, (size >> _HEIGHT * level) % WIDTH) for level in range(8))
    return [tile for tile in edge if tile.width]


def count_tiles(old_size: int, new_size: int) -> int:
    """How many ``new_tiles`` yields."""
    total = 0
    for level in (ENTRIES, *range(8)):
        before, after = (size >> _HEIGHT * max(level, 0) for size in (old_size, new_size))
        total += after // WIDTH - before // WIDTH + bool(after % WIDTH and after > before)
    return total


# --- what is in them --------------------------------------------------------------------------------------------------


def places_of(tile: Tile) -> list[Place]:
    """Which hashes of the tree a tile holds."""
    return [(_HEIGHT * tile.level, position) for position in range(WIDTH * tile.number, tile.stop)]


def hashes_of(tile: Tile, node: Node) -> bytes:
    """The bytes of a tile of hashes."""
    return b"".join(node(*place) for place in places_of(tile))


def split_hashes(tile: Tile, data: bytes) -> list[bytes]:
    """The hashes of a tile. Raises FormatError unless there are as many as the tile is wide."""
    if len(data) != tile.width * HASH_SIZE:
        raise FormatError(f"{tile.path} has {len(data)} bytes where {tile.width * HASH_SIZE} are needed")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of an entry bundle. Raises FormatError for more than 256 entries, or one above 65,535 bytes."""
    if len(entries) > WIDTH or any(len(entry) > MAX_ENTRY for entry in entries):
        raise FormatError(f"a bundle has at most {WIDTH} entries of at most {MAX_ENTRY:,} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(tile: Tile, data: bytes) -> list[bytes]:
    """The entries of a bundle. Raises FormatError unless there are as many as the tile is wide, and nothing else."""
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < tile.width:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
    if at != len(data) or len(entries) != tile.width:  # a length that is cut off leads beyond the end
        raise FormatError(f"{tile.path} does not hold {tile.width} entries, each after its length, and nothing else")
    return entries


def cut(tile: Tile, data: bytes) -> bytes:
    """The bytes of a partial tile, out of those of the full one. Raises FormatError."""
    whole = tile._replace(width=WIDTH)
    if tile.level == ENTRIES:
        return encode_bundle(decode_bundle(whole, data)[: tile.width])
    return b"".join(split_hashes(whole, data)[: tile.width])


# --- hashes of the tree, from tiles -----------------------------------------------------------------------------------


def node_from(size: int, read: Callable[[Tile], Sequence[bytes]]) -> Node:
    """The tree of this size, in the form that the proof builders take: ``read`` gives a tile's hashes."""

    def node(level: int, position: int) -> bytes:
        if level < 0 or position < 0 or position + 1 > size >> level:
            raise ProofError(f"a tree of {size} leaves has no complete subtree at level {level}, position {position}")
        above, within = divmod(level, _HEIGHT)
        first = position << within
        number, start = divmod(first, WIDTH)
        width = min(WIDTH, (size >> _HEIGHT * above) - WIDTH * number)
        return root_of(read(Tile(above, number, width))[start : start + (1 << within)])

    return node


def root_of_edge(edge: Sequence[tuple[Tile, Sequence[bytes]]]) -> bytes:
    """The root that follows from the tiles of ``edge_of``, in its order, with their hashes."""
    peaks: list[bytes] = []
    for tile, hashes in reversed(edge):
        start = 0
        for height in reversed(range(_HEIGHT)):
            if tile.width >> height & 1:
                peaks.append(root_of(hashes[start : start + (1 << height)]))
                start += 1 << height
    return fold(peaks)
