"""Checkpoints, and Merkle proofs of fuzzed integers and hashes."""

from __future__ import annotations

import functools
import hashlib

from fuzz import device
from fuzz.target import Target, vectors
from verity.errors import FormatError, ProofError, SignatureError
from verity.log.checkpoint import open_checkpoint
from verity.log.tree import (
    MemoryTree,
    check_consistency,
    check_inclusion,
    consistency_proof,
    hash_leaf,
    root_at,
)

_LARGEST = 40


class _Reader:
    """Choices from bytes; zeros when they have run out."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        taken, self._data = self._data[:count], self._data[count:]
        return taken.ljust(count, b"\0")

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self, honest: int) -> int:
        """The honest number mostly, else one near it or anywhere."""
        kind = self.byte()
        if kind < 128:
            return honest
        if kind < 192:
            return honest + kind - 160
        return int.from_bytes(self.take(kind % 17), "big", signed=True)

    def path(self, honest: list[bytes]) -> list[bytes]:
        """The honest proof with a few edits."""
        path = list(honest)
        for _ in range(self.byte() % 4):
            edit, at = self.byte() % 5, self.byte() % (len(path) + 1)
            if edit == 0:
                path.insert(at, self.take(32))
            elif edit == 1:
                path[at : at + 1] = []
            elif edit == 2:
                path[at : at + 1] = [self.take(self.byte() % 40)]
            elif edit == 3:
                path.reverse()
            else:
                path.insert(at, (honest or [b""])[0])
        return path

    def digest(self, honest: bytes) -> bytes:
        return honest if self.byte() < 200 else self.take(self.byte() % 40)


@functools.cache
def _leaves() -> list[bytes]:
    return [hash_leaf(bytes([n])) for n in range(_LARGEST)]


@functools.cache
def _tree(size: int) -> MemoryTree:
    return MemoryTree(_leaves()[:size])


def _inclusion(data: bytes) -> None:
    reader = _Reader(data)
    tree = _tree(1 + reader.byte() % _LARGEST)
    honest = reader.byte() % tree.size
    index, size = reader.number(honest), reader.number(tree.size)
    leaf, root = reader.digest(_leaves()[honest]), reader.digest(tree.root)
    path = reader.path(tree.inclusion(honest))
    check_inclusion(index, size, leaf, path, root)
    if size == tree.size and root == tree.root:
        assert leaf == _leaves()[index], "another leaf than the tree's passed"
        assert path == tree.inclusion(index), "two proofs of one leaf"


def _consistency(data: bytes) -> None:
    reader = _Reader(data)
    tree = _tree(1 + reader.byte() % _LARGEST)
    honest = reader.byte() % (tree.size + 1)
    old, new = reader.number(honest), reader.number(tree.size)
    old_root, new_root = reader.digest(root_at(honest, tree.node)), reader.digest(tree.root)
    path = reader.path(consistency_proof(honest, tree.size, tree.node))
    check_consistency(old, new, old_root, new_root, path)
    if new == tree.size and new_root == tree.root:
        assert old_root == root_at(old, tree.node), "another history than the tree's passed"
        assert path == ([] if old == 0 else consistency_proof(old, new, tree.node)), "two proofs of one history"


def _checkpoint(data: bytes) -> None:
    head = open_checkpoint(data, device.key().public)
    bodies = {note.rpartition("\n\n")[0] for note in _notes()}
    assert data.decode().rpartition("\n\n")[0] in bodies, "a checkpoint was forged"
    assert head.size >= 0


@functools.cache
def _notes() -> list[str]:
    published = [case["note"] for case in vectors("checkpoint")["cases"] if case["error"] is None]
    return [vectors("checkpoint")["example"]["note"], *published, vectors("receipt")["bundle"]["log"]["checkpoint"]]


def _note_seeds() -> list[bytes]:
    return [case["note"].encode("utf-8", "surrogatepass") for case in vectors("checkpoint")["cases"]]


def _proof_seeds() -> list[bytes]:
    draws = [b"".join(hashlib.sha256(bytes([seed, part])).digest() for part in range(4)) for seed in range(40)]
    return [
        b"",
        bytes(40),
        *draws,
        *(bytes([size, at, *bytes(6)]) for size in range(0, 40, 3) for at in (0, size // 2)),
    ]


TARGETS = [
    Target("checkpoint", "signed heads", _checkpoint, _note_seeds, (FormatError, SignatureError), max_bytes=4096),
    Target("inclusion", "inclusion proofs", _inclusion, _proof_seeds, (ProofError,), max_bytes=512),
    Target("consistency", "consistency proofs", _consistency, _proof_seeds, (ProofError,), max_bytes=512),
]
