"""Tiles: their paths, which there are, what is in them, and trees read from them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_logs import entries

from verity.errors import FormatError, ProofError
from verity.log import tiles
from verity.log.tiles import ENTRIES, WIDTH, Tile
from verity.log.tree import (
    MemoryTree,
    check_consistency,
    check_inclusion,
    consistency_proof,
    hash_leaf,
    inclusion_proof,
    root_at,
)

VECTORS: Any = json.loads((Path(__file__).parents[2] / "spec/vectors/tiles.json").read_text())
LEVELS = st.integers(0, 7)
ANY_TILE = st.one_of(
    st.builds(Tile, st.sampled_from([ENTRIES, 0]), st.integers(0, 2**54), st.integers(1, WIDTH)),
    st.builds(Tile, st.integers(1, 5), st.integers(0, 2**14), st.integers(1, WIDTH)),
)


@pytest.mark.parametrize("case", VECTORS["paths"], ids=lambda case: case["path"][:40] or "empty")
def test_paths(case: dict[str, Any]) -> None:
    if case["error"] is None:
        level = ENTRIES if case["level"] == "entries" else case["level"]
        tile = Tile(level, case["number"], case["width"])
        assert tiles.parse_path(case["path"]) == tile
        assert tile.path == case["path"]
    else:
        with pytest.raises(FormatError):
            tiles.parse_path(case["path"])


@pytest.mark.parametrize("case", VECTORS["trees"], ids=lambda case: str(case["size"]))
def test_which_tiles_a_tree_has(case: dict[str, Any]) -> None:
    if case["size"] > 1 << 20:  # too many to list
        edge = [tile.path for tile in tiles.edge_of(case["size"])]
        assert sorted(edge) == sorted(path for path in case["partial"] if "entries" not in path)
        assert tiles.count_tiles(0, case["size"]) == sum(case["full"].values()) + len(case["partial"])
        return
    found = list(tiles.tiles_of(case["size"]))
    assert sorted(tile.path for tile in found if not tile.full) == sorted(case["partial"])
    counts = {str(level): sum(t.full for t in found if t.level == level) for level in {t.level for t in found}}
    counts["entries"] = counts.pop("-1", 0)
    assert {level: count for level, count in counts.items() if count} == case["full"]
    assert tiles.count_tiles(0, case["size"]) == len(found)


@pytest.mark.parametrize("case", VECTORS["bundles"], ids=lambda case: case["desc"])
def test_bundles(case: dict[str, Any]) -> None:
    tile, data = Tile(ENTRIES, 0, case["width"]), bytes.fromhex(case["data"])
    if case["error"] is None:
        told = [bytes.fromhex(entry) for entry in case["entries"]]
        assert tiles.decode_bundle(tile, data) == told
        assert tiles.encode_bundle(told) == data
    else:
        with pytest.raises(FormatError):
            tiles.decode_bundle(tile, data)


@pytest.mark.parametrize("case", VECTORS["logs"], ids=lambda case: str(case["size"]))
def test_what_is_in_the_tiles_of_a_log(case: dict[str, Any]) -> None:
    data = [f"entry {index}".encode() for index in range(case["size"])]
    tree = MemoryTree(map(hash_leaf, data))
    assert tree.root.hex() == case["root"]
    found = {}
    for tile in tiles.tiles_of(case["size"]):
        made = (
            tiles.encode_bundle(data[WIDTH * tile.number : tile.stop])
            if tile.level == ENTRIES
            else tiles.hashes_of(tile, tree.node)
        )
        found[tile.path] = hashlib.sha256(made).hexdigest()
    assert found == case["tiles"]


def test_the_example_of_the_specification() -> None:
    """C2SP tlog-tiles, "Merkle Tree" and "Partial Tiles"."""
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    found = [tile for tile in tiles.tiles_of(70_000) if tile.level != ENTRIES]
    assert sum(t.level == 0 and t.full for t in found) == 273
    assert [t.width for t in found if t.level == 0 and not t.full] == [112]
    assert [t.width for t in found if t.level == 1] == [256, 17]
    assert [t.width for t in found if t.level == 2] == [1]
    assert [(t.level, t.width) for t in tiles.tiles_of(256)] == [(1, 1), (0, 256), (ENTRIES, 256)]


@given(ANY_TILE)
def test_a_path_is_read_as_the_tile_that_it_is_of(tile: Tile) -> None:
    assert tiles.parse_path(tile.path) == tile


@given(
    st.one_of(st.text(max_size=80), st.from_regex(r"tile/[0-9a-z]{1,8}/[x0-9/]{1,20}(\.p/[0-9]{1,4})?", fullmatch=True))
)
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        tile = tiles.parse_path(text)
    except FormatError:
        return
    assert tile.path == text


@given(st.binary(max_size=600), st.integers(1, WIDTH))
def test_any_bytes_are_a_bundle_or_refused(data: bytes, width: int) -> None:
    tile = Tile(ENTRIES, 0, width)
    try:
        found = tiles.decode_bundle(tile, data)
    except FormatError:
        return
    assert len(found) == width
    assert tiles.encode_bundle(found) == data


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=WIDTH))
def test_entries_come_out_of_a_bundle_as_they_went_in(given_entries: list[bytes]) -> None:
    data = tiles.encode_bundle(given_entries)
    tile = Tile(ENTRIES, 3, len(given_entries))
    assert tiles.decode_bundle(tile, data) == given_entries
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(FormatError):
            tiles.decode_bundle(tile, wrong)


def test_what_no_bundle_holds() -> None:
    assert tiles.encode_bundle([bytes(0xFFFF)])[:2] == b"\xff\xff"
    for wrong in ([bytes(0x10000)], [b""] * 257):
        with pytest.raises(FormatError):
            tiles.encode_bundle(wrong)


@given(st.integers(0, 2**20), st.integers(0, 2**20))
def test_what_a_grown_tree_has_more(one: int, other: int) -> None:
    old, new = sorted((one % 3000, other % 70_000))
    more = list(tiles.new_tiles(old, new))
    assert set(more) == set(tiles.tiles_of(new)) - set(tiles.tiles_of(old))
    assert len(more) == len(set(more)) == tiles.count_tiles(old, new)
    assert all(tile.within(new) and not tile.within(old) for tile in more)


@given(st.integers(1, 2**63 - 1))
def test_the_edge_of_the_largest_trees(size: int) -> None:
    edge = tiles.edge_of(size)
    assert sum(tile.width << 8 * tile.level for tile in edge) == size
    assert all(tile.within(size) and tiles.parse_path(tile.path) == tile for tile in edge)


@pytest.fixture(scope="module")
def tree() -> MemoryTree:
    return MemoryTree(map(hash_leaf, entries(1500)))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 768, 1499, 1500])
def test_a_tree_is_read_from_its_tiles(tree: MemoryTree, size: int) -> None:
    held = {t: tiles.split_hashes(t, tiles.hashes_of(t, tree.node)) for t in tiles.tiles_of(size) if t.level >= 0}
    node = tiles.node_from(size, held.__getitem__)
    root = root_at(size, tree.node)
    assert root_at(size, node) == root
    assert tiles.root_of_edge([(tile, held[tile]) for tile in tiles.edge_of(size)]) == root
    for index in {0, size // 3, size - 1}:
        check_inclusion(index, size, tree.node(0, index), inclusion_proof(index, size, node), root)
    for old in {1, size // 2, size - 1} - {0}:
        check_consistency(old, size, root_at(old, tree.node), root, consistency_proof(old, size, node))
    with pytest.raises(ProofError):
        node(0, size)
    with pytest.raises(ProofError):
        node(-1, 0)


@given(st.integers(0, 8191), st.integers(1, 255))
def test_a_partial_tile_is_cut_from_the_full_one(number: int, width: int) -> None:
    whole = [bytes([number % 256, at]) * 16 for at in range(WIDTH)]
    for level in (0, ENTRIES):
        data = b"".join(whole) if level == 0 else tiles.encode_bundle(whole)
        part = tiles.cut(Tile(level, number, width), data)
        assert part == (b"".join(whole[:width]) if level == 0 else tiles.encode_bundle(whole[:width]))
        with pytest.raises(FormatError):
            tiles.cut(Tile(level, number, width), data[:-1])
