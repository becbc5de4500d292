"""The checks of one device: home, key, database, log, models. They look and change nothing.

Nothing is made where there is none: a device begins with its first answer or model, not with an examination. The
database is opened for reading (SQLite may leave its two empty side files), except for the check of the log, which is
the node's, and for ``full``, which records that a model is sound.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from verity.doctor.finding import Outcome
from verity.engines.numerics import NumericsStore
from verity.errors import DigestMismatch, ModelNotFound
from verity.identity.device_key import KEY_FILE, DeviceKey
from verity.log.rows import HINT as LOG_HINT
from verity.statements.keys import check_signature
from verity.store import catalogue
from verity.store.blobs import Blobs
from verity.store.database import Database
from verity.store.home import find
from verity.store.reading import Progress
from verity.store.receipts import IS_RECEIPT
from verity.store.schema import MIGRATIONS

_LEAST_FREE = 64 << 20
_LITTLE_FREE = 1 << 30
_OWN_FILES = (KEY_FILE, "verity.db", "verity.db-wal", "verity.db-shm", "owner-key")
_SHOWN = 3
_ALL = f"SELECT count(*) FROM receipts WHERE {IS_RECEIPT}"  # noqa: S608
_UNFINISHED = "SELECT count(*) FROM receipts WHERE state = 'open'"


class Device:
    """The device of ``home`` (default: ``$VERITY_HOME``, or the per-user folder), as it lies there.

    Every check returns an Outcome; what it raises besides is its outcome as well, for the caller to say.
    """

    def __init__(self, home: str | os.PathLike[str] | None, *, full: bool, progress: Progress | None) -> None:
        self._named = home
        self._full = full
        self._progress = progress

    @cached_property
    def _folder(self) -> Path:
        return find(self._named)

    @property
    def _has_key(self) -> bool:
        return (self._folder / KEY_FILE).exists()

    @property
    def _has_database(self) -> bool:
        return (self._folder / "verity.db").exists()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Database]:
        path = self._folder / "verity.db"
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30.0)
        with contextlib.closing(connection):
            yield Database(connection, path)

    def _schema(self) -> int:
        with self._reading() as database, database.snapshot() as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def home(self) -> Outcome:
        folder = self._folder
        hint = "make it writable, or point VERITY_HOME (or --home) at a folder that is"
        if not folder.exists():
            above = _nearest(folder)
            if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
                return Outcome("does not work", f"{folder} is not there and cannot be made", hint)
            return Outcome("note", f"there is no device yet: the first command that needs one makes {folder}")
        if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return Outcome("does not work", f"{folder} is not a folder that can be written to", hint)
        return Outcome("works", str(folder))

    def permissions(self) -> Outcome:
        """The database holds prompts and outputs, and the key is the device: nobody else may read them."""
        folder, open_to_others = self._folder, []
        if not folder.exists():
            return Outcome("note", "there is no home yet; it is made for its owner alone")
        for path in (folder, *(folder / name for name in _OWN_FILES)):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if status.st_mode & 0o077:
                    open_to_others.append(f"{path.name} ({stat.S_IMODE(status.st_mode):04o})")
                elif status.st_uid != os.geteuid():
                    open_to_others.append(f"{path.name} (belongs to user {status.st_uid})")
        if open_to_others:
            sentence = f"others may look into {', '.join(open_to_others)}"
            return Outcome("does not work", sentence, f"run `chmod -R go= {shlex.quote(str(folder))}` as its owner")
        return Outcome("works", "home and files are their owner's alone")

    def disk(self) -> Outcome:
        free = shutil.disk_usage(_nearest(self._folder)).free
        hint = "`verity models gc` and `verity models rm` make room, or point VERITY_HOME at a larger disk"
        if free < _LEAST_FREE:
            return Outcome("does not work", f"{free:,} bytes free: too little to go on safely", hint)
        if free < _LITTLE_FREE:
            return Outcome("note", f"{free:,} bytes free: room for small models only", hint)
        return Outcome("works", f"{free:,} bytes free")

    def key(self) -> Outcome:
        """The key is there, private, readable, and its signature holds. Raises StoreError, SignatureError."""
        if not self._has_key:
            if self._has_database and self._entries():
                hint = "restore device.key from a backup, or move the home away: a new key begins a new log"
                return Outcome("does not work", "the log is here and the key that signed it is not", hint)
            return Outcome("note", "none yet: made when it is first needed")
        key = DeviceKey.load(self._folder)
        message = b"verity doctor"
        check_signature(key.public, message, key.sign(message))
        return Outcome("works", key.id)

    def revocation(self) -> Outcome:
        """What this device knows of its own key: whether it is to be trusted, and who could speak for it."""
        if not self._has_key or not self._has_database or self._schema() != len(MIGRATIONS):
            return Outcome("note", "nothing is known of a key here")
        from verity.node import Node

        with Node(self._folder) as node:
            now = node.keyring.standing()
        if now.revocation is not None:
            sentence = "this device's key is revoked: nobody who knows it believes new receipts"
            return Outcome("does not work", sentence, "`verity device events` says since when; begin a new home")
        if now.recovery is None:
            hint = "`verity device recovery-key --out FILE` makes one, to be kept elsewhere (docs/keys.md)"
            return Outcome("note", "no recovery key: if the key is lost or stolen, nobody can speak for it", hint)
        return Outcome("works", "not revoked, and a recovery key can speak for it")

    def _entries(self) -> int:
        with self._reading() as database, database.snapshot() as connection:
            return int(connection.execute("SELECT count(*) FROM log_entries").fetchone()[0])

    def database(self) -> Outcome:
        """It opens, its schema is known, and SQLite finds it sound."""
        if not self._has_database:
            return Outcome("note", "none yet: made by the first command that needs it")
        schema = self._schema()
        with self._reading() as database, database.snapshot() as connection:
            problems = [row[0] for row in connection.execute(f"PRAGMA quick_check({_SHOWN})") if row[0] != "ok"]
        if problems:
            return Outcome("does not work", f"it is damaged: {'; '.join(problems)}", "restore a backup")
        if schema > len(MIGRATIONS):
            sentence = f"a newer Verity wrote it (schema {schema}, this one knows {len(MIGRATIONS)})"
            return Outcome("does not work", sentence, "update Verity, or use another VERITY_HOME")
        if schema < len(MIGRATIONS):
            return Outcome("note", f"sound; schema {schema}, brought to {len(MIGRATIONS)} when it is next used")
        return Outcome("works", f"sound, schema {schema}")

    def answers(self) -> Outcome:
        if not self._has_database:
            return Outcome("note", "none yet")
        if self._schema() != len(MIGRATIONS):
            return Outcome("note", "not counted: the database is of another version of Verity")
        with self._reading() as database, database.snapshot() as connection:
            total = int(connection.execute(_ALL).fetchone()[0])
            unfinished = int(connection.execute(_UNFINISHED).fetchone()[0])
        if unfinished:
            sentence = (
                f"{unfinished} of {total} receipts have an intent and no result: under way, or cut off by a crash"
            )
            return Outcome("note", sentence, "the next `verity ask` closes what was cut off; ask again for the answers")
        return Outcome("works", f"{total} receipts, none without an end")

    def log(self) -> Outcome:
        """Every entry is in its place. Raises LogError."""
        if not self._has_database or not self._entries():
            return Outcome("note", "no log yet: it begins with the first answer")
        if not self._has_key:
            return Outcome("note", "not checked: there is no key")
        if self._schema() != len(MIGRATIONS):
            return Outcome("note", "not checked: the database is of another version of Verity")
        from verity.node import Node

        with Node(self._folder) as node:
            problems = node.check_log()
            if problems:
                more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
                return Outcome("does not work", "; ".join(problems[:_SHOWN]) + more, LOG_HINT)
            return Outcome("works", f"{node.log.size()} entries, every one in its place")

    def models(self) -> Outcome:
        """Every named model's file is there, and nothing changed since it was last read in full."""
        if not self._has_database:
            return Outcome("note", "none yet: `verity ask` fetches the default model first")
        with self._reading() as database:
            blobs = Blobs(self._folder, database)
            names = [model.name for model in blobs.models()]
            if not names:
                return Outcome("note", "none yet: `verity ask` fetches the default model first")
            try:
                changed = [model.name for model in blobs.models() if not blobs.unchanged(model.blake3)]
            except ModelNotFound as error:
                return Outcome("does not work", str(error), error.hint)
        if self._full:
            return self._read_in_full()
        if changed:
            sentence = f"{', '.join(changed)}: touched since last read in full, which the next use does again"
            return Outcome("note", sentence, "`verity doctor --full` reads every byte now")
        return Outcome("works", f"{', '.join(names)}: not touched since last read in full")

    def _read_in_full(self) -> Outcome:
        damaged = []
        with Database.open(self._folder) as database:
            blobs = Blobs(self._folder, database)
            models = blobs.models()
            for model in models:
                try:
                    blobs.check(model.blake3, self._progress)
                except DigestMismatch as error:
                    damaged.append(error)
        if damaged:
            return Outcome("does not work", "; ".join(map(str, damaged)), damaged[0].hint)
        return Outcome("works", f"{', '.join(model.name for model in models)}: every byte as it was")

    def numerics(self) -> Outcome:
        """What was measured of the default model; another library or processor is measured anew when it is used."""
        later = "not measured yet: the first answer does it (seconds)"
        if not self._has_database:
            return Outcome("note", later)
        with self._reading() as database:
            try:
                model = Blobs(self._folder, database).resolve(catalogue.DEFAULT)[1]
            except ModelNotFound:
                return Outcome("note", later)
            measured = list(NumericsStore(database).declared(model.blake3).values())
        if not measured:
            return Outcome("note", later)
        told = ", ".join(sorted({n.fingerprint[:16] + "…" for n in measured}))
        if all(n.exact for n in measured):
            return Outcome("works", f"{catalogue.DEFAULT} is exact here: fingerprint {told}")
        sentence = f"{catalogue.DEFAULT} is not exact under every library and processor it ran with here ({told})"
        return Outcome("note", sentence, "`verity ask` says what an answer's receipt can be checked for")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
