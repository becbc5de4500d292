"""Logs of anybody as the files that a reader sees, made in memory; and a reader of such files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from memory_signer import MemorySigner

from verity.log import tiles
from verity.log.checkpoint import Checkpoint, sign
from verity.log.note import ED25519, VerifierKey
from verity.log.tile_folder import CHECKPOINT
from verity.log.tiles import ENTRIES, WIDTH
from verity.log.tree import MemoryTree, hash_leaf

SIGNER = MemorySigner(b"\x07" * 32)
ORIGIN = f"verity/{SIGNER.public.hex()}/0"
KEY = VerifierKey(ORIGIN, ED25519, SIGNER.public)


def entries(count: int, fork_at: int | None = None) -> list[bytes]:
    """As many entries of 32 bytes; from ``fork_at`` on others than without it."""
    return [
        hashlib.sha256(b"%d%s" % (index, b"*" if fork_at is not None and index >= fork_at else b"")).digest()
        for index in range(count)
    ]


class Files(dict[str, bytes]):
    """A source in memory; ``asked`` are the paths that were read."""

    asked: list[str]

    def read(self, path: str, limit: int) -> bytes | None:
        self.__dict__.setdefault("asked", []).append(path)
        data = self.get(path)
        assert data is None or len(data) <= limit
        return data


def published(data: Sequence[bytes], signer: MemorySigner = SIGNER, origin: str = ORIGIN) -> Files:
    """The tiles, bundles and checkpoint of a log with these entries."""
    tree = MemoryTree(map(hash_leaf, data))
    files = Files({CHECKPOINT: sign(Checkpoint(origin, tree.size, tree.root), signer).encode()})
    for tile in tiles.tiles_of(tree.size):
        if tile.level == ENTRIES:
            files[tile.path] = tiles.encode_bundle(data[WIDTH * tile.number : tile.stop])
        else:
            files[tile.path] = tiles.hashes_of(tile, tree.node)
    return files


def write(files: dict[str, bytes], folder: Path) -> Path:
    """The same in a folder."""
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder


def read_back(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
