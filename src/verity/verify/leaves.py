"""One leaf of a receipt's segments, opened alone: what two parties exchange in a dispute. See spec/dispute.md."""

from __future__ import annotations

from typing import Protocol

import msgspec

from verity.errors import FormatError
from verity.log.tree import MemoryTree, check_inclusion
from verity.statements.bundle import Bundle, Disclosure
from verity.statements.commitments import decode_salt
from verity.statements.segments import Leaf, SegmentRoot
from verity.statements.strict import decode_hex
from verity.verify.segments import Segments, leaf_hash

_DIGESTS = ("start_state", "end_state", "tokens", "sampler", "grammar")


class LeafOpening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The leaf of segment ``number``: positions, digests (hex), salt (base64) and the path (hex) to the root."""

    number: int
    start: int
    end: int
    start_state: str
    end_state: str
    tokens: str
    sampler: str
    grammar: str
    salt: str
    path: list[str]


class LeafSource(Protocol):
    def __call__(self, index: int, /) -> LeafOpening:
        """The opening of leaf ``index``, from the party itself: a FormatError or ProofError is held against it. Raises
        any other VerityError when it could not be asked."""


def check_leaf(opening: LeafOpening, index: int, root: SegmentRoot, receipt_id: bytes, intent: bytes) -> Leaf:
    """The leaf, if it is number ``index`` under the root of a receipt. Raises FormatError, ProofError."""
    if opening.number != index:
        raise FormatError(f"leaf {opening.number} was opened instead of {index}")
    if not 0 <= opening.start < opening.end < 1 << 32:
        raise FormatError("a segment has impossible positions")
    digests = {name: decode_hex(getattr(opening, name), 32, "digest in a leaf") for name in _DIGESTS}
    leaf = Leaf(index, opening.start, opening.end, **digests)
    path = [decode_hex(text, 32, "hash in a path") for text in opening.path]
    expected = decode_hex(root.root, 32, "root of the segments")
    check_inclusion(index, root.count, leaf_hash(receipt_id, decode_salt(opening.salt), leaf, intent), path, expected)
    return leaf


def opened_leaves(bundle: Bundle, segments: Segments | None, receipt_id: bytes, intent: bytes) -> LeafSource:
    """Opens the leaves of a bundle in which all segments are opened (and checked)."""

    def nothing(index: int) -> LeafOpening:
        raise FormatError(f"segment {index} is not opened")

    if segments is None or not isinstance(bundle.disclosure, Disclosure):
        return nothing
    salts = [opening.salt for opening in bundle.disclosure.segments]
    leaves = segments.leaves
    tree = MemoryTree([
        leaf_hash(receipt_id, decode_salt(salt), leaf, intent) for salt, leaf in zip(salts, leaves, strict=True)
    ])  # fmt: skip

    def opened(index: int) -> LeafOpening:
        leaf = leaves[index]
        digests = {name: getattr(leaf, name).hex() for name in _DIGESTS}
        path = [h.hex() for h in tree.inclusion(index)]
        return LeafOpening(number=index, start=leaf.start, end=leaf.end, salt=salts[index], path=path, **digests)

    return opened
