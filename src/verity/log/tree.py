"""The Merkle tree of RFC 6962 (RFC 9162, section 2.1) over SHA-256, as functions on integers and bytes.

Nothing here reads or writes. A builder is handed ``node``, a function from (level, position) to the hash of the
complete subtree over the leaves ``position << level`` up to, not including, ``(position + 1) << level``; C2SP tiles
hold these hashes too. A check returns nothing or raises ProofError; a builder never returns half a proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from verity.errors import ProofError

HASH_SIZE = 32
SIZE_LIMIT = 1 << 63
"""Tree sizes stay below this, so that they fit SQLite's and Go's signed 64-bit integers."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves (RFC 9162, 2.1.1)."""

Node = Callable[[int, int], bytes]
Place = tuple[int, int]
"""Level and position of a complete subtree."""


def hash_leaf(data: bytes) -> bytes:
    """The hash of a leaf that holds ``data``: SHA-256(0x00 ‖ data) (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 9162, 2.1.1). Raises ProofError for other sizes."""
    _sized(left, "a left child")
    _sized(right, "a right child")
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root of the tree with these leaves (hashes, 32 bytes each), in one pass and logarithmic memory."""
    pending: list[bytes] = []
    for index, leaf in enumerate(leaf_hashes):
        pending.append(new_nodes(index, leaf, lambda _level, _position: pending.pop())[-1][2])
    return fold(pending)


def fold(subtrees: Sequence[bytes]) -> bytes:
    """The root over complete subtrees in order, the largest first; of none, EMPTY_ROOT."""
    return _climb(subtrees[-1], subtrees[-2::-1]) if subtrees else EMPTY_ROOT


# --- checks -----------------------------------------------------------------------------------------------------------


def root_from_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that a tree of ``size`` leaves has if ``proof`` is right about leaf ``index`` (RFC 9162, 2.1.3.2).

    Raises ProofError unless 0 <= index < size, every hash has 32 bytes and the proof has exactly the length it must.
    """
    _bounds(index, size)
    _sized(leaf_hash, "the leaf hash")
    inner, border = _lengths(index, size)
    _measured(proof, inner + border)
    root, sha256 = leaf_hash, hashlib.sha256
    for level, sibling in enumerate(proof):
        left = level >= inner or index >> level & 1
        root = sha256(b"\x01" + sibling + root if left else b"\x01" + root + sibling).digest()
    return root


def check_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raise ProofError unless ``proof`` shows that ``leaf_hash`` is leaf ``index`` of the tree of this root."""
    _sized(root, "the root")
    if root_from_inclusion(index, size, leaf_hash, proof) != root:
        raise ProofError(
            f"the inclusion proof does not lead from leaf {index} to the root of the tree of {size} leaves"
        )


def check_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise ProofError unless ``proof`` shows that the old tree is a prefix of the new one (RFC 9162, 2.1.4.2).

    The empty tree is a prefix of every tree: with ``old_size`` 0 the proof must be empty and the old root EMPTY_ROOT.
    """
    _ordered(old_size, new_size)
    _sized(old_root, "the old root")
    _sized(new_root, "the new root")
    for size, root in ((old_size, old_root), (new_size, new_root)):
        if size == 0 and root != EMPTY_ROOT:
            raise ProofError("a tree without leaves has only one root, and this is another")
    if old_size in (0, new_size):
        _measured(proof, 0)
        if old_size == new_size and old_root != new_root:
            raise ProofError(f"two different roots are claimed for one tree of {new_size} leaves")
        return
    before, after = _consistency_roots(old_size, new_size, old_root, proof)
    if before != old_root:
        raise ProofError(f"the consistency proof does not lead to the old root, at {old_size} leaves")
    if after != new_root:
        raise ProofError(f"the consistency proof does not lead to the new root, at {new_size} leaves")


def prefix_root(old_size: int, new_size: int, proof: Sequence[bytes]) -> bytes | None:
    """The old root that a consistency proof leads to, whichever was signed; None where it starts at the old root and so
    leaves it out (the old size is a power of two), or proves nothing (size 0, equal sizes). Raises ProofError."""
    _ordered(old_size, new_size)
    if old_size in (0, new_size) or old_size & (old_size - 1) == 0:
        return None
    return _consistency_roots(old_size, new_size, EMPTY_ROOT, proof)[0]


