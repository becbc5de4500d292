"""Elements that a disclosure opens one by one: each must be a leaf of the tree whose root the receipt committed to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from verity.errors import FormatError
from verity.log.tree import check_inclusion, root_of
from verity.statements.strict import decode_hex
from verity.verify.claims import TokenRoot


class Opening(Protocol):
    """An element's number, and the path to the root if others are withheld."""

    @property
    def index(self) -> int: ...
    @property
    def path(self) -> list[str] | msgspec.UnsetType: ...


def check_elements(openings: Sequence[Opening], leaves: Sequence[bytes], tree: TokenRoot, what: str) -> bool:
    """Whether these are all elements (``what`` names them), each where its number says.

    Raises FormatError, ProofError when one is not what was committed to.
    """
    root = decode_hex(tree.root, 32, f"root of the output's {what}")
    if [opening.index for opening in openings] != sorted({opening.index for opening in openings}):
        raise FormatError(f"the opened {what} are not in order, or one stands twice")
    if len(openings) == tree.count:
        if root_of(leaves) != root or (openings and openings[-1].index != tree.count - 1):
            raise FormatError(f"the output's {what} are not those that were committed to")
        return True
    for opening, leaf in zip(openings, leaves, strict=True):
        path = opening.path if isinstance(opening.path, list) else []
        check_inclusion(opening.index, tree.count, leaf, [decode_hex(h, 32, "hash in a path") for h in path], root)
    return False
