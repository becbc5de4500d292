"""Steps that a disclosure opens, read under the tree that the receipt committed to. See spec/inference.md."""

from __future__ import annotations

from collections.abc import Sequence

from verity.errors import FormatError
from verity.log.tree import hash_leaf
from verity.statements.bundle import StepOpening
from verity.statements.commitments import decode_salt
from verity.statements.steps import MAX_STEPS, STEP_FIELD, Step, commit_step, encode_step
from verity.verify.claims import Fields, TokenRoot, Withheld
from verity.verify.elements import check_elements


def open_steps(openings: Sequence[StepOpening], fields: Fields, receipt_id: bytes) -> list[Step]:
    """The opened steps, in order. Raises FormatError, ProofError when one is not what was committed to."""
    if not openings and STEP_FIELD not in fields:
        return []
    try:
        tree = step_root(fields)
    except Withheld as field:
        raise FormatError("steps are opened, but not the root of their tree") from field
    steps = [opening.step() for opening in openings]
    leaves = [
        hash_leaf(commit_step(receipt_id, step.index, decode_salt(opening.salt), encode_step(step)))
        for opening, step in zip(openings, steps, strict=True)
    ]
    check_elements(openings, leaves, tree, "steps")
    return steps


def step_root(fields: Fields) -> TokenRoot:
    """How many steps there are, and the root of their tree. Raises Withheld, FormatError."""
    tree = fields.read(STEP_FIELD, TokenRoot)
    if not 0 <= tree.count <= MAX_STEPS:
        raise FormatError(f"a receipt has at most {MAX_STEPS:,} steps")
    return tree
