"""Backup and restore of a device: its key, its log, its receipts. Not its models, which can be pulled again.

A backup is a ZIP file of three members, as it is or encrypted with a passphrase (https://age-encryption.org/v1):

    backup.json   {"format": "verity-backup/1", "device", "made_at", "origin", "size", "files": {name: {sha256, size}}}
    device.key    the device's key
    verity.db     one state of the database

What was logged after the backup is lost to the device, and yet known to whoever saw it. So a restored device does not
go on in the old log, which would put its signature under two histories: it opens a new epoch, whose first entry says
where the old log stood. Restoring builds the whole home aside and moves it into place at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from verity.errors import FormatError, StoreError, UsageError
from verity.identity.device_key import KEY_FILE, DeviceKey
from verity.identity.tpm.chip import DEFAULT_TCTI
from verity.log.device_log import DeviceLog
from verity.log.rows import Rows, latest_epoch
from verity.recorder import Recorder
from verity.statements.receipt import EPOCH
from verity.statements.strict import canonical, load
from verity.store.archives import opened_archive
from verity.store.clock import now
from verity.store.database import DATABASE_FILE, Database
from verity.store.home import guarded, sync_folder, write_atomically
from verity.store.passphrases import HEADER_BYTES, check_work, decrypt, encrypt, is_encrypted
from verity.store.reading import CHUNK
from verity.store.schema import MIGRATIONS
from verity.store.staging import staging

FORMAT = "verity-backup/1"
LARGEST = 64 << 30
LARGEST_ENCRYPTED = 2 << 30
"""Bytes: a backup with a passphrase is held in memory as a whole."""
_NOTES = "backup.json"
_NAMES = (_NOTES, KEY_FILE, DATABASE_FILE)
_MAX_NOTES = 1 << 16


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: str
    size: int


class Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup says of itself: whose it is, when it was made, and how long its log was."""

    format: str
    device: str
    made_at: str
    origin: str
    size: int
    files: dict[str, _File]


def back_up(home: Path, database: Database, log: DeviceLog, path: Path, passphrase: str | None = None) -> Notes:
    """Write a backup of this device to ``path`` (0600), whole or not at all. Raises StoreError, UsageError."""
    if path.exists():
        raise UsageError(f"{path} is there already", "choose another name: backups are never overwritten")
    # What is not encrypted yet stays at home: a crash must not leave the key beside an encrypted backup.
    aside = path.absolute().parent if passphrase is None else home
    with guarded(path), staging(aside, ".backup-") as stage:
        database.copy_to(stage / DATABASE_FILE)
        write_atomically(stage / KEY_FILE, (home / KEY_FILE).read_bytes())
        with Database.open(stage) as copy:  # what the copy holds, not what the log has become since
            state = DeviceLog(copy, DeviceKey.load(stage), log.epoch)
            origin, size = state.origin, state.size()
        files = {name: _measured(stage / name) for name in (KEY_FILE, DATABASE_FILE)}
        notes = Notes(FORMAT, origin.split("/")[1], now(), origin, size, files)
        (stage / _NOTES).write_bytes(canonical(notes))
        packed = stage / "packed"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in _NAMES:
                archive.write(stage / name, name)
        if passphrase is None:
            _publish(packed, path)
        else:
            write_atomically(path, _encrypted(packed, passphrase), replace=False)
    return notes


def restore(path: Path, home: Path, passphrase: str | None = None) -> tuple[Notes, str]:
    """Make ``home``, which must be new or empty, the device of a backup. Returns the backup's notes and the origin of
    the log's new epoch.

    Raises FormatError when the file is no backup or its passphrase is another, UsageError when the home is in use, and
    StoreError or LogError when what it holds cannot be used.
    """
    home = home.resolve()  # a link to an empty folder stays a link
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise UsageError(f"{home} is not empty", "restore into a new home: --home FOLDER, or VERITY_HOME=FOLDER")
    with guarded(home):
        home.parent.mkdir(parents=True, exist_ok=True)
        with staging(home.absolute().parent, ".restoring-") as stage:
            with _opened(path, passphrase) as archive, guarded(stage):
                notes = _unpack(archive, stage)
            origin = _new_epoch(stage, notes)
            sync_folder(stage)
            os.replace(stage, home)
            sync_folder(home.absolute().parent)
    return notes, origin


