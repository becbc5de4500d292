"""Files of models and adapters, named by the BLAKE3 digest of their bytes, and the names that people gave them.

    home/blobs/<first two hex digits>/<blake3>      whole files only: they arrive by rename
    home/blobs/tmp/                                 what is still being fetched, locked by whoever fetches it

A blob is hashed in full when it arrives, and again before use whenever its size, modification time or inode are not
those of the last full check. Damage that leaves all three alone is found by ``check`` only.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from verity.errors import DigestMismatch, StoreError, UsageError
from verity.store import catalogue, locks
from verity.store.clock import now
from verity.store.database import Database
from verity.store.home import guarded, sync_folder
from verity.store.names import PREFIX, normal_name, not_found
from verity.store.reading import Measured, Progress, Stamp, measure, normal_digest

_MODELS = """
SELECT models.name, blobs.blake3, blobs.sha256, blobs.size, models.source, models.added_at
FROM models JOIN blobs ON blobs.blake3 = models.blake3
"""


class Blob(NamedTuple):
    """A file of this store whose bytes have these digests (lower-case hex); size in bytes."""

    blake3: str
    sha256: str
    size: int
    path: Path


class Model(NamedTuple):
    """A named blob: where it came from and when (UTC, RFC 3339). Its file is had, checked, from ``Blobs.open``."""

    name: str
    blake3: str
    sha256: str
    size: int
    source: str
    added_at: str


class Blobs:
    """The blobs of one device. Raises StoreError, for every method, when folder or database cannot be used."""

    def __init__(self, home: Path, database: Database) -> None:
        self.folder = home / "blobs"
        self.temporary_folder = self.folder / "tmp"
        self.database = database

    def storing(self) -> contextlib.AbstractContextManager[None]:
        """Hold this from adopting or finding a blob until it is named: nobody removes it in between (see locks.py)."""
        return locks.storing(self.folder)

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Path]:
        """A new, empty file (mode 0600) to be filled and adopted, in a folder of its own where more may be put.

        Afterwards the folder is gone, and the file, adopted or not.
        """
        parent = self.make_temporary_folder()
        with guarded(parent):
            with self.storing():  # so that nobody who removes finds the folder before it is locked
                folder = Path(tempfile.mkdtemp(prefix="new-", dir=parent))
                lock = locks.hold(folder)
            path = folder / "file"
            path.touch(0o600)
        try:
            yield path
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def make_temporary_folder(self) -> Path:
        """The folder for unfinished files, made if missing."""
        with guarded(self.temporary_folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # parents made on the way get no mode
            self.temporary_folder.mkdir(mode=0o700, exist_ok=True)
        return self.temporary_folder

    def adopt(
        self,
        temporary: Path,
        *,
        expected_blake3: str | None = None,
        expected_sha256: str | None = None,
        progress: Progress | None = None,
    ) -> Blob:
        """Move a finished file, on the file system of this store, to the place that its digest names.

        Bytes that are here already are replaced by these, which have just been hashed. Raises DigestMismatch when they
        are not the expected ones: then nothing was adopted and ``temporary`` is gone.
        """
        pins = {"BLAKE3": expected_blake3, "SHA-256": expected_sha256}
        pins = {kind: pin and normal_digest(pin, kind) for kind, pin in pins.items()}
        with guarded(temporary):
            measured = measure(temporary, progress, sync=True)
            for (kind, expected), actual in zip(pins.items(), (measured.blake3, measured.sha256), strict=True):
                if expected is not None and expected != actual:
                    temporary.unlink()
                    raise DigestMismatch(
                        f"the file's {kind} digest is {actual}, expected {expected}",
                        "these are other bytes than promised and they were thrown away: pull from another source",
                    )
        path = self.place(measured.blake3)
        with self.storing():
            with guarded(path):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.replace(temporary, path)
                sync_folder(path.parent)
                sync_folder(self.folder)
                sync_folder(self.folder.parent)
            return self._record(path, measured)

    def open(self, digest: str) -> Blob:
        """The blob of this BLAKE3 digest, safe to use: checked in full unless nothing changed since the last check.

        Raises ModelNotFound when it is not here and DigestMismatch when its bytes are no longer what they were.
        """
        digest = normal_digest(digest, "BLAKE3")
        known = self._unchanged(digest)
        return self.check(digest) if known is None else known

    def unchanged(self, digest: str) -> bool:
        """Whether the file is, by its stamp, the one that was last hashed in full. Nothing is hashed or recorded.

        Raises ModelNotFound when the file is not here.
        """
        return self._unchanged(normal_digest(digest, "BLAKE3")) is not None

    def _unchanged(self, digest: str) -> Blob | None:
        path = self.place(digest)
        with self.database.snapshot() as connection:
            query = "SELECT sha256, size, mtime_ns, inode FROM blobs WHERE blake3 = ?"
            row = connection.execute(query, (digest,)).fetchone()
        same = self._stamp(path, digest) == (None if row is None else Stamp(*row[1:]))
        return Blob(digest, row[0], row[1], path) if same else None

    def check(self, digest: str, progress: Progress | None = None) -> Blob:
        """Hash the blob in full and record that it is sound. Raises as ``open`` does."""
        digest = normal_digest(digest, "BLAKE3")
        path = self.place(digest)
        self._stamp(path, digest)
        with guarded(path):
            measured = measure(path, progress)
        if measured.blake3 != digest:
            raise DigestMismatch(
                f"{path} was changed or damaged since it was stored: its BLAKE3 digest is now {measured.blake3}, "
                f"expected {digest}",
                f"fetch it again with `{self._pull_again(digest)}`; `verity models check` looks at all models",
            )
        with self.storing():
            self._stamp(path, digest)  # removed meanwhile? Then there must be no row for it
            return self._record(path, measured)

    def name(self, name: str, digest: str, source: str) -> Model:
        """Let ``name`` mean the stored blob of this BLAKE3 digest from now on; other blobs stay.

        Raises UsageError for a name that is not allowed and ModelNotFound when the blob is not here.
        """
        name, digest = normal_name(name), normal_digest(digest, "BLAKE3")
        with self.database.transaction() as connection:
            if connection.execute("SELECT 1 FROM blobs WHERE blake3 = ?", (digest,)).fetchone() is None:
                raise not_found(digest)
            write_name(connection, name, digest, source)
            row = connection.execute(_MODELS + "WHERE models.name = ?", (name,)).fetchone()
        return Model(*row)

    def models(self) -> list[Model]:
        """All named models, by name. Their files are not looked at."""
        with self.database.snapshot() as connection:
            return [Model(*row) for row in connection.execute(_MODELS + "ORDER BY models.name")]

    def resolve(self, name_or_digest: str) -> tuple[str, Model]:
        """What a name, a BLAKE3 or SHA-256 digest, or a prefix of one (8 hex digits or more) means here.

        A blob without a name of its own answers to its catalogue name, or to the first 12 digits of its digest; its
        ``source`` is empty. The file is not looked at: ``open`` does that. Raises ModelNotFound when there is none, and
        UsageError when a prefix fits several.
        """
        wanted = name_or_digest.lower()
        found = next((model for model in self.models() if model.name == wanted), None)
        if found is not None:
            return found.name, found
        if not PREFIX.fullmatch(wanted):
            raise not_found(name_or_digest)
        query = (
            "SELECT models.name, blobs.blake3, sha256, size, coalesce(source, ''), coalesce(added_at, checked_at) "
            "FROM blobs LEFT JOIN models ON models.blake3 = blobs.blake3 "
            "WHERE (substr(blobs.blake3, 1, ?1) = ?2 OR substr(sha256, 1, ?1) = ?2) "
            "AND (models.name IS NOT NULL OR blobs.blake3 NOT IN (SELECT blake3 FROM adapters)) "
            "ORDER BY added_at, models.name"
        )
        with self.database.snapshot() as connection:
            rows = connection.execute(query, (len(wanted), wanted)).fetchall()
        if not rows:
            raise not_found(name_or_digest)
        if len({row[1] for row in rows}) > 1:
            raise UsageError(f"{name_or_digest!r} begins several digests", "give more digits, or the model's name")
        known = catalogue.find(rows[0][1])
        model = Model(rows[0][0] or (known.name if known else rows[0][1][:12]), *rows[0][1:])
        return model.name, model

    def place(self, digest: str) -> Path:
        """Where the file of this BLAKE3 digest (64 lower-case hex digits) is or would be."""
        return self.folder / digest[:2] / digest

    def _stamp(self, path: Path, digest: str) -> Stamp:
        with guarded(path):
            try:
                status = path.lstat()
            except FileNotFoundError:
                raise not_found(digest, f"the file of model {digest} is missing", self._pull_again(digest)) from None
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path} is not a regular file", f"remove it, then run `{self._pull_again(digest)}`")
        return Stamp.of(status)

    def _record(self, path: Path, measured: Measured) -> Blob:
        row = (measured.blake3, measured.sha256, *measured.stamp, now())
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (blake3) DO UPDATE SET "
                "sha256 = excluded.sha256, size = excluded.size, mtime_ns = excluded.mtime_ns, "
                "inode = excluded.inode, checked_at = excluded.checked_at",
                row,
            )
        return Blob(measured.blake3, measured.sha256, measured.stamp.size, path)

    def _pull_again(self, digest: str) -> str:
        known = catalogue.find(digest)
        if known is not None:
            return f"verity pull {known.name}"
        query = (
            "SELECT 'pull', source FROM models WHERE blake3 = ?1 UNION ALL "
            "SELECT 'adapters add', source FROM adapters WHERE blake3 = ?1"
        )
        with self.database.snapshot() as connection:
            verb, source = connection.execute(query, (digest,)).fetchone() or ("pull", "FILE")
        if source.startswith("release "):  # importing.py's; no path or address begins so
            return "verity release add FOLDER"
        pin = f" --blake3 {digest}" if verb == "pull" else ""
        return f"verity {verb} {shlex.quote(source)}{pin}"


def write_name(connection: sqlite3.Connection, name: str, digest: str, source: str) -> None:
    """In a transaction: let ``name`` mean the blob of this BLAKE3 digest."""
    connection.execute(
        "INSERT INTO models VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "blake3 = excluded.blake3, source = excluded.source, added_at = excluded.added_at",
        (name, digest, source, now()),
    )
