"""Derives a published log again, from its entries to its signed root: in a folder, or on a server.

1. The checkpoint is signed by the log whose key the caller named.
2. Every tile that its size calls for is there, and its hashes lead to the signed root.
3. Every bundle of entries is there, and its entries are the leaves of that tree.
4. In a folder there is nothing else but tiles of earlier heads, each a beginning of the present one.

Memory is that of a few tiles.
"""

from __future__ import annotations

from typing import NamedTuple

from verity.errors import FormatError, LogError, ProofError, SignatureError, StoreError
from verity.log import tiles
from verity.log.checked_tiles import CheckedTiles
from verity.log.checkpoint import Checkpoint
from verity.log.evidence import SUFFIX
from verity.log.mirror import EVIDENCE, INCOMING, fetch_head
from verity.log.note import VerifierKey
from verity.log.source import Source, reader
from verity.log.tile_folder import CHECKPOINT, TileFolder
from verity.log.tiles import ENTRIES, WIDTH, Tile
from verity.store.reading import Progress

MAX_PROBLEMS = 100
"""Further ones are only counted."""


class Checked(NamedTuple):
    """What was found: the head unless it does not hold, the problems (a sentence each), and how many in all."""

    head: Checkpoint | None
    problems: list[str]
    total: int


class Fsck:
    """One reading of one log. Raises FetchError when the source cannot be reached."""

    def __init__(self, source: Source, key: VerifierKey) -> None:
        self._source = source
        self._key = key
        self._problems: list[str] = []
        self._count = 0

    def run(self, progress: Progress | None = None) -> Checked:
        """Make the steps."""
        try:
            head, _ = fetch_head(self._source, self._key)  # step 1
            checked = CheckedTiles(head, reader(self._source))
            checked.check_root()
        except (FormatError, SignatureError, LogError, ProofError, StoreError) as error:
            self._note(str(error))
            return Checked(None, self._problems, self._count)
        total = tiles.count_tiles(0, head.size)
        for done, tile in enumerate(tiles.tiles_of(head.size), 1):  # steps 2 and 3
            self._try(checked, tile)
            if progress is not None:
                progress(done, total, "tiles")
        if isinstance(self._source, TileFolder):
            for path in self._source.paths():  # step 4
                self._judge(path, self._source, checked)
        return Checked(head, self._problems, self._count)

    def _note(self, problem: str) -> None:
        self._count += 1
        if self._count <= MAX_PROBLEMS:
            self._problems.append(problem)

    def _try(self, checked: CheckedTiles, tile: Tile) -> None:
        try:
            checked.tile(tile)
        except (FormatError, ProofError, LogError, StoreError) as error:
            self._note(str(error))

    def _judge(self, path: str, folder: TileFolder, checked: CheckedTiles) -> None:
        if path == CHECKPOINT or (path.startswith(EVIDENCE) and path.endswith(SUFFIX)):
            return
        if path == INCOMING:
            self._note("the copy is not finished: `verity log mirror` goes on with it")
            return
        try:
            tile = tiles.parse_path(path)
            if not tile.within(checked.head.size):
                raise FormatError(f"{path} lies beyond the signed head")
            if not tile.full:
                _check_beginning(tile, folder, checked)
        except (FormatError, ProofError, LogError, StoreError) as error:
            said = str(error)
            self._note(said if path in said else f"{path}: {said}")


def _check_beginning(tile: Tile, folder: TileFolder, checked: CheckedTiles) -> None:
    """A partial tile of an earlier head is what the present one begins with."""
    height = 8 * max(tile.level, 0)
    width = min(WIDTH, (checked.head.size >> height) - WIDTH * tile.number)
    if tile.width == width:
        return  # of the present head: step 2
    data = folder.read(tile.path, tiles.MAX_BUNDLE) or b""
    if tile.level == ENTRIES:
        whole = tiles.decode_bundle(tile._replace(width=width), checked.tile(tile._replace(width=width)))
        parts = tiles.decode_bundle(tile, data)
    else:
        whole, parts = checked.hashes(tile._replace(width=width)), tiles.split_hashes(tile, data)
    if whole[: tile.width] != parts:
        raise ProofError(f"{tile.path} is not what the present tree begins with")
