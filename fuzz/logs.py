"""What a reader of somebody's published log is sent: paths, tiles, entries, the index, proofs in a file."""

from __future__ import annotations

import functools
import hashlib

from fuzz import device
from fuzz.target import Target, vectors
from verity.errors import FormatError, LogError, ProofError, SignatureError
from verity.log import tiles, tlog_proof
from verity.log.checked_tiles import CheckedTiles
from verity.log.checkpoint import Checkpoint, sign
from verity.log.log_index import Index, decode_index, key_of, listed
from verity.log.tiles import ENTRIES, Tile
from verity.log.tree import MemoryTree, hash_leaf

_SIZE = 259
_INDEX = 4


@functools.cache
def _entries() -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(_SIZE)]


@functools.cache
def _tree() -> MemoryTree:
    return MemoryTree(map(hash_leaf, _entries()))


def _head() -> Checkpoint:
    return Checkpoint(f"verity/{device.key().id}/0", _SIZE, _tree().root)


@functools.cache
def _tiles() -> dict[Tile, bytes]:
    def data(tile: Tile) -> bytes:
        if tile.level == ENTRIES:
            return tiles.encode_bundle(_entries()[256 * tile.number : tile.stop])
        return tiles.hashes_of(tile, _tree().node)

    return {tile: data(tile) for tile in tiles.tiles_of(_SIZE)}


def _path(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    tile = tiles.parse_path(text)
    assert tile.path == text
    assert 1 <= tile.width <= 256
    assert tile.stop << 8 * max(tile.level, 0) < 1 << 63


def _bundle(data: bytes) -> None:
    tile = Tile(ENTRIES, 0, data[0] + 1 if data else 1)
    found = tiles.decode_bundle(tile, data[1:])
    assert len(found) == tile.width
    assert tiles.encode_bundle(found) == data[1:]


def _tile(data: bytes) -> None:
    """One file of a log is the fuzzer's."""
    ours = list(_tiles())
    chosen = ours[data[0] % len(ours) if data else 0]
    files = {**_tiles(), chosen: data[1:]}
    read = CheckedTiles(_head(), files.__getitem__)
    for tile in ours:
        assert read.tile(tile) == _tiles()[tile], "another tile than the log's passed"


def _index(data: bytes) -> None:
    index = decode_index(data)
    assert decode_index(index.encode()) == index


@functools.cache
def _proof() -> tlog_proof.TlogProof:
    path = tuple(_tree().inclusion(_INDEX))
    return tlog_proof.TlogProof(_INDEX, path, sign(_head(), device.key()), bytes(16))


def _tlog_proof(data: bytes) -> None:
    proof = tlog_proof.parse(data)
    assert str(proof).encode() == data
    head = tlog_proof.check_device(proof, _entries()[_INDEX], device.key().id)
    assert (head.root, proof.index, proof.path) == (_tree().root, _INDEX, _proof().path), "a proof was forged"


def _path_seeds() -> list[bytes]:
    return [case["path"].encode() for case in vectors("tiles")["paths"]]


def _bundle_seeds() -> list[bytes]:
    return [bytes([case["width"] - 1]) + bytes.fromhex(case["data"]) for case in vectors("tiles")["bundles"]]


def _index_seeds() -> list[bytes]:
    two = [listed(epoch, _head(), device.key().public) for epoch in (0, 1_700_000_000_000)]
    return [Index(two[:count]).encode() for count in range(3)]


def _proof_seeds() -> list[bytes]:
    bare = tlog_proof.TlogProof(_INDEX, _proof().path, _proof().checkpoint)
    foreign = sign(Checkpoint(key_of(device.key().id, 1).name, _SIZE, _tree().root), device.key())
    return [str(each).encode() for each in (_proof(), bare, tlog_proof.TlogProof(_INDEX, bare.path, foreign))]


def _tile_seeds() -> list[bytes]:
    return [bytes([number]) + data for number, data in enumerate(_tiles().values())]


TARGETS = [
    Target("tile-path", "paths of tiles", _path, _path_seeds, (FormatError,), max_bytes=128),
    Target("entry-bundle", "bundles of a log's entries", _bundle, _bundle_seeds, (FormatError,), max_bytes=4096),
    Target("tile", "a log with one file edited", _tile, _tile_seeds, (FormatError, ProofError, LogError)),
    Target("log-index", "indices of logs", _index, _index_seeds, (FormatError,), structured=True, max_bytes=4096),
    Target(
        "tlog-proof",
        "proofs in one text file",
        _tlog_proof,
        _proof_seeds,
        (FormatError, ProofError, SignatureError),
        max_bytes=4096,
    ),
]
