"""Steps that a disclosure opens: each must be a leaf of the tree that the receipt committed to. See spec/inference.md."""

from __future__ import annotations

from collections.abc import Sequence

from verity.errors import FormatError
from verity.log.tree import check_inclusion, hash_leaf, root_of
from verity.statements.bundle import StepOpening
from verity.statements.commitments import decode_salt
from verity.statements.steps import MAX_STEPS, STEP_FIELD, Step, commit_step, encode_step
from verity.statements.strict import decode_hex
from verity.verify.claims import Fields, TokenRoot, Withheld


def open_steps(openings: Sequence[StepOpening], fields: Fields, receipt_id: bytes) -> list[Step]:
    """The opened steps, in order. Raises FormatError, ProofError."""
    if not openings and STEP_FIELD not in fields:
        return []
    tree = step_root(fields)
    root = decode_hex(tree.root, 32, "root of the output's steps")
    if [o.index for o in openings] != sorted({o.index for o in openings}):
        raise FormatError("the opened steps are not in order, or one stands twice")
    steps = [opening.step() for opening in openings]
    leaves = [_leaf(receipt_id, opening, step) for opening, step in zip(openings, steps, strict=True)]
    if len(openings) == tree.count:
        if root_of(leaves) != root or (openings and openings[-1].index != tree.count - 1):
            raise FormatError("the output's steps are not those that were committed to")
        return steps
    for opening, leaf in zip(openings, leaves, strict=True):
        path = opening.path if isinstance(opening.path, list) else []
        check_inclusion(opening.index, tree.count, leaf, [decode_hex(h, 32, "hash in a path") for h in path], root)
    return steps


def step_root(fields: Fields) -> TokenRoot:
    """How many steps there are, and the root of their tree. Raises FormatError."""
    try:
        tree = fields.read(STEP_FIELD, TokenRoot)
    except Withheld as field:
        raise FormatError("steps are opened, but not the root of their tree") from field
    if not 0 <= tree.count <= MAX_STEPS:
        raise FormatError(f"a receipt has at most {MAX_STEPS:,} steps")
    return tree


def _leaf(receipt_id: bytes, opening: StepOpening, step: Step) -> bytes:
    return hash_leaf(commit_step(receipt_id, step.index, decode_salt(opening.salt), encode_step(step)))
