"""Writes the published heads of a device's log as static files: C2SP tlog-tiles; specified in spec/tiles.md.

FOLDER/index.json           which epochs there are
FOLDER/<epoch>/checkpoint   the published head, with its witnesses' lines
FOLDER/<epoch>/tile/…       the tree, and the entries: salted digests, 32 bytes each

1. What is in the folder is of this log: the checkpoint that lies there is signed by it and a beginning of it.
2. Tiles that the larger tree has are written, each checked: what was damaged on the disk is not published.
3. The checkpoint follows its tiles, and the index the checkpoints: no reader is shown a head whose tiles are missing.

Whatever interrupts it, the next run goes on. A file that is there and differs is evidence, and an error.
"""

from __future__ import annotations

from typing import NamedTuple

from verity.errors import FormatError, LogError, ProofError, SignatureError
from verity.log import note, tiles
from verity.log.checked_tiles import CheckedTiles
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.device_log import DeviceLog
from verity.log.log_index import Index, listed
from verity.log.published import Published
from verity.log.rows import HINT
from verity.log.tile_folder import CHECKPOINT, EVIDENCE_HINT, INDEX, TileFolder
from verity.log.tiles import ENTRIES, Tile
from verity.log.tree import HASH_SIZE
from verity.store.reading import Progress


class Exported(NamedTuple):
    """An epoch in the folder: its head, and how many tiles and bundles were written and were there already."""

    epoch: int
    head: Checkpoint
    written: int
    kept: int


def export(
    folder: TileFolder, logs: list[tuple[DeviceLog, Published]], progress: Progress | None = None
) -> list[Exported]:
    """Bring the folder up to these heads, each of its log. Raises LogError, StoreError."""
    with folder.writing():
        exported = [_export(folder, log, published, progress) for log, published in logs]
        lines = [listed(log.epoch, each.head, log.public) for each, (log, _) in zip(exported, logs, strict=True)]
        folder.replace(INDEX, Index(lines).encode())
    return exported


def _export(folder: TileFolder, log: DeviceLog, published: Published, progress: Progress | None) -> Exported:
    place = TileFolder(folder.root / str(log.epoch))
    head = _opened(published.checkpoint, log)
    there = place.read(CHECKPOINT, note.MAX_BYTES)
    before = 0 if there is None else _known_size(place, there, log, head)  # step 1
    checked, written = CheckedTiles(head, log.tile), 0
    total = tiles.count_tiles(0, head.size)
    for done, tile in enumerate(tiles.tiles_of(head.size), 1):  # step 2
        written += _write(place, tile, checked, before)
        if progress is not None:
            progress(done, total, f"epoch {log.epoch}")
    if there != published.checkpoint.encode():
        place.replace(CHECKPOINT, published.checkpoint.encode())  # step 3
    return Exported(log.epoch, head, written, total - written)


def _opened(text: str, log: DeviceLog) -> Checkpoint:
    try:
        head = open_checkpoint(text, log.public)
    except (FormatError, SignatureError) as error:
        raise LogError(f"a published head does not verify: {error}", HINT) from error
    if head.origin != log.origin or head.root != log.root(head.size):
        raise LogError("a published head is not one of this log", HINT)
    return head


def _known_size(place: TileFolder, there: bytes, log: DeviceLog, head: Checkpoint) -> int:
    try:
        old = open_checkpoint(there, log.public)
    except (FormatError, SignatureError) as error:
        message = f"{place.root / CHECKPOINT} is not a checkpoint of this device: {error}"
        raise LogError(message, "export into another folder") from error
    if old.origin != log.origin:
        raise LogError(f"{place.root} holds the log {old.origin}", "export into another folder")
    if old.size > head.size:
        raise LogError(
            f"{place.root} holds {old.size} entries, and the published head counts {head.size}",
            "publish the present head: --publish; if the log is shorter than that, keep the folder as evidence",
        )
    if log.root(old.size) != old.root:
        raise LogError(
            f"{place.root} holds another history of this log: two heads at {old.size} entries", EVIDENCE_HINT
        )
    return old.size


def _write(place: TileFolder, tile: Tile, checked: CheckedTiles, before: int) -> bool:
    """Whether it was missing. A full tile that an earlier head covered is known by its length: see `fsck` for more."""
    length = tiles.WIDTH * (HASH_SIZE + (2 if tile.level == ENTRIES else 0))
    if tile.full and tile.within(before) and place.size(tile.path) == length:
        return False
    try:
        data = checked.tile(tile)
    except (FormatError, ProofError) as error:
        raise LogError(f"the log is damaged, and was not published: {error}", HINT) from error
    return place.add(tile.path, data)
