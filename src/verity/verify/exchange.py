"""Two parties open their leaves to each other, by bisection: up to which segment do they agree? See spec/dispute.md."""

from __future__ import annotations

from typing import NamedTuple

from verity.errors import VerityError
from verity.statements.segments import Leaf, SegmentRoot
from verity.verify.leaves import LeafSource, check_leaf


class Leaves(NamedTuple):
    """One party's: who opens them, and what they are held against: root, receipt id and intent's statement digest."""

    source: LeafSource
    root: SegmentRoot
    receipt: bytes
    intent: bytes


class Silent(Exception):
    """Party ``which`` (0 or 1) did not open leaf ``index``, or another than it committed to; ``error`` says which."""

    def __init__(self, which: int, index: int, error: VerityError) -> None:
        self.which = which
        self.index = index
        self.error = error


class Exchange:
    """The leaves of both, opened one by one and held against the roots. ``common`` are the segments that both have,
    ``count`` is how many leaves were opened so far."""

    def __init__(self, a: Leaves, b: Leaves) -> None:
        self._sides = (a, b)
        self.common = min(a.root.count, b.root.count)
        self.count = 0
        self._known: dict[tuple[int, int], Leaf] = {}

    def first_difference(self) -> tuple[int, bool] | None:
        """Where they part, and whether one must be wrong there: not if only their ends differ, and one was cut off.
        None if all that both committed to agrees. Raises Silent."""
        low, high = 0, self.common
        while low < high:  # all below low agree; something at or above high differs, or is not there
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._agree(middle) else (low, middle)
        if low < self.common:
            return self._parted(low)
        for index in range(self.common):  # a liar's leaves need not be chained, and grammars are not
            a, b = self._pair(index)
            if not self._agree(index) or a.grammar != b.grammar:
                return self._parted(index)
        one, other = self._sides
        return (self.common - 1, False) if one.root.count != other.root.count else None

    def _parted(self, index: int) -> tuple[int, bool]:
        a, b = self._pair(index)
        return index, a.end == b.end

    def _agree(self, index: int) -> bool:
        a, b = self._pair(index)
        return a[1:3] == b[1:3] and a.end_state == b.end_state and a.tokens == b.tokens and a.sampler == b.sampler

    def _pair(self, index: int) -> tuple[Leaf, Leaf]:
        return self._leaf(0, index), self._leaf(1, index)

    def _leaf(self, which: int, index: int) -> Leaf:
        if (which, index) not in self._known:
            side = self._sides[which]
            try:
                opening = side.source(index)
                self._known[which, index] = check_leaf(opening, index, side.root, side.receipt, side.intent)
            except VerityError as error:
                raise Silent(which, index, error) from error
            self.count += 1
        return self._known[which, index]
