"""Take models and adapters away: a name, with its file if no other name means it; and all that nothing in the store
means.

Rows go first and are durable, files after: a crash in between leaves a file without a row, which nobody believes and
``collect`` removes. It never leaves a row without a file. Both functions work alone (locks.py), and ``collect`` leaves
what somebody is still fetching. A program that has a removed model loaded keeps it: the file's bytes go when the last
one that has it open ends (unlink(2)).

Receipts, and the numerics that were measured, are not touched: a receipt names its files by digest, so it can be
replayed again as soon as the same bytes are pulled again, from wherever.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import stat
import time
from pathlib import Path
from typing import NamedTuple

from verity.errors import AdapterNotFound, ModelNotFound, UsageError
from verity.statements.release import Known
from verity.store import locks
from verity.store.blobs import Blobs
from verity.store.home import guarded, sync_folder

PARTIAL_DAYS = 7
"""After so many days without a new byte, a download that was cut off is not expected to go on."""

_NAMED = """
SELECT name, blake3 FROM models UNION SELECT name, blake3 FROM adapters UNION
SELECT 'the release ' || name, blake3 FROM releases JOIN release_files USING (root, publisher)
WHERE NOT EXISTS (SELECT 1 FROM revocations AS r WHERE (r.root, r.publisher) = (releases.root, releases.publisher))
"""
"""What keeps a blob. A release that was revoked keeps none."""

_DAY_S = 86_400.0
_WRITING_S = 3600.0
"""Writing a small file takes milliseconds: what is an hour old was left by a process that died."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_ATOMIC = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
"""How ``write_atomically`` calls its temporary files."""


class Removal(NamedTuple):
    """A name that was taken away: the digest it meant, the bytes freed, the other names that keep the file."""

    name: str
    blake3: str
    freed: int
    kept_by: list[str]


class Item(NamedTuple):
    """A file, or a folder with all that is in it: its size in bytes, and why it goes or stays."""

    path: Path
    size: int
    why: str


class Collected(NamedTuple):
    """What ``collect`` removed (or would remove) and what it left although no model is in it."""

    removed: list[Item]
    kept: list[Item]

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(item.size for item in self.removed)


def remove(blobs: Blobs, name: str) -> Removal:
    """Take a model's name away, and free its file when no other name means it.

    Raises ModelNotFound when there is no such name, StoreError when somebody is storing a model just now.
    """
    removal = _remove(blobs, name.lower(), "DELETE FROM models WHERE name = ? RETURNING blake3")
    if removal is None:
        raise ModelNotFound(
            f"no model on this device has the name {name[:200]!r}",
            "`verity models` lists the names; what has none is freed by `verity models gc`",
        )
    return removal


def remove_adapter(blobs: Blobs, name: str) -> Removal:
    """The same of an adapter's name. Raises AdapterNotFound when there is none, StoreError as ``remove`` does."""
    removal = _remove(blobs, name.lower(), "DELETE FROM adapters WHERE name = ? RETURNING blake3")
    if removal is None:
        hint = "`verity adapters` lists the names"
        raise AdapterNotFound(f"no adapter on this device has the name {name[:200]!r}", hint)
    return removal


def _remove(blobs: Blobs, wanted: str, statement: str) -> Removal | None:
    with locks.removing(blobs.folder):
        with blobs.database.transaction() as connection:
            found = connection.execute(statement, (wanted,)).fetchone()
            if found is None:
                return None
            digest: str = found[0]
            others = _kept_by(connection, digest)
        freed = 0 if others else _unlink(blobs.place(digest))
    return Removal(wanted, digest, freed, others)


def remove_release(blobs: Blobs, release: Known) -> int:
    """Forget a release, and free those of its files that nothing else means. Returns the bytes freed.

    Raises UsageError for one that was revoked: that stays known. StoreError as ``remove`` does.
    """
    where = release.root, release.publisher
    with locks.removing(blobs.folder):
        with blobs.database.transaction() as connection:
            if connection.execute("SELECT 1 FROM revocations WHERE root = ? AND publisher = ?", where).fetchone():
                hint = "its files are freed by `verity models rm` and `gc`; what must not be used stays known"
                raise UsageError(f"the release {release.name} was revoked, and is not forgotten", hint)
            query = "SELECT DISTINCT blake3 FROM release_files WHERE root = ? AND publisher = ?"
            digests = [row[0] for row in connection.execute(query, where).fetchall()]
            connection.execute("DELETE FROM releases WHERE root = ? AND publisher = ?", where)
            unnamed = [digest for digest in digests if not _kept_by(connection, digest)]
        return sum(_unlink(blobs.place(digest)) for digest in unnamed)


def _kept_by(connection: sqlite3.Connection, digest: str) -> list[str]:
    """The names that mean this blob; its row goes if there are none."""
    query = f"SELECT name FROM ({_NAMED}) WHERE blake3 = ? ORDER BY name"  # noqa: S608 - a constant
    names = [row[0] for row in connection.execute(query, (digest,))]
    if not names:
        connection.execute("DELETE FROM blobs WHERE blake3 = ?", (digest,))
    return names


