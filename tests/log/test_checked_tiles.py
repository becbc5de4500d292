"""Nobody sees a tile of another tree than the one that was signed."""

from __future__ import annotations

import pytest
from made_logs import KEY, Files, entries, published

from verity.errors import FormatError, LogError, ProofError
from verity.log import tiles
from verity.log.checked_tiles import CheckedTiles
from verity.log.checkpoint import Checkpoint
from verity.log.log_index import open_head
from verity.log.source import reader
from verity.log.tile_folder import CHECKPOINT
from verity.log.tree import EMPTY_ROOT, MemoryTree, hash_leaf, root_at


def checked(files: Files) -> CheckedTiles:
    return CheckedTiles(open_head(files[CHECKPOINT], KEY), reader(files))


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_every_tile_of_an_honest_log(size: int) -> None:
    files = published(entries(size))
    read = checked(files)
    assert {tile.path: read.tile(tile) for tile in tiles.tiles_of(size)} == {
        path: data for path, data in files.items() if path != CHECKPOINT
    }
    tree = MemoryTree(map(hash_leaf, entries(size)))
    assert [root_at(old, checked(files).node) for old in (1, size // 2, size)] == [
        root_at(old, tree.node) for old in (1, size // 2, size)
    ]


@pytest.mark.parametrize("path", [p for p in published(entries(600)) if p != CHECKPOINT])
def test_any_flipped_bit_is_seen(path: str) -> None:
    files = published(entries(600))
    tile = tiles.parse_path(path)
    for at in range(0, len(files[path]), 97):
        wrong = Files(files)
        wrong[path] = files[path][:at] + bytes([files[path][at] ^ 1 << at % 8]) + files[path][at + 1 :]
        with pytest.raises((ProofError, FormatError)):
            checked(wrong).tile(tile)


@pytest.mark.parametrize(
    "edit", [lambda d: d[:-1], lambda d: d + b"\0", lambda d: b"", lambda d: d[32:], lambda d: d * 2]
)
def test_a_tile_of_another_length(edit: object) -> None:
    files = published(entries(300))
    for tile in tiles.tiles_of(300):
        wrong = Files(files)
        wrong[tile.path] = edit(files[tile.path])  # type: ignore[operator]
        with pytest.raises(FormatError):
            CheckedTiles(open_head(files[CHECKPOINT], KEY), lambda asked, wrong=wrong: wrong[asked.path]).tile(tile)  # type: ignore[misc]


def test_tiles_of_another_history_and_tiles_in_another_place() -> None:
    files, other = published(entries(600)), published(entries(600, fork_at=299))
    for tile in tiles.tiles_of(600):
        mixed = Files(files)
        mixed[tile.path] = other[tile.path]
        if other[tile.path] != files[tile.path]:
            with pytest.raises(ProofError):
                checked(mixed).tile(tile)
    swapped = Files({**files, "tile/0/000": files["tile/0/001"], "tile/entries/000": files["tile/entries/001"]})
    for path in ("tile/0/000", "tile/entries/000"):
        with pytest.raises(ProofError):
            checked(swapped).tile(tiles.parse_path(path))


def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one() -> None:
    files, grown = published(entries(300)), published(entries(512))
    left = Files({**{p: d for p, d in files.items() if p != "tile/0/001.p/44"}, "tile/0/001": grown["tile/0/001"]})
    assert checked(left).tile(tiles.parse_path("tile/0/001.p/44")) == files["tile/0/001.p/44"]
    del left["tile/0/001"]
    with pytest.raises(LogError, match=r"tile/0/001\.p/44 is missing"):
        checked(left).check_root()


def test_the_empty_tree_has_one_root() -> None:
    CheckedTiles(Checkpoint("o", 0, EMPTY_ROOT), reader(Files())).check_root()
    with pytest.raises(ProofError):
        CheckedTiles(Checkpoint("o", 0, bytes(32)), reader(Files())).check_root()


def test_a_long_log_is_read_in_the_memory_of_a_few_tiles() -> None:
    files = published(entries(256 * 80))
    read = checked(files)
    for tile in tiles.tiles_of(256 * 80):
        read.tile(tile)
        assert len(read._known) <= 64