def _consistency_roots(old_size: int, new_size: int, old_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Both roots by the proof, for 0 < old_size < new_size. It is the path of the old tree's last complete subtree."""
    level = (old_size & -old_size).bit_length() - 1
    position = (old_size - 1) >> level
    inner, border = _lengths(old_size - 1, new_size)
    inner -= level
    # When the old tree is one complete subtree, its root starts the path and the proof leaves it out.
    whole = old_size == 1 << level
    _measured(proof, inner + border + (not whole))
    before = after = old_root if whole else proof[0]
    path = proof if whole else proof[1:]
    for height, sibling in enumerate(path[:inner]):
        if position >> height & 1:
            before, after = hash_children(sibling, before), hash_children(sibling, after)
        else:  # right of the path: not there yet when the tree was old
            after = hash_children(after, sibling)
    return _climb(before, path[inner:]), _climb(after, path[inner:])


# --- builders ---------------------------------------------------------------------------------------------------------


def root_at(size: int, node: Node) -> bytes:
    """The root of the first ``size`` leaves."""
    return fold(read(subtrees(size), node))


def subtrees(size: int) -> list[Place]:
    """The complete subtrees that the first ``size`` leaves are divided into, the largest first."""
    _natural(size, "a tree size")
    return _span(0, size)


def read(places: Iterable[Place], node: Node) -> list[bytes]:
    """The hashes of these subtrees. Raises ProofError for one that is not 32 bytes long."""
    return [_sized(node(*place), "a stored hash") for place in places]


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """PATH(index, D[size]) of RFC 9162, 2.1.3.1. Raises ProofError unless 0 <= index < size."""
    height, folded, border = inclusion_places(index, size)
    below = [(level, (index >> level) ^ 1) for level in range(height)]
    last = [fold(read(folded, node))] if folded else []
    return [*read(below, node), *last, *read(border, node)]


def inclusion_places(index: int, size: int) -> tuple[int, list[Place], list[Place]]:
    """The complete subtrees that an inclusion proof is made of: below which level they are the siblings of those that
    hold the leaf; then those that fold into one hash, the sibling that is not complete; then those on the left."""
    _bounds(index, size)
    inner, _ = _lengths(index, size)
    if not inner:
        folded: list[Place] = []
    else:
        position = (index >> inner - 1) ^ 1
        folded = _span(position << inner - 1, min(position + 1 << inner - 1, size))
    border = [(level, (index >> level) - 1) for level in range(inner, index.bit_length()) if index >> level & 1]
    return max(0, inner - 1), folded, border


def consistency_proof(old_size: int, new_size: int, node: Node) -> list[bytes]:
    """PROOF(old_size, D[new_size]) of RFC 9162, 2.1.4.1; empty from size 0 and between equal sizes."""
    _ordered(old_size, new_size)
    if old_size == 0:
        return []
    proof = []
    start, stop = 0, new_size
    while stop != old_size:
        middle = _split(start, stop)
        if old_size <= middle:
            proof.append(_span(middle, stop))
            stop = middle
        else:
            proof.append(_span(start, middle))
            start = middle
    if start:  # at start 0 this would be the old root, which the verifier holds
        proof.append(_span(start, stop))
    return [fold(read(places, node)) for places in reversed(proof)]


def new_nodes(index: int, leaf_hash: bytes, node: Node) -> list[tuple[int, int, bytes]]:
    """The complete subtrees that leaf ``index`` completes when appended, as (level, position, hash), leaf first."""
    _bounds(index, SIZE_LIMIT - 1)
    completed = [(0, index, _sized(leaf_hash, "the leaf hash"))]
    while completed[-1][1] & 1:
        level, position, right = completed[-1]
        completed.append((level + 1, position >> 1, hash_children(node(level, position - 1), right)))
    return completed


class MemoryTree:
    """The whole tree over leaf hashes held in memory: built once, in time and space linear in their number."""

    def __init__(self, leaf_hashes: Iterable[bytes]) -> None:
        self._levels = [[_sized(leaf, "a leaf hash") for leaf in leaf_hashes]]
        self.size = len(self._levels[0])
        while len(below := self._levels[-1]) > 1:
            self._levels.append([hash_children(*below[at : at + 2]) for at in range(0, len(below) - 1, 2)])
        self.root = root_at(self.size, self.node)

    def node(self, level: int, position: int) -> bytes:
        """The complete subtree at this place. Raises ProofError when the tree has none there."""
        if not (0 <= level < len(self._levels) and 0 <= position < len(self._levels[level])):
            raise ProofError(
                f"a tree of {self.size} leaves has no complete subtree at level {level}, position {position}"
            )
        return self._levels[level][position]

    def inclusion(self, index: int) -> list[bytes]:
        """The inclusion proof of leaf ``index`` in the whole tree."""
        return inclusion_proof(index, self.size, self.node)


# --- arithmetic and bounds --------------------------------------------------------------------------------------------


def _lengths(index: int, size: int) -> tuple[int, int]:
    """How many hashes of a path have siblings on either side, and how many above them stand on the left only.

    The two parts meet where the paths to leaf ``index`` and to the last leaf part ways.
    """
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _split(start: int, stop: int) -> int:
    """Where a range of two or more leaves is divided: after the largest power of two below its length."""
    return start + (1 << (stop - start - 1).bit_length() - 1)


def _span(start: int, stop: int) -> list[Place]:
    """The complete subtrees over leaves start to stop, the largest first; ``start`` is 0 or where _split leaves it."""
    length = stop - start
    places = []
    for level in reversed(range(length.bit_length())):
        if length >> level & 1:
            places.append((level, (start >> level) + (length >> level) - 1))
    return places


def _climb(root: bytes, lefts: Sequence[bytes]) -> bytes:
    for left in lefts:
        root = hash_children(left, root)
    return root


def _sized(digest: bytes, what: str) -> bytes:
    if len(digest) != HASH_SIZE:
        raise ProofError(f"{what} has {len(digest)} bytes where SHA-256 has {HASH_SIZE}")
    return digest


def _natural(size: int, what: str) -> None:
    if not 0 <= size < SIZE_LIMIT:
        raise ProofError(f"{what} of {size} is outside 0 to 2^63 - 1")


def _bounds(index: int, size: int) -> None:
    _natural(size, "a tree size")
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves")


def _ordered(old_size: int, new_size: int) -> None:
    _natural(old_size, "a tree size")
    _natural(new_size, "a tree size")
    if old_size > new_size:
        raise ProofError(f"the old tree has {old_size} leaves, more than the new one's {new_size}")


def _measured(proof: Sequence[bytes], length: int) -> None:
    if len(proof) != length:
        raise ProofError(f"the proof has {len(proof)} hashes where {length} are needed")
    for digest in proof:
        if len(digest) != HASH_SIZE:
            _sized(digest, "a hash of the proof")
