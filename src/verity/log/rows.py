"""What the log's three tables hold, read with suspicion: a damaged row is a LogError, never a wrong answer."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from verity.errors import FormatError, LogError, SignatureError
from verity.log import blocks, tree
from verity.log.blocks import Block
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.tree import EMPTY_ROOT, HASH_SIZE, Place
from verity.statements.keys import parse_key

HINT = "keep the damaged file as evidence, then `verity restore` a backup or go on in a new home: a log is never mended"

_T = TypeVar("_T")

FIRST = "0" * 64
"""What stands for the preceding leaf's hash in the log's first entry."""


class Stored(msgspec.Struct, frozen=True):
    """An entry as it is kept: the salted digest that is the leaf's data, its salt, and the envelope it stands for.

    Compaction takes salt and envelope away: the leaf stays, and with it every proof.
    """

    index: int
    entry: bytes
    salt: bytes | None
    envelope: bytes | None


class Head(NamedTuple):
    """The verified head. ``checkpoint`` is the signed note, empty for a log without entries."""

    size: int
    root: bytes
    checkpoint: str


def latest_epoch(connection: sqlite3.Connection) -> int:
    """The epoch that the device's log is in: the last that has a head; 0 before there is one."""
    return int(connection.execute("SELECT coalesce(max(epoch), 0) FROM log_heads").fetchone()[0])


def key_of_epoch(connection: sqlite3.Connection, epoch: int) -> bytes | None:
    """The public key that the log of an epoch is named after, None before there is one: the device may have had another
    key then. Raises LogError."""
    query = "SELECT CAST(origin AS BLOB) FROM log_heads WHERE epoch = ?"
    row = connection.execute(query, (epoch,)).fetchone()
    if row is None:
        return None
    parts = bytes(row[0]).split(b"/")
    try:
        return parse_key(parts[1].decode() if len(parts) == 3 else "")
    except (FormatError, UnicodeDecodeError) as error:
        raise LogError(f"the log of epoch {epoch} is not named after a key", HINT) from error


def epochs(connection: sqlite3.Connection) -> list[int]:
    """The epochs of the device's log, the first one first."""
    return [int(row[0]) for row in connection.execute("SELECT epoch FROM log_heads ORDER BY epoch")]


