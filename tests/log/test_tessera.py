"""The log that Tessera publishes with its tests comes out of this package byte for byte, from its entries and key.

Published: https://github.com/transparency-dev/trillian-tessera (now transparency-dev/tessera), ``testdata/log``: the
files ``checkpoint.N`` at the commits below, made by ``testdata/build_log.sh`` with the test key that stands in it. An
Ed25519 signature is a function of key and text (RFC 8032), so the whole file must be equal. The digests are SHA-256 of
the published files.

Not compared: their tiles and bundles (``testdata/log/tile/…``), which are binary files that could not be read where
this test was written. Their hashes of leaves are those under the published roots; the form of the tiles is judged by Go
(test_go.py), and that of bundles by vectors made from the specification (test_tiles.py).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from made_logs import published
from memory_signer import MemorySigner

from verity.log import tiles
from verity.log.checkpoint import parse_note
from verity.log.fsck import Fsck
from verity.log.log_index import parse_trusted
from verity.log.mirror import Mirror
from verity.log.note import VerifierKey
from verity.log.tile_folder import CHECKPOINT, TileFolder
from verity.log.tiles import ENTRIES, Tile
from verity.log.tree import hash_leaf, root_of

ORIGIN = "example.com/log/testdata"
VKEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
WORDS = "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten"
ENTRIES_OF_TESSERA = [word.encode() for word in WORDS.split()]
SIGNER = MemorySigner(bytes.fromhex("eca663f499017d2365c27c7a7679158d43cfec1330bdb259290afbd0d21777a0"))
"""A key that its owners published for tests."""

EARLY, LATE = "842b908e3a0dbff055d61f2980f56359ae1f45e9", "a508c5b88d4a0ad5a5a7af4f25302a4ff9a1595b"
DIGESTS = {
    0: (EARLY, "2a88b2fa27d24b7e57d5dcf73ddcad2075198f97879b45eab3aa8520b89944a9"),
    1: (EARLY, "50026db3bdb6b509d7ce2915bc05f3908857acd48621f0a7cac3f65eb117ed9b"),
    4: (LATE, "09eeacdca308e7c415e4e9ac26521938d44eaf03b4a8bc4486679cea852b390f"),
    6: (EARLY, "3da77775077943d2a9bf17712c1df62587f9ad502a5bcd15b5c6abca164d1e20"),
    8: (LATE, "abdebb1c8e1c562d5902f106e741e80e430af4bb7fdaf120d9fe4a3419d6adb8"),
    9: (LATE, "23e1b039edd148ac31cb53b7fbc5bf8678bf9d85010d4f74173743773958b6c1"),
    15: (EARLY, "aebf6c3251e27b6a4e265cbbcb3036887ba860071e1df9669cd36179ac82eaed"),
}


@pytest.mark.parametrize(("size", "commit", "digest"), [(size, *told) for size, told in DIGESTS.items()])
def test_checkpoints_are_the_published_files(size: int, commit: str, digest: str) -> None:
    made = published(ENTRIES_OF_TESSERA[:size], SIGNER, ORIGIN)[CHECKPOINT]
    assert hashlib.sha256(made).hexdigest() == digest, f"testdata/log/checkpoint.{size} at {commit}"


def test_their_key_is_read() -> None:
    key = parse_trusted(VKEY)
    assert isinstance(key, VerifierKey)
    assert (key.name, key.public, str(key)) == (ORIGIN, SIGNER.public, VKEY)


def test_the_published_root_follows_from_our_tiles_and_entries() -> None:
    files = published(ENTRIES_OF_TESSERA, SIGNER, ORIGIN)
    assert sorted(files) == [CHECKPOINT, "tile/0/000.p/15", "tile/entries/000.p/15"]
    leaves = tiles.split_hashes(Tile(0, 0, 15), files["tile/0/000.p/15"])
    assert leaves == [hash_leaf(entry) for entry in ENTRIES_OF_TESSERA]
    head = parse_note(files[CHECKPOINT])
    assert root_of(leaves) == head.root
    bundle = files["tile/entries/000.p/15"]
    assert tiles.decode_bundle(Tile(ENTRIES, 0, 15), bundle) == ENTRIES_OF_TESSERA
    assert bundle.startswith(b"\x00\x03one\x00\x03two\x00\x05three")


def test_a_log_of_theirs_is_mirrored_and_derived_again(tmp_path: Path) -> None:
    key = parse_trusted(VKEY)
    assert isinstance(key, VerifierKey)
    folder = TileFolder(tmp_path)
    for size in (1, 4, 8, 15):
        Mirror(folder, key).update(published(ENTRIES_OF_TESSERA[:size], SIGNER, ORIGIN))
    checked = Fsck(folder, key).run()
    assert checked.problems == []
    assert checked.head is not None
    assert checked.head.size == 15
