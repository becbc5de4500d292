"""Read a whole log again and say what is wrong with it.

1. The head's signature holds, and its columns say what it says.
2. Positions run from 0 to the head's size without a gap, and none lies outside.
3. Every stored hash of the tree is the one the entries give, and there is no other.
4. The root that the entries give is the head's.
5. At the size of a checkpoint that somebody kept, the root that the entries give is that checkpoint's.
6. Every entry is what its envelope says: the caller's ``inspect`` judges, for envelopes are not this layer's business.
   Compacted entries have none: their leaves are checked, and only counted.

Steps 1 to 4 and 6 find damage. Only step 5 finds an owner who wrote a new history and signed it.
"""

from __future__ import annotations

from collections.abc import Callable

from verity.errors import LogError, VerityError
from verity.log import rows, tree
from verity.log.checkpoint import Checkpoint
from verity.log.rows import Head, Rows, Stored
from verity.statements.receipt import Place

MAX_PROBLEMS = 100
"""Further ones are only said to exist: a log of a million entries may be damaged in all of them."""

Inspect = Callable[[Stored, Place], str | None]


class Audit:
    """One reading of one epoch's rows, inside a snapshot. ``run`` raises nothing of its own."""

    def __init__(
        self,
        stored: Rows,
        origin: str,
        public: bytes,
        kept: Checkpoint | None = None,
        inspect: Inspect | None = None,
    ) -> None:
        self._rows = stored
        self._origin = origin
        self._public = public
        self._kept = kept
        self._inspect = inspect
        self._problems: list[str] = []
        self._next = 0  # the position expected
        self._previous = rows.FIRST  # of the entry at that position; empty when its predecessor is missing
        self._gapless = True
        self._pending: list[bytes] = []  # the complete subtrees over the entries so far, while there was no gap
        self._roots: dict[int, bytes] = {0: tree.EMPTY_ROOT}  # by size, for the sizes that a checkpoint names
        self._known_nodes = 0

    def run(self) -> list[str]:
        """Return the problems found, one sentence each."""
        head = self._read_head()  # step 1
        for stored in self._rows.every_entry():
            if stored.index < 0:
                self._note(f"an entry has position {stored.index}, which no log has")
            elif head is not None and stored.index >= head.size:
                self._note(f"entry {stored.index} lies beyond the signed head, which counts {head.size}")
            else:
                self._skip_to(stored.index)
                self._visit(stored, head)
        if head is not None:
            self._skip_to(head.size)
            self._compare_head(head)
        self._count_nodes()
        if self._kept is not None:
            self._compare_kept(self._kept, self._next if head is None else head.size)
        return self._problems

    def _note(self, problem: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)
        elif len(self._problems) == MAX_PROBLEMS:
            self._problems.append("there are more problems than are listed here")

    def _read_head(self) -> Head | None:
        try:
            return self._rows.head(self._origin, self._public)
        except LogError as error:
            self._note(str(error))
            return None

    def _skip_to(self, index: int) -> None:
        """Step 2: note the entries missing before ``index``."""
        if index == self._next:
            return
        first, last = self._next, index - 1
        self._note(f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing")
        self._gapless = False
        self._next = index
        self._previous = ""

    def _visit(self, stored: Stored, head: Head | None) -> None:
        index = stored.index
        leaf = tree.hash_leaf(stored.entry)
        if self._gapless:
            self._compare_nodes(index, leaf)
            if index + 1 in (head.size if head else -1, self._kept.size if self._kept else -1):
                self._roots[index + 1] = tree.fold(self._pending)
        elif self._rows.find_node(0, index) != leaf:
            self._note(f"entry {index} is not the one in the log's tree")
        if self._inspect is not None and self._previous and stored.envelope is not None:
            self._note_inspection(self._inspect, stored)
        self._next = index + 1
        self._previous = leaf.hex()

    def _compare_nodes(self, index: int, leaf: bytes) -> None:
        """Step 3, for the complete subtrees that end with this leaf."""
        derived = tree.new_nodes(index, leaf, lambda _level, _position: self._pending.pop())
        self._pending.append(derived[-1][2])
        for level, position, digest in derived:
            stored = self._rows.find_node(level, position)
            self._known_nodes += stored is not None
            if stored == digest:
                continue
            if level == 0:
                self._note(f"entry {index} is not the one in the log's tree")
            else:
                self._note(f"the tree's hash at level {level}, position {position} is not what the entries give")

    def _note_inspection(self, inspect: Inspect, stored: Stored) -> None:
        """Step 6."""
        try:
            problem = inspect(stored, Place(self._origin, stored.index, self._previous))
        except VerityError as error:
            problem = f"entry {stored.index}: {error}"
        if problem:
            self._note(problem)

    def _count_nodes(self) -> None:
        """Step 3: with a gap, hashes of missing entries remain, and the gap has been noted."""
        extra = self._rows.count_nodes() - self._known_nodes
        if self._gapless and extra:
            self._note(f"the tree has hashes that belong to no entry: {extra}")

    def _compare_head(self, head: Head) -> None:
        """Step 4."""
        root = self._roots.get(head.size)
        if self._gapless and root is not None and root != head.root:
            self._note(f"the signed root is {head.root.hex()}, but the entries give {root.hex()}")

    def _compare_kept(self, kept: Checkpoint, size: int) -> None:
        """Step 5."""
        root = self._roots.get(kept.size)
        if kept.size > size:
            self._note(f"the log was cut back: a kept checkpoint counts {kept.size} entries, the log has {size}")
        elif root is None:
            self._note(
                f"the kept checkpoint, at size {kept.size}, cannot be compared, for entries before it are missing"
            )
        elif root != kept.root:
            self._note(f"the log was rewritten: at size {kept.size} its root was {kept.root.hex()}, now {root.hex()}")