class Rows(NamedTuple):
    """The rows of one epoch, over a connection inside a transaction or snapshot: what is read belongs together."""

    connection: sqlite3.Connection
    epoch: int

    def head(self, origin: str, public: bytes, known: Head | None = None) -> Head:
        """The log's head, its signature checked under the device's own key, unless it is the ``known`` one to the byte.

        Raises LogError.
        """
        # As blobs: SQLite hands out text that is not UTF-8 by raising an error of its own.
        query = "SELECT CAST(origin AS BLOB), size, root, CAST(checkpoint AS BLOB) FROM log_heads WHERE epoch = ?"
        row = self.connection.execute(query, (self.epoch,)).fetchone()
        if row is None:
            return Head(0, EMPTY_ROOT, "")
        stored_origin, size, root, note = row
        if known is not None and row == (origin.encode(), known.size, known.root, known.checkpoint.encode()):
            return known
        try:
            signed = open_checkpoint(note, public)
        except (FormatError, SignatureError) as error:
            raise LogError(f"the log's stored head does not verify: {error}", HINT) from error
        if signed.origin != origin:
            raise LogError(
                f"the database holds the log {signed.origin}, not {origin}", "use the key that it belongs to"
            )
        if stored_origin != origin.encode() or signed != Checkpoint(origin, size, root):
            raise LogError("the log's stored size, root or origin is not the one its signed head states", HINT)
        return Head(size, root, note.decode())

    def entry(self, index: int) -> Stored:
        """The entry at ``index``, which the caller knows to be below the log's size. LogError when it is missing."""
        row = self.connection.execute(f"{_ENTRIES} AND position = ?", (self.epoch, index)).fetchone()
        if row is None:
            raise LogError(f"entry {index} is missing from the log", HINT)
        return Stored(*row)

    def reaches_beyond(self, size: int) -> bool:
        """Whether there is an entry outside the positions 0 to ``size``."""
        # Two searches of the index: asked for both at once, SQLite reads all of it.
        query = (
            "SELECT (SELECT min(position) FROM log_entries WHERE epoch = ?1), "
            "(SELECT max(position) FROM log_entries WHERE epoch = ?1)"
        )
        first, last = self.connection.execute(query, (self.epoch,)).fetchone()
        return first is not None and (first < 0 or last >= size)

    def leaves(self, indices: Sequence[int]) -> dict[int, bytes]:
        """The data of the leaves at these indices, which the caller knows to be below the log's size. LogError when one
        is missing."""
        found: dict[int, bytes] = {}
        for some in _batched(indices, _MOST_AT_ONCE):
            query = _LEAVES + f"({', '.join('?' * len(some))})"
            found |= dict(self.connection.execute(query, (self.epoch, *some)))
        for index in indices:
            if index not in found:
                raise LogError(f"entry {index} is missing from the log", HINT)
        return found

    def entries(self, start: int, stop: int) -> list[Stored]:
        """The entries from ``start`` up to ``stop``, all of them. Raises LogError when one is missing."""
        query = f"{_ENTRIES} AND position >= ? AND position < ? ORDER BY position"
        entries = [Stored(*row) for row in self.connection.execute(query, (self.epoch, start, stop))]
        for expected, stored in zip(range(start, stop), entries, strict=False):
            if stored.index != expected:
                raise LogError(f"entry {expected} is missing from the log", HINT)
        if len(entries) < stop - start:
            raise LogError(f"entry {start + len(entries)} is missing from the log", HINT)
        return entries

    def every_entry(self) -> Iterator[Stored]:
        """Whatever rows there are, by position, gaps and all."""
        for row in self.connection.execute(f"{_ENTRIES} ORDER BY position", (self.epoch,)):
            yield Stored(*row)

    def find_node(self, level: int, position: int) -> bytes | None:
        [(block, at)] = blocks.locate([(level, position)])
        return self.find_blocks([block]).get(block, b"")[at : at + HASH_SIZE] or None

    def node(self, level: int, position: int) -> bytes:
        """The stored tree, in the form that the proof builders take. Raises LogError."""
        return _sound(self.find_node(level, position), level, position)

    def hashes(self, places: Sequence[Place]) -> list[bytes]:
        """Many hashes of the stored tree, read at once. Raises LogError when one is missing or not sound."""
        return _cut(places, self.find_blocks({block for block, _ in blocks.locate(places)}))

    def paths(self, indices: Sequence[int], size: int) -> list[tuple[bytes, list[bytes]]]:
        """For each of these leaves its hash and its inclusion proof in the tree of ``size``, read at once; none is
        checked. Raises LogError when a hash of the tree's edge is missing or not sound."""
        made = [tree.inclusion_places(index, size) for index in indices]
        siblings = [blocks.path(index, height) for index, (height, _, _) in zip(indices, made, strict=True)]
        edge = {place for _, folded, border in made for place in (*folded, *border)}
        others = [*edge.difference((0, index) for index in indices), *((0, index) for index in indices)]
        wanted = {block for path in siblings for block, _ in path}
        found = self.find_blocks(wanted.union(block for block, _ in blocks.locate(others)))
        known = dict(zip(others, _cut(others, found), strict=True))
        lasts: dict[Place, bytes] = {}  # many proofs share the one sibling that is not complete
        proofs = []
        for index, (_, folded, border), path in zip(indices, made, siblings, strict=True):
            proof = [found.get(block, b"")[at : at + HASH_SIZE] for block, offsets in path for at in offsets]
            if folded:
                if folded[0] not in lasts:
                    lasts[folded[0]] = tree.fold([known[place] for place in folded])
                proof.append(lasts[folded[0]])
            proofs.append((known[0, index], proof + [known[place] for place in border]))
        return proofs

    def root_at(self, size: int) -> bytes:
        """The root of the first ``size`` entries, of which the log has at least so many. Raises LogError."""
        return tree.fold(self.hashes(tree.subtrees(size)))

    def find_blocks(self, wanted: Iterable[Block]) -> dict[Block, bytes]:
        """Those of these blocks that there are."""
        found: dict[Block, bytes] = {}
        for some in _batched(wanted, _MOST_AT_ONCE):
            query = " UNION ALL ".join([_BLOCK] * len(some))  # one statement: each costs more than what it reads
            given = [number for block in some for number in (self.epoch, *block)]
            found |= {(level, at): hashes for level, at, hashes in self.connection.execute(query, given)}
        return found

    def add_nodes(self, nodes: Sequence[tuple[int, int, bytes]]) -> None:
        """Store subtrees that came to be, in that order. Raises LogError when some were there already."""
        new = blocks.gathered(nodes)
        begun = self.find_blocks(new)
        rows = []
        for block, (first, hashes) in new.items():
            before = begun.get(block, b"")
            if len(before) != first:
                raise LogError("the log's tree already holds hashes of a new entry, or lacks some before it", HINT)
            rows.append((self.epoch, *block, before + hashes))
        self.connection.executemany(_KEEP_BLOCK, rows)

    def count_nodes(self) -> int:
        query = "SELECT coalesce(sum(length(hashes)), 0) FROM log_blocks WHERE epoch = ?"
        return -(-int(self.connection.execute(query, (self.epoch,)).fetchone()[0]) // HASH_SIZE)


def _batched(values: Iterable[_T], most: int) -> Iterator[list[_T]]:
    """The values in lists of at most so many."""
    remaining = iter(values)
    while batch := list(itertools.islice(remaining, most)):
        yield batch


def _cut(places: Sequence[Place], found: Mapping[Block, bytes]) -> list[bytes]:
    """The hashes at these places out of the blocks that were found. Raises LogError for one that is not sound."""
    hashes = [found.get(block, b"")[at : at + HASH_SIZE] for block, at in blocks.locate(places)]
    if len(b"".join(hashes)) != len(hashes) * HASH_SIZE:
        for place, digest in zip(places, hashes, strict=True):
            _sound(digest, *place)
    return hashes


def _sound(digest: bytes | None, level: int, position: int) -> bytes:
    if digest is None or len(digest) != HASH_SIZE:
        raise LogError(f"the log's tree has no sound hash at level {level}, position {position}", HINT)
    return digest


_MOST_AT_ONCE = 64
_KEEP_BLOCK = (
    "INSERT INTO log_blocks VALUES (?, ?, ?, ?) ON CONFLICT (epoch, level, position) "
    "DO UPDATE SET hashes = excluded.hashes"
)
_LEAVES = "SELECT position, entry FROM log_entries WHERE epoch = ? AND position IN "
_BLOCK = "SELECT level, position, hashes FROM log_blocks WHERE epoch = ? AND level = ? AND position = ?"
_ENTRIES = "SELECT position, entry, salt, envelope FROM log_entries WHERE epoch = ?"