def collect(blobs: Blobs, *, partial_days: float = PARTIAL_DAYS, dry_run: bool = False) -> Collected:
    """Remove the blobs that no name means, files that the database does not know, and what dead processes left.

    Downloads that were cut off stay for ``partial_days`` after their last byte, so that they can go on. With
    ``dry_run`` nothing is changed. Raises StoreError when somebody is storing a model just now.
    """
    with locks.removing(blobs.folder):
        sweep = _Sweep(blobs, partial_days * _DAY_S, dry_run)
        sweep.rows()
        sweep.blobs()
        sweep.unfinished()
        sweep.atomic_writes(blobs.folder.parent)
        return Collected(sweep.removed, sweep.kept)


class _Sweep:
    """One collection, in the order of its methods."""

    def __init__(self, blobs: Blobs, partial_s: float, dry_run: bool) -> None:
        self._blobs = blobs
        self._partial_s = partial_s
        self._dry_run = dry_run
        self._now = time.time()
        self._named: set[str] = set()
        self._unnamed: set[str] = set()
        self.removed: list[Item] = []
        self.kept: list[Item] = []

    def rows(self) -> None:
        """Learn which blobs have a name; the rows of the others go."""
        database = self._blobs.database
        with database.snapshot() if self._dry_run else database.transaction() as connection:
            self._named = {digest for _, digest in connection.execute(_NAMED)}
            self._unnamed = {row[0] for row in connection.execute("SELECT blake3 FROM blobs")} - self._named
            if not self._dry_run:
                connection.executemany("DELETE FROM blobs WHERE blake3 = ?", [(digest,) for digest in self._unnamed])

    def blobs(self) -> None:
        """Every file in the folder that is not where a named blob belongs."""
        for path in _listed(self._blobs.folder):
            if path == self._blobs.temporary_folder:
                continue
            if not _is_folder(path):
                self._take(path, "not a blob")
            elif not _FOLDER.fullmatch(path.name):
                self._keep(path, "a folder that Verity did not make")
            else:
                self._blobs_in(path)

    def _blobs_in(self, folder: Path) -> None:
        for path in _listed(folder):
            if path.name in self._named and path == self._blobs.place(path.name):
                continue
            if _is_folder(path):
                self._keep(path, "a folder that Verity did not make")
            elif path.name in self._unnamed:
                self._take(path, "no name means it")
            else:
                self._take(path, "the database does not know it" if _DIGEST.fullmatch(path.name) else "not a blob")
        if not self._dry_run:
            with contextlib.suppress(OSError):  # it is not empty, in the rule
                folder.rmdir()

    def unfinished(self) -> None:
        """What fetches left behind that died; a cut-off download only when it is old."""
        for path in _listed(self._blobs.temporary_folder):
            if _ATOMIC.fullmatch(path.name):
                self._atomic_write(path)
            elif path.suffix == ".json":
                # The notes of a download are written after its part is there, so these belong to none.
                if not path.with_suffix(".part").exists():
                    self._take(path, "notes of a download that is over")
            else:
                self._unlocked(path)

    def _unlocked(self, path: Path) -> None:
        with guarded(path), contextlib.suppress(FileNotFoundError):
            if path.is_symlink():
                self._take(path, "left by a fetch that died")
                return
            with locks.abandoned(path) as free:
                age_s = self._now - path.lstat().st_mtime
                if not free:
                    self._keep(path, "being fetched")
                elif path.suffix != ".part":
                    self._take(path, "left by a fetch that died")
                elif age_s < self._partial_s:
                    self._keep(path, "a download that was cut off: the same `verity pull` goes on with it")
                else:
                    self._take(path, f"a download that was cut off {age_s / _DAY_S:.0f} days ago")
                    if path.with_suffix(".json").exists():
                        self._take(path.with_suffix(".json"), "its notes")

    def atomic_writes(self, home: Path) -> None:
        """Temporary files in the home itself, which may be a folder with other things in it."""
        for path in _listed(home):
            if _ATOMIC.fullmatch(path.name) and not _is_folder(path):
                self._atomic_write(path)

    def _atomic_write(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._now - path.lstat().st_mtime >= _WRITING_S:
                self._take(path, "left by a write that died")

    def _take(self, path: Path, why: str) -> None:
        item = Item(path, _size(path), why)
        if not self._dry_run:
            if _is_folder(path):
                with guarded(path):
                    shutil.rmtree(path)
            else:
                _unlink(path)
        self.removed.append(item)

    def _keep(self, path: Path, why: str) -> None:
        self.kept.append(Item(path, _size(path), why))


def _listed(folder: Path) -> list[Path]:
    with guarded(folder):
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder; what is gone meanwhile counts nothing."""
    total = 0
    for each in [path, *path.rglob("*")] if _is_folder(path) else [path]:
        with contextlib.suppress(OSError):
            status = each.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def _unlink(path: Path) -> int:
    """Remove a file for good and return the bytes that it had; 0 when there is none."""
    with guarded(path):
        try:
            size = path.lstat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        sync_folder(path.parent)
    return size
