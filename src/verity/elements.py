"""Lists that a receipt commits to element by element, so that any part of them can be opened: tokens and segments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from verity.log.tree import MemoryTree, hash_leaf
from verity.statements.commitments import SEGMENT_FIELD, TOKEN_FIELD, commit_element, commit_token, derive_salt
from verity.statements.request import IntentName
from verity.statements.segments import Evaluated, Leaf, SegmentRoot, chain, evaluated_length, make_leaves
from verity.store.receipts import Segment, Token


def segmented(
    intent: IntentName, secret: bytes, prompt: list[int], tokens: list[Token], evaluated: Evaluated
) -> tuple[dict[str, Any], list[Segment]]:
    """Field ``output/segments``, and what is kept to open it."""
    output = [token.id for token in tokens]
    length = evaluated_length(len(prompt), len(output))
    states = chain(evaluated.encoding, evaluated.size, length, evaluated.chunks)
    unrooted = SegmentRoot(count=len(states), encoding=evaluated.encoding, root="", size=evaluated.size)
    leaves = make_leaves(unrooted, prompt, output, states, evaluated.grammar)
    tree = segment_tree(bytes.fromhex(intent.id), secret, leaves, bytes.fromhex(intent.sha256))
    kept = [Segment(state, grammar) for state, grammar in zip(states, evaluated.grammar, strict=True)]
    return msgspec.to_builtins(msgspec.structs.replace(unrooted, root=tree.root.hex())), kept


def segment_tree(receipt_id: bytes, secret: bytes, leaves: Iterable[Leaf], intent: bytes) -> MemoryTree:
    """The tree over the segments' leaves, so that any of them can be opened alone."""
    return MemoryTree([
        hash_leaf(commit_element(receipt_id, SEGMENT_FIELD, derive_salt(secret, SEGMENT_FIELD, n), leaf.body(intent)))
        for n, leaf in enumerate(leaves)
    ])  # fmt: skip


def token_tree(receipt_id: bytes, secret: bytes, tokens: list[Token]) -> MemoryTree:
    """The tree over the output's token commitments, so that any range of them can be opened alone."""
    return MemoryTree([
        hash_leaf(commit_token(receipt_id, index, derive_salt(secret, TOKEN_FIELD, index), token.id, token.piece))
        for index, token in enumerate(tokens)
    ])  # fmt: skip
