"""That a log's key signed two histories: evidence that proves itself to whoever knows the key."""

from __future__ import annotations

import msgspec

from verity.errors import ProofError
from verity.log.checkpoint import split
from verity.log.tree import Node, consistency_proof, root_at
from verity.statements.strict import canonical

SUFFIX = ".fork.json"


class Prefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The root (hex) that the larger tree had at the smaller size, and the consistency proof (hex) from there."""

    root: str
    path: list[str]


class Fork(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Two signed heads of one log, the smaller first; ``prefix`` when their sizes differ."""

    checkpoints: tuple[str, str]
    prefix: Prefix | msgspec.UnsetType = msgspec.UNSET

    def encode(self) -> bytes:
        return canonical(self) + b"\n"


def fork_of(first: str, second: str, node: Node | None = None) -> Fork:
    """The evidence in two heads; for two sizes, ``node`` reads the larger one's tree. Raises ProofError for none."""
    smaller, larger = sorted((first, second), key=lambda text: split(text, extensions=True)[0].size)
    old, new = (split(text, extensions=True)[0] for text in (smaller, larger))
    if node is None or old.size == new.size:
        if old.size != new.size or old.root == new.root:
            raise ProofError("the two heads do not contradict each other")
        return Fork((smaller, larger))
    root = root_at(old.size, node)
    if root == old.root:
        raise ProofError("the two heads do not contradict each other")
    path = consistency_proof(old.size, new.size, node)
    return Fork((smaller, larger), Prefix(root.hex(), [digest.hex() for digest in path]))
