"""The steps of a session from both sides of its receipt: made into leaves of the tree that is committed, and opened."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec

from verity.errors import LogError, StoreError, UsageError
from verity.log.tree import MemoryTree, fold, hash_leaf, new_nodes
from verity.statements.bundle import MAX_BUNDLE_BYTES, MAX_OPENED_STEPS, StepOpening, TensorOpening
from verity.statements.commitments import derive_salt
from verity.statements.steps import STEP_FIELD, Step, commit_step, decode_step
from verity.statements.strict import encode_base64
from verity.store.steps import Steps


class StepTree:
    """The tree over a session's steps as it grows, in logarithmic memory."""

    def __init__(self, receipt_id: str, secret: bytes) -> None:
        self._id = bytes.fromhex(receipt_id)
        self._secret = secret
        self._complete: list[bytes] = []
        self.count = 0

    def append(self, bodies: Iterable[bytes]) -> None:
        """Add steps, by their bytes."""
        for body in bodies:
            leaf = step_leaf(self._id, self._secret, self.count, body)
            self._complete.append(new_nodes(self.count, leaf, lambda _level, _position: self._complete.pop())[-1][2])
            self.count += 1

    def field(self) -> dict[str, Any]:
        """Field ``output/steps``."""
        return {"count": self.count, "root": fold(self._complete).hex()}


def step_leaf(receipt_id: bytes, secret: bytes, index: int, body: bytes) -> bytes:
    """The leaf of one step, by its bytes."""
    return hash_leaf(commit_step(receipt_id, index, derive_salt(secret, STEP_FIELD, index), body))


def recovered(store: Steps, receipt_id: str, secret: bytes) -> dict[str, Any]:
    """Field ``output/steps`` over what a process that died had made durable. Raises StoreError."""
    tree = StepTree(receipt_id, secret)
    tree.append(store.read(receipt_id, secret))
    return tree.field()


def open_steps(
    store: Steps, receipt_id: str, secret: bytes, said: dict[str, Any], start: int, stop: int
) -> list[StepOpening]:
    """Steps ``start`` up to ``stop`` of a finished receipt whose field ``output/steps`` is ``said``.

    Raises UsageError for more than a bundle can hold, StoreError when the steps are not here, LogError when what is
    kept is not what was committed to.
    """
    count = said["count"]
    if not (0 <= start < stop <= count or (start, stop, count) == (0, 0, 0)):
        raise UsageError(f"the receipt has {count} steps: there is no range {start}:{stop}", "they are counted from 0")
    if not count:
        return []
    leaves, bodies = _read(store, receipt_id, secret, count, start, stop)
    if not leaves:
        raise StoreError(
            f"the steps of receipt {receipt_id} are not on this device: a backup does not hold them",
            "`verity export … --field '*'` opens everything else",
        )
    tree = MemoryTree(leaves)
    if (tree.size, tree.root.hex()) != (count, said["root"]):
        raise LogError(f"the steps of receipt {receipt_id} are not all there any more", "the file was damaged or cut")
    whole = stop - start == count
    opened = [
        _opening(decode_step(index, body), secret, None if whole else tree) for index, body in enumerate(bodies, start)
    ]
    if sum(len(msgspec.json.encode(opening)) for opening in opened) > MAX_BUNDLE_BYTES - _REST:
        raise _too_many(count)
    return opened


_REST = 1 << 20
"""Of a bundle's bytes, what is left for all that is no step."""


def _read(
    store: Steps, receipt_id: str, secret: bytes, count: int, start: int, stop: int
) -> tuple[list[bytes], list[bytes]]:
    """The leaves of all steps, and the bytes of those wanted. What was written after the last that counts is left."""
    name, leaves, bodies, size = bytes.fromhex(receipt_id), list[bytes](), list[bytes](), 0
    for index, body in enumerate(itertools.islice(store.read(receipt_id, secret), count)):
        leaves.append(step_leaf(name, secret, index, body))
        if start <= index < stop:
            bodies.append(body)
            size += len(body)
            if size > MAX_BUNDLE_BYTES or len(bodies) > MAX_OPENED_STEPS:
                raise _too_many(stop - start)
    return leaves, bodies


def _opening(step: Step, secret: bytes, tree: MemoryTree | None) -> StepOpening:
    return StepOpening(
        index=step.index,
        inputs=[TensorOpening.of(tensor) for tensor in step.inputs],
        outputs=[TensorOpening.of(tensor) for tensor in step.outputs],
        salt=encode_base64(derive_salt(secret, STEP_FIELD, step.index)),
        note=step.note,
        path=[h.hex() for h in tree.inclusion(step.index)] if tree is not None else msgspec.UNSET,
    )


def _too_many(count: int) -> UsageError:
    return UsageError(
        f"{count:,} steps do not fit into one bundle", "open them in ranges: `verity export … --steps A:B`"
    )
