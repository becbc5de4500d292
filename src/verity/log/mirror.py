"""Keeps and checks a copy of a log that somebody else publishes as tiles; specified in spec/tiles.md.

1. head      the source's checkpoint is signed by the log whose key the caller named.
2. grown     the copy's head is a beginning of it, as the source's own tiles show. Otherwise two signed heads
             contradict each other: both are kept, as evidence (log/evidence.py), and the copy stays as it was.
3. noted     the new head is kept in ``incoming`` before any of its tiles: what was once shown is held against the
             source also after a crash.
4. tiles     those that the new tree has and the old has not are fetched, the highest level first; each is checked up
             to the signed root before it is put in its place.
5. done      the checkpoint follows its tiles.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, NoReturn

from verity.errors import FormatError, LogError, ProofError, SignatureError
from verity.log import note, tiles
from verity.log.checked_tiles import CheckedTiles, Read
from verity.log.checkpoint import Checkpoint
from verity.log.evidence import SUFFIX, fork_of
from verity.log.log_index import open_head
from verity.log.note import VerifierKey
from verity.log.source import Source, reader
from verity.log.tile_folder import CHECKPOINT, EVIDENCE_HINT, TileFolder
from verity.log.tiles import Tile
from verity.log.tree import root_at
from verity.store.reading import Progress

INCOMING = "incoming"
"""A head some of whose tiles are here: the copy is not finished."""

EVIDENCE = "evidence-"
_HINT = "the source is wrong or was tampered with: nothing of it was kept; try another, or ask the log's owner"


class Mirrored(NamedTuple):
    """The log's head, how many entries the copy had before, and how many tiles and bundles were fetched."""

    head: Checkpoint
    before: int
    fetched: int


class _Kept(NamedTuple):
    head: Checkpoint
    text: str


def fetch_head(source: Source, key: VerifierKey) -> tuple[Checkpoint, str]:
    """The head that a source shows, and its note. Raises LogError when there is none, SignatureError, FormatError."""
    data = source.read(CHECKPOINT, note.MAX_BYTES)
    if data is None:
        raise LogError(
            "there is no checkpoint: no log is published there",
            "check the address; a device's folder has index.json and a log's folder for each epoch, as in FOLDER/0",
        )
    try:
        return open_head(data, key), data.decode()
    except (FormatError, SignatureError) as error:
        raise type(error)(str(error), error.hint or "check the address and the key, or ask the log's owner") from error


class Mirror:
    """One log's copy in ``folder``. Evidence goes into ``evidence``, the copy's own folder unless it is one of many."""

    def __init__(self, folder: TileFolder, key: VerifierKey, evidence: TileFolder | None = None) -> None:
        self._folder = folder
        self._key = key
        self._evidence = evidence or folder

    def update(self, source: Source, progress: Progress | None = None) -> Mirrored:
        """Bring the copy up to the head that the source shows.

        Raises LogError when the source shows another history, an older one or a gap; ProofError, FormatError and
        SignatureError for what is not what the head says; FetchError, StoreError.
        """
        with self._folder.writing():
            new = _Kept(*fetch_head(source, self._key))  # step 1
            theirs = CheckedTiles(new.head, reader(source))
            theirs.check_root()
            kept = self._kept(CHECKPOINT)
            for known in filter(None, (kept, self._kept(INCOMING))):
                self._compare(known, new, theirs)  # step 2
            self._folder.replace(INCOMING, new.text.encode())  # step 3
            before = kept.head.size if kept is not None else 0
            fetched = self._fill(before, new.head, source, progress)  # step 4
            self._folder.replace(CHECKPOINT, new.text.encode())  # step 5
            self._folder.remove(INCOMING)
        return Mirrored(new.head, before, fetched)

    def _kept(self, name: str) -> _Kept | None:
        data = self._folder.read(name, note.MAX_BYTES)
        return None if data is None else _Kept(open_head(data, self._key), data.decode())

    def _compare(self, kept: _Kept, new: _Kept, theirs: CheckedTiles) -> None:
        if kept.head.size <= new.head.size:
            if root_at(kept.head.size, theirs.node) != kept.head.root:
                self._keep_evidence(kept, new, theirs)
            return
        ours = CheckedTiles(kept.head, reader(self._folder))
        try:
            other = root_at(new.head.size, ours.node) != new.head.root
        except LogError:  # an unfinished copy lacks tiles
            other = False
        if other:
            self._keep_evidence(kept, new, ours)
        raise LogError(
            f"the source shows {new.head.size} entries of {self._key.name}, and it once showed {kept.head.size}",
            "it lags behind or was set back: try another source; the copy is as it was",
        )

    def _keep_evidence(self, kept: _Kept, new: _Kept, larger: CheckedTiles) -> NoReturn:
        data = fork_of(kept.text, new.text, larger.node).encode()
        name = f"{EVIDENCE}{hashlib.sha256(data).hexdigest()[:16]}{SUFFIX}"
        self._evidence.add(name, data)
        raise LogError(
            f"{self._key.name} signed two histories: its heads at {kept.head.size} and {new.head.size} entries "
            f"contradict each other; the evidence is in {self._evidence.root / name}",
            "show it to everybody who relies on this log; the copy is as it was",
        )

    def _fill(self, before: int, head: Checkpoint, source: Source, progress: Progress | None) -> int:
        fetched = 0
        checked = CheckedTiles(head, _first(self._folder, reader(source)))
        total = tiles.count_tiles(before, head.size)
        for done, tile in enumerate(tiles.new_tiles(before, head.size), 1):
            mine = self._folder.size(tile.path) is not None
            try:
                data = checked.tile(tile)
            except (FormatError, ProofError) as error:
                if mine:
                    raise LogError(f"the copy in {self._folder.root} is damaged: {error}", EVIDENCE_HINT) from error
                raise type(error)(f"the source's {error}", _HINT) from error
            fetched += self._folder.add(tile.path, data)
            if progress is not None:
                progress(done, total, "tiles")
        return fetched


def _first(folder: TileFolder, other: Read) -> Read:
    """What is in the copy is read from there; but not the edge, which the source has shown to be right."""

    def read(tile: Tile) -> bytes:
        limit = tiles.MAX_BUNDLE if tile.level == tiles.ENTRIES else tiles.WIDTH * 32
        data = folder.read(tile.path, limit) if tile.full or tile.level == tiles.ENTRIES else None
        return other(tile) if data is None else data

    return read
