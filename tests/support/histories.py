"""Other histories of a device's log than the one it keeps, signed by its owner."""

from __future__ import annotations

import msgspec

from verity.log.checkpoint import Checkpoint, sign
from verity.log.tree import MemoryTree, hash_leaf
from verity.node import Node
from verity.statements.bundle import Bundle, LogPart, LogProof


def head(node: Node, leaves: list[bytes]) -> str:
    """A head that the owner signs over whatever leaves he likes."""
    return sign(Checkpoint(node.log.origin, len(leaves), MemoryTree(leaves).root), node.key)


def leaves_of(node: Node) -> list[bytes]:
    return [hash_leaf(stored.entry) for stored in node.log.entries()]


def replaced(node: Node, bundle: Bundle, leaves: list[bytes]) -> Bundle:
    """The same receipt in a log of these leaves."""
    tree = MemoryTree(leaves)

    def proof(old: LogProof) -> LogProof:
        return msgspec.structs.replace(old, path=[h.hex() for h in tree.inclusion(old.index)])

    log = LogPart(head(node, leaves), proof(bundle.log.intent), proof(bundle.log.result))
    return msgspec.structs.replace(bundle, log=log)
