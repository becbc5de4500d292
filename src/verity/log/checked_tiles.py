"""The tiles of one signed tree, each checked up to the signed root before anybody sees it.

1. edge    the partial tiles at the right edge give the root; so their hashes are those of the tree.
2. full    the hashes of a full tile give one hash of the level above, which was checked before.
3. bundle  the entries of a bundle give the hashes of the tile of leaves, which was checked before.

So memory is that of a few tiles, however long the log is. ``read`` may be anybody's: it is not believed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from verity.errors import ProofError
from verity.log import tiles
from verity.log.checkpoint import Checkpoint
from verity.log.tiles import ENTRIES, Tile
from verity.log.tree import Node, hash_leaf, root_of

_KEPT = 64

Read = Callable[[Tile], bytes]


class CheckedTiles:
    """Every method raises FormatError for bytes that are no such tile, ProofError for a tile of another tree, and what
    ``read`` raises."""

    def __init__(self, head: Checkpoint, read: Read) -> None:
        self.head = head
        self.node: Node = tiles.node_from(head.size, self.hashes)
        self._read = read
        self._known: OrderedDict[Tile, list[bytes]] = OrderedDict()
        self._edge: dict[Tile, bytes] | None = None

    def tile(self, tile: Tile) -> bytes:
        """The bytes of a tile or bundle of this tree."""
        if tile.level != ENTRIES and not tile.full:
            return self._edge_tiles()[tile]
        data = self._read(tile)
        self.check(tile, data)
        return data

    def check(self, tile: Tile, data: bytes) -> None:
        """Whether this is that full tile, or that bundle. Reads what it is checked against, where it must."""
        if tile.level == ENTRIES:
            leaves = [hash_leaf(entry) for entry in tiles.decode_bundle(tile, data)]
            if leaves != self.hashes(tile._replace(level=0)):
                raise ProofError(f"{tile.path} holds other entries than the tree has leaves of")
            return
        hashes = tiles.split_hashes(tile, data)
        if root_of(hashes) != self.node(8 * tile.level + 8, tile.number):
            raise ProofError(f"{tile.path} does not lead to the signed root")
        self._keep(tile, hashes)

    def check_root(self) -> None:
        """Whether the edge gives the root: what a reader who wants no tile yet asks first."""
        self._edge_tiles()

    def hashes(self, tile: Tile) -> list[bytes]:
        """The hashes of a tile of this tree."""
        known = self._known.get(tile)
        if known is None:
            known = tiles.split_hashes(tile, self.tile(tile))
            self._keep(tile, known)
        self._known.move_to_end(tile)
        return known

    def _keep(self, tile: Tile, hashes: list[bytes]) -> None:
        self._known[tile] = hashes
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def _edge_tiles(self) -> dict[Tile, bytes]:
        if self._edge is None:
            read = {tile: self._read(tile) for tile in tiles.edge_of(self.head.size)}
            hashes = [(tile, tiles.split_hashes(tile, data)) for tile, data in read.items()]
            if tiles.root_of_edge(hashes) != self.head.root:
                raise ProofError(f"the tiles at the right edge do not give the root of {self.head.size} entries")
            self._edge = read
        return self._edge