def _new_epoch(stage: Path, notes: Notes) -> str:
    key = DeviceKey.load(stage)
    if key.id != notes.device:
        raise FormatError("the backup's key is not the one of the device that it names", "do not trust this file")
    _check_database(stage / DATABASE_FILE)
    with Database.open(stage) as database:
        with database.snapshot() as connection:
            last = latest_epoch(connection)
            old = Rows(connection, last).head(f"verity/{key.id}/{last}", key.public)
        if (notes.origin, notes.size) != (f"verity/{key.id}/{last}", old.size):
            raise FormatError("the backup's log is not the one that its notes name", "do not trust this file")
        # Two restores of one backup must not open one epoch: the clock's milliseconds tell them apart.
        log = DeviceLog(database, key, max(last + 1, time.time_ns() // 1_000_000))
        fields: dict[str, Any] = {
            "epoch": {"number": log.epoch, "reason": "restored from a backup"},
            "previous_log": {"origin": f"verity/{key.id}/{last}", "size": old.size, "root": old.root.hex()},
            "time/started": now(),
        }

        def close_the_old(connection: Any, _: int) -> None:
            # What was under way is not gone on with, and a nonce could have been revealed since.
            connection.execute("UPDATE receipts SET state = 'done' WHERE state != 'done'")
            connection.execute("DELETE FROM requests WHERE revealed IS NULL")
            # The backup may be a stranger's. A TPM's address can be a command to run, and the event log is handed out.
            connection.execute("UPDATE hardware_record SET tcti = ?, event_log = NULL", (DEFAULT_TCTI,))

        Recorder(database, log, key).declare(EPOCH, "epoch", fields, close_the_old)
        return log.origin


def _check_database(path: Path) -> None:
    """Nothing runs on a stranger's database before it has the very tables that Verity makes, and no trigger or view."""
    try:
        # Immutable: nothing is written beside it, so a disk that is full is not taken for a damaged backup.
        given_to_read = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        with contextlib.closing(given_to_read) as given, contextlib.closing(sqlite3.connect(":memory:")) as own:
            version = given.execute("PRAGMA user_version").fetchone()[0]
            for script in MIGRATIONS[: max(version, 0)]:
                own.executescript(script)
            schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
            known = version > len(MIGRATIONS) or given.execute(schema).fetchall() == own.execute(schema).fetchall()
            sound = known and given.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except (sqlite3.Error, UnicodeError) as error:
        raise FormatError(f"the backup's database is damaged: {error}", "use another backup") from error
    if not sound:
        raise FormatError("the backup's database is damaged, or not one of Verity's", "use another backup")


def _unpack(archive: zipfile.ZipFile, stage: Path) -> Notes:
    members = {info.filename: info for info in archive.infolist()}
    if sorted(members) != sorted(_NAMES) or len(archive.infolist()) != len(_NAMES):
        raise FormatError("this is not a backup of a device", "give a file that `verity backup` wrote")
    if members[_NOTES].file_size > _MAX_NOTES:
        raise FormatError("the backup's notes are too large", "give a file that `verity backup` wrote")
    notes = load(archive.read(_NOTES), Notes, limit=_MAX_NOTES, what="backup")
    if notes.format != FORMAT or sorted(notes.files) != sorted((KEY_FILE, DATABASE_FILE)):
        raise FormatError(f"the backup is of an unknown form, {notes.format!r}", "update Verity")
    for name, promised in notes.files.items():
        if not 0 <= promised.size <= LARGEST or members[name].file_size != promised.size:
            raise FormatError(f"the backup's {name} is not as long as it should be", "use another backup")
        _extract(archive, name, stage / name, promised)
    return notes


def _extract(archive: zipfile.ZipFile, name: str, target: Path, promised: _File) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    hasher, left = hashlib.sha256(), promised.size
    with os.fdopen(descriptor, "wb") as writer, archive.open(name) as reader:
        while left and (chunk := reader.read(min(CHUNK, left))):
            hasher.update(chunk)
            writer.write(chunk)
            left -= len(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    if left or hasher.hexdigest() != promised.sha256:
        raise FormatError(f"the backup's {name} is damaged", "use another backup")


@contextlib.contextmanager
def _opened(path: Path, passphrase: str | None) -> Iterator[zipfile.ZipFile]:
    try:
        with (
            path.open("rb") as file,
            _plain(file, path, passphrase) as plain,
            opened_archive(plain, f"{path} is not a backup, or it is damaged", "use another backup") as archive,
        ):
            yield archive
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}", "give the file of a backup") from error


@contextlib.contextmanager
def _plain(file: IO[bytes], path: Path, passphrase: str | None) -> Iterator[IO[bytes]]:
    encrypted = is_encrypted(head := file.read(HEADER_BYTES))
    file.seek(0)
    if not encrypted:
        yield file
        return
    import io

    check_work(head, str(path))
    size = os.fstat(file.fileno()).st_size
    if size > LARGEST_ENCRYPTED:
        raise FormatError(f"{path} is larger than {LARGEST_ENCRYPTED:,} bytes", "decrypt it with age first")
    yield io.BytesIO(decrypt(file.read(size), passphrase, str(path)))


def _encrypted(packed: Path, passphrase: str) -> bytes:
    if packed.stat().st_size > LARGEST_ENCRYPTED:
        raise StoreError("the backup is too large to be encrypted in memory", "leave the passphrase out and use age")
    return encrypt(packed.read_bytes(), passphrase)


def _publish(packed: Path, path: Path) -> None:
    packed.chmod(0o600)
    with packed.open("rb") as file:
        os.fsync(file.fileno())
    os.link(packed, path)  # never over a file that appeared meanwhile
    sync_folder(path.absolute().parent)


def _measured(path: Path) -> _File:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return _File(hasher.hexdigest(), path.stat().st_size)
