"""A witness: it cosigns heads of logs, each a continuation of the one before, so that no log can show two histories.

C2SP tlog-witness, add-checkpoint, without the HTTP; specified in spec/witness.md. For each submission, in this order:

1. 400  it is not a request
2. 404  the log is not known
3. 403  the log did not sign the checkpoint
4. 400  its old size is above the checkpoint's
5. 409  the old size is not that of the head cosigned last, which is told; or the sizes are equal and the roots differ
6. 422  the proof does not hold
7. 503  the clock is behind what was cosigned before: an earlier time would say what is not so
8. 200  the head is kept, then cosigned

Steps 5 to 8 are one transaction, which is durable before anybody is told: of two requests, of two processes and after a
crash, there is one order of heads. A head that contradicts the kept one and is signed is kept as evidence.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import sqlite3
import time
from collections.abc import Callable
from typing import NamedTuple

from verity.errors import FormatError, ProofError, SignatureError
from verity.log import tree
from verity.log.cosignature import cosign
from verity.log.evidence import Fork, fork_by_proof
from verity.log.heads import device_of, key_of, signed_by
from verity.log.note import Line, Note, VerifierKey
from verity.log.submission import Submission, decode
from verity.log.witness_logs import KnownLogs, choose_name, keep_fork
from verity.statements.keys import Signer
from verity.store.clock import written
from verity.store.database import Database

SIZE_TYPE = "text/x.tlog.size"
MAX_LOGS = 10_000
"""Logs of devices that nobody told the witness of, and which it knows all the same (``any_device``)."""
MAX_EPOCHS = 16
"""Of these, logs of one device: its key can make as many as it likes."""
_log = logging.getLogger("verity.witness")


class Answer(NamedTuple):
    """What a witness answers: an HTTP status, a text, its media type."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"
    retry_after_s: int | None = None


class Head(NamedTuple):
    """The head that was cosigned last: ``note`` has the log's own lines and the witness's."""

    origin: str
    size: int
    root: bytes
    note: str
    time_s: int

    @property
    def time(self) -> str:
        """When it was cosigned, in UTC."""
        return written(datetime.datetime.fromtimestamp(self.time_s, datetime.UTC))


def read_heads(database: Database) -> list[Head]:
    """All heads cosigned last, by origin."""
    with database.snapshot() as connection:
        return [Head(*row) for row in connection.execute(f"{_HEADS} ORDER BY origin")]


class Witness:
    """One witness over its database; several processes may share one. Raises StoreError when it cannot be used.

    ``clock`` tells seconds since 1970. ``any_device``: every log whose origin names a device's key is known by that
    key, up to ``most`` of them.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        name: str | None = None,
        *,
        clock: Callable[[], float] = time.time,
        any_device: bool = False,
        most: int = MAX_LOGS,
    ) -> None:
        self.key = choose_name(database, signer, name)
        self._database = database
        self._signer = signer
        self._clock = clock
        self._any_device = any_device
        self._most = most

    def add_checkpoint(self, body: bytes) -> Answer:
        """Judge one submission; a head that is cosigned is durable when this returns."""
        try:
            asked = decode(body)
            keys = self._known(asked.checkpoint.origin)
        except FormatError as error:
            return _refused(400, error)
        origin = asked.checkpoint.origin
        if not keys:
            return _refused(404, f"this witness does not know a log {origin[:200]}")
        try:
            lines = signed_by(asked.note, keys)
        except SignatureError as error:
            return _refused(403, error)
        if asked.old > asked.checkpoint.size:
            return _refused(400, "the old size is above that of the checkpoint")
        with self._database.transaction() as connection:
            return self._advance(connection, asked, lines)

    def head(self, identifier: str) -> Head | None:
        """The head cosigned last of the log whose origin has this SHA-256 (hex)."""
        with self._database.snapshot() as connection:
            row = connection.execute(f"{_HEADS} WHERE id = ?", (identifier,)).fetchone()
        return Head(*row) if row is not None else None

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _known(self, origin: str) -> list[VerifierKey]:
        """Step 2. A log is known by what the witness was told, or else by the key in its name."""
        with self._database.snapshot() as connection:
            keys = KnownLogs.keys(connection, origin)
            device = device_of(origin)
            if keys or not self._any_device or device is None or (named := key_of(origin)) is None:
                return keys
            return [named] if self._has_room(connection, origin, device) else []

    def _has_room(self, connection: sqlite3.Connection, origin: str, device: str) -> bool:
        if connection.execute("SELECT 1 FROM witness_heads WHERE origin = ?", (origin,)).fetchone():
            return True
        (count,) = connection.execute("SELECT count(*) FROM witness_heads").fetchone()
        # "0" follows "/" in ASCII: these are the origins that begin with the device's key.
        of_device = "SELECT count(*) FROM witness_heads WHERE origin > ? AND origin < ?"
        (epochs,) = connection.execute(of_device, (f"verity/{device}/", f"verity/{device}0")).fetchone()
        return bool(count < self._most and epochs < MAX_EPOCHS)

    def _advance(self, connection: sqlite3.Connection, asked: Submission, lines: list[Line]) -> Answer:
        new = asked.checkpoint
        row = connection.execute(f"{_HEADS} WHERE origin = ?", (new.origin,)).fetchone()
        kept = Head(*row) if row is not None else Head(new.origin, 0, tree.EMPTY_ROOT, "", 0)
        if new.size == kept.size and new.root != kept.root:
            self._contradicted(connection, kept, asked, lines)
            return Answer(409, f"{kept.size}\n", SIZE_TYPE)
        if asked.old != kept.size:
            return Answer(409, f"{kept.size}\n", SIZE_TYPE)
        try:
            tree.check_consistency(kept.size, new.size, kept.root, new.root, asked.proof)
        except ProofError as error:
            self._contradicted(connection, kept, asked, lines)
            return _refused(422, error)
        time_s = int(self._clock())
        if time_s < kept.time_s:
            late = kept.time_s - time_s
            return Answer(503, f"the clock is {late} s behind the last cosignature of this log\n", retry_after_s=late)
        return self._keep(connection, asked, lines, time_s)

    def _keep(self, connection: sqlite3.Connection, asked: Submission, lines: list[Line], time_s: int) -> Answer:
        new, body = asked.checkpoint, asked.note.body
        line = cosign(body, self.key.name, self._signer, time_s)
        kept = str(Note(body, [*lines, line]))  # no lines of strangers: nobody judged them
        identifier = hashlib.sha256(new.origin.encode()).hexdigest()
        connection.execute(
            "INSERT INTO witness_heads VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET "
            "size = excluded.size, root = excluded.root, note = excluded.note, time_s = excluded.time_s",
            (new.origin, identifier, new.size, new.root, kept, time_s),
        )
        return Answer(200, str(line))

    def _contradicted(self, connection: sqlite3.Connection, kept: Head, asked: Submission, lines: list[Line]) -> None:
        """A signed head that does not go on from the kept one. A false proof alone is none: anybody can send that."""
        fork = _fork(kept, asked, lines)
        if fork is not None and keep_fork(connection, kept.origin, fork):
            _log.warning("a log signed two histories: %s", kept.origin)


def _fork(kept: Head, asked: Submission, lines: list[Line]) -> Fork | None:
    if not kept.note:
        return None
    try:
        return fork_by_proof(kept.note, str(Note(asked.note.body, lines)), asked.proof)
    except (ProofError, FormatError):
        return None


def _refused(status: int, reason: object) -> Answer:
    return Answer(status, f"{reason}\n")


_HEADS = "SELECT origin, size, root, note, time_s FROM witness_heads"
