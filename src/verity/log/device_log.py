"""The device's append-only log: entries, tree and signed head, kept in the device's database.

Two processes of one device must not fork the log: that would put the device's signature under two histories. So an
append reads the head, verifies it as a stranger would, and replaces it by compare-and-swap, all in one transaction (the
rule of Sunlight, https://github.com/FiloSottile/sunlight). Specified in spec/log.md.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from verity.errors import LogError, ProofError, UsageError
from verity.log import audit, rows, tiles, tree
from verity.log.checkpoint import Checkpoint, open_checkpoint, sign
from verity.log.rows import FIRST, Head, Rows, Stored
from verity.log.tiles import Tile
from verity.statements.keys import Signer
from verity.statements.receipt import Place
from verity.store.database import Database

SALT_SIZE = 16
_PAGE = 256


class Draft(NamedTuple):
    """An entry to append: the salted digest (32 bytes) that is the leaf's data, its salt (16 bytes), the envelope."""

    entry: bytes
    salt: bytes
    envelope: bytes


class DeviceLog:
    """One epoch of a device's log. ``origin`` is its name: ``verity/<device key>/<epoch>``.

    Every method raises LogError when what the database holds is damaged or not signed by this device, StoreError when
    the database cannot be used, and UsageError for an entry or a size that the log does not have.
    """

    def __init__(self, database: Database, signer: Signer, epoch: int = 0) -> None:
        if epoch < 0:
            raise UsageError("a log's epoch is counted from 0")
        self.epoch = epoch
        self.origin = f"verity/{signer.public.hex()}/{epoch}"
        self._database = database
        self._signer = signer
        self._known: Head | None = None

    @property
    def public(self) -> bytes:
        """The key (32 bytes) under which the log's heads are signed."""
        return self._signer.public

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(
        self, build: Callable[[Place], Draft], also: Callable[[sqlite3.Connection, int], None] | None = None
    ) -> int:
        """Append the entry that ``build`` makes for the place it is given, and sign the new head. Returns its index.

        ``also`` runs in the same transaction, with its connection and the index: what it writes is there if the entry
        is. Neither may use the database otherwise. Whatever they raise undoes the append.
        """
        return self.append_all([build], also)

    def append_all(
        self, builds: Iterable[Callable[[Place], Draft]], also: Callable[[sqlite3.Connection, int], None] | None = None
    ) -> int:
        """Append several entries under one new head, all or none of them. Returns the index of the first.

        ``also`` is given that index. Otherwise as ``append``.
        """
        with self._database.transaction() as connection:
            stored = Rows(connection, self.epoch)
            head = self._head(stored)
            self._require_latest(connection)
            size, root = self._extend(stored, head, builds)
            new = self._swap_head(stored, head, size, root) if size > head.size else head
            if also is not None:
                also(connection, head.size)
        self._known = new
        return head.size

    def _extend(self, stored: Rows, head: Head, builds: Iterable[Callable[[Place], Draft]]) -> tuple[int, bytes]:
        """Insert the entries and the subtrees that they complete. Returns the log's new size and root."""
        last = [(0, head.size - 1)] if head.size else []
        *pending, leaf = stored.hashes([*tree.subtrees(head.size), *last]) or [b""]
        place = self._next_place(stored, head, pending, leaf)
        drafts: list[tuple[int, int, bytes, bytes, bytes]] = []
        nodes: list[tuple[int, int, bytes]] = []
        for build in builds:
            draft = build(place)
            if len(draft.entry) != tree.HASH_SIZE or len(draft.salt) != SALT_SIZE:
                raise UsageError(f"an entry has {tree.HASH_SIZE} bytes and its salt {SALT_SIZE}")
            leaf = tree.hash_leaf(draft.entry)
            completed = tree.new_nodes(place.index, leaf, lambda _level, _position: pending.pop())
            pending.append(completed[-1][2])
            nodes += completed
            drafts.append((self.epoch, place.index, *draft))
            place = Place(self.origin, place.index + 1, leaf.hex())
        try:
            stored.connection.executemany("INSERT INTO log_entries VALUES (?, ?, ?, ?, ?)", drafts)
        except sqlite3.IntegrityError as error:
            raise LogError("the log already holds a new entry's row", rows.HINT) from error
        stored.add_nodes(nodes)
        return place.index, tree.fold(pending)

    def _require_latest(self, connection: sqlite3.Connection) -> None:
        if (latest := rows.latest_epoch(connection)) > self.epoch:
            raise LogError(
                f"the log goes on in epoch {latest}", "open the device again: a backup was restored meanwhile"
            )

    def _next_place(self, stored: Rows, head: Head, pending: Sequence[bytes], leaf: bytes) -> Place:
        """Where the next entry stands, once the end of the log is what the head says it is: the tree, and the ``leaf``
        of the last entry."""
        if stored.reaches_beyond(head.size):
            raise LogError(f"the log holds entries beyond its signed head, which counts {head.size}", rows.HINT)
        if tree.fold(pending) != head.root:
            raise LogError("the log's tree does not lead to its signed root", rows.HINT)
        if head.size == 0:
            return Place(self.origin, 0, FIRST)
        last = head.size - 1
        if tree.hash_leaf(stored.leaves([last])[last]) != leaf:
            raise LogError(f"entry {last} is not the one in the log's tree", rows.HINT)
        return Place(self.origin, head.size, leaf.hex())

    def _swap_head(self, stored: Rows, head: Head, size: int, root: bytes) -> Head:
        row = Head(size, root, sign(Checkpoint(self.origin, size, root), self._signer))
        if head.size == 0:
            insert = "INSERT OR IGNORE INTO log_heads VALUES (?, ?, ?, ?, ?)"
            cursor = stored.connection.execute(insert, (self.epoch, self.origin, *row))
        else:
            update = "UPDATE log_heads SET size = ?, root = ?, checkpoint = ? WHERE epoch = ? AND size = ? AND root = ?"
            cursor = stored.connection.execute(update, (*row, self.epoch, head.size, head.root))
        if cursor.rowcount != 1:
            raise LogError("the log's head changed during an append, which was undone", "try again")
        return row

    def compact(self, places: Sequence[tuple[int, int]]) -> int:
        """Drop salts and envelopes of the entries at these (epoch, index); returns how many still had them. Their
        leaves, and with them the trees and every proof, stay: what is lost is what the log said."""
        update = (
            "UPDATE log_entries SET salt = NULL, envelope = NULL "
            "WHERE epoch = ? AND position = ? AND envelope IS NOT NULL"
        )
        with self._database.transaction() as connection:
            count = sum(connection.execute(update, place).rowcount for place in places)
        self._database.scrub()
        return count

    # --- reading ------------------------------------------------------------------------------------------------------

    def size(self) -> int:
        """How many entries the log's signed head counts."""
        with self._snapshot() as stored:
            return self._head(stored).size

    def checkpoint(self) -> str:
        """The signed head, as a note. Raises LogError while the log is empty."""
        with self._snapshot() as stored:
            return self._filled_head(stored).checkpoint

    def entry(self, index: int) -> Stored:
        """The entry at ``index``."""
        with self._snapshot() as stored:
            _check_index(index, self._head(stored).size)
            return stored.entry(index)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Stored]:
        """The entries from ``start`` up to ``stop`` (default: the present end), read in pages as they are asked for."""
        with self._snapshot() as stored:
            stop = _check_size(stop, self._head(stored))
        if start < 0:
            raise UsageError("the log's entries are counted from 0")
        return self._pages(start, stop)

    def _pages(self, start: int, stop: int) -> Iterator[Stored]:
        for at in range(start, stop, _PAGE):
            with self._snapshot() as stored:
                page = stored.entries(at, min(at + _PAGE, stop))
            yield from page

    def prove(self, index: int, size: int | None = None) -> list[bytes]:
        """The inclusion proof of an entry in the log's first ``size`` entries (default: in all of them)."""
        with self._snapshot() as stored:
            head = self._head(stored)
            return self._prove(stored, head, [index], _check_size(size, head))[0]

    def proofs(self, indices: Sequence[int]) -> tuple[str, dict[int, list[bytes]]]:
        """The signed head and the inclusion proofs of these entries under it, from one state of the log."""
        with self._snapshot() as stored:
            head = self._filled_head(stored)
            proofs = self._prove(stored, head, indices, head.size)
            return head.checkpoint, dict(zip(indices, proofs, strict=True))

    def prove_consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The proof that the first ``old`` entries are a prefix of the first ``new`` (default: of all)."""
        with self._snapshot() as stored:
            head = self._head(stored)
            new = _check_size(new, head)
            if not 0 <= old <= new:
                raise UsageError(f"a consistency proof from {old} to {new} entries cannot be: the old size comes first")
            proof = tree.consistency_proof(old, new, stored.node)
            roots = stored.root_at(old), _root(stored, head, new)
            try:
                tree.check_consistency(old, new, *roots, proof)
            except ProofError as error:
                raise _contradicted(error) from error
            return proof

    def root(self, size: int) -> bytes:
        """The root of the log's first ``size`` entries."""
        with self._snapshot() as stored:
            head = self._head(stored)
            return _root(stored, head, _check_size(size, head))

    def tile(self, tile: Tile) -> bytes:
        """The bytes of a tile, or of a bundle of entries, that the log has."""
        with self._snapshot() as stored:
            if not tile.within(self._head(stored).size):
                raise UsageError(f"the log has no {tile.path}")
            if tile.level == tiles.ENTRIES:
                leaves = stored.leaves(range(tiles.WIDTH * tile.number, tile.stop))
                return tiles.encode_bundle([leaves[index] for index in sorted(leaves)])
            return b"".join(stored.hashes(tiles.places_of(tile)))

    def check(
        self,
        old_checkpoint: str | None = None,
        inspect: Callable[[Stored, Place], str | None] | None = None,
    ) -> list[str]:
        """Read the whole log again and return the problems found, one sentence each; none when it is sound.

        ``old_checkpoint`` is a head that somebody kept: the log must have had that root at that size. ``inspect`` is
        shown every entry whose predecessor is there, and its place, and returns what is wrong with it, or None: it
        knows what an envelope says and how an entry is made of it. Raises FormatError or SignatureError when the kept
        head is not one of this device, and UsageError when it is of another log.
        """
        kept = None
        if old_checkpoint is not None:
            kept = open_checkpoint(old_checkpoint, self._signer.public)
            if kept.origin != self.origin:
                raise UsageError(f"the kept checkpoint is of the log {kept.origin}, and this is {self.origin}")
        with self._snapshot() as stored:
            return audit.Audit(stored, self.origin, self._signer.public, kept, inspect).run()

    # --- steps --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Rows]:
        with self._database.snapshot() as connection:
            yield Rows(connection, self.epoch)

    def _head(self, stored: Rows) -> Head:
        """The head, its signature checked once: the very bytes that held, or that this object signed, hold still."""
        self._known = stored.head(self.origin, self._signer.public, self._known)
        return self._known

    def _filled_head(self, stored: Rows) -> Head:
        head = self._head(stored)
        if head.size == 0:
            raise LogError("the log is empty and has no signed head yet", "it gets one with its first entry")
        return head

    def _prove(self, stored: Rows, head: Head, indices: Sequence[int], size: int) -> list[list[bytes]]:
        """The inclusion proofs of these entries, checked: a damaged log proves nothing."""
        root = _root(stored, head, size)
        for index in indices:
            _check_index(index, size)
        entries, paths = stored.leaves(indices), stored.paths(indices, size)
        for index, (leaf, proof) in zip(indices, paths, strict=True):
            if tree.hash_leaf(entries[index]) != leaf:
                raise LogError(f"entry {index} is not the one in the log's tree", rows.HINT)
            try:
                tree.check_inclusion(index, size, leaf, proof, root)
            except ProofError as error:
                raise _contradicted(error) from error
        return [proof for _, proof in paths]


def _root(stored: Rows, head: Head, size: int) -> bytes:
    return head.root if size == head.size else stored.root_at(size)


def _contradicted(error: ProofError) -> LogError:
    """A proof that the log has just built and that does not hold means that the log is damaged."""
    return LogError(f"the log's tree and its signed head contradict each other: {error}", rows.HINT)


def _check_size(size: int | None, head: Head) -> int:
    if size is None:
        return head.size
    if not 0 <= size <= head.size:
        raise UsageError(f"the log has {head.size} entries, not {size}")
    return size


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise UsageError(f"there is no entry {index} among the log's first {size}", "entries are counted from 0")
