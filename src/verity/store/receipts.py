"""The private half of this device's receipts: every committed value, and the secret that all salts derive from.

``kind`` is one of KINDS, or what the device declared about itself. A receipt is ``open`` from its intent to its
result, or ``promised`` while it waits for a nonce; ``done`` is all the rest. Forgetting destroys secret and values for
good: what was committed stays in the log and can never be opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from verity.errors import LogError, UsageError
from verity.statements.dsse import Envelope
from verity.statements.receipt import KINDS
from verity.store.clock import now
from verity.store.database import Database

OPEN, PROMISED, DONE = "open", "promised", "done"


class Token(msgspec.Struct, frozen=True, array_like=True):
    """One output token: its id in the vocabulary and the bytes it stands for."""

    id: int
    piece: bytes


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """What a receipt commits to at the end of a segment: the digests of the state and of what the grammar allowed."""

    state: bytes
    grammar: bytes


class Private(msgspec.Struct, frozen=True):
    """The values of all fields, the tokens and segments, and the issuer's request if it was asked by one."""

    intent: dict[str, Any]
    result: dict[str, Any] = {}
    tokens: list[Token] = []
    request: Envelope | None = None
    segments: list[Segment] = []


class Kept(NamedTuple):
    """One receipt as it is kept. Positions are those of its statements in the log of ``epoch``."""

    id: str
    kind: str
    state: str
    started_at: str
    epoch: int
    intent_position: int
    result_position: int | None
    forgotten_at: str | None


IS_RECEIPT = f"kind IN {KINDS!r}"
"""What has an intent and a result; for SQL."""

_COLUMNS = "id, kind, state, started_at, epoch, intent_position, result_position, forgotten_at"


class Receipts:
    """The table of one device. Raises StoreError, for every method, when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def insert(connection: sqlite3.Connection, new: Kept, secret: bytes, private: Private) -> None:
        """Keep a new receipt, in the transaction that logs its first statement."""
        row = (*new[:7], secret, msgspec.json.encode(private), None)
        connection.execute("INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    @staticmethod
    def finish(connection: sqlite3.Connection, receipt_id: str, position: int, private: Private) -> None:
        """Keep the result, in the transaction that logs it. Raises LogError unless the receipt waits for one."""
        update = (
            "UPDATE receipts SET result_position = ?, disclosure = ?, state = 'done' "
            "WHERE id = ? AND result_position IS NULL AND state != 'done'"
        )
        if connection.execute(update, (position, msgspec.json.encode(private), receipt_id)).rowcount != 1:
            raise LogError(f"receipt {receipt_id} already has a result, or was forgotten", "start a new request")

    def get(self, receipt_id: str) -> Kept:
        """The receipt of this id, or of the only id that begins so (6 digits or more). Raises UsageError."""
        exact = len(receipt_id) >= 6 and receipt_id.isalnum()
        query = f"SELECT {_COLUMNS} FROM receipts WHERE substr(id, 1, ?) = ? AND {IS_RECEIPT} LIMIT 2"  # noqa: S608
        with self._database.snapshot() as connection:
            rows = connection.execute(query, (len(receipt_id), receipt_id)).fetchall() if exact else []
        if not rows:
            raise UsageError(
                f"this device has no receipt {receipt_id!r}",
                "`verity show` lists what it has; give 6 digits of one or more",
            )
        if len(rows) > 1:
            raise UsageError(f"{receipt_id!r} begins several receipt ids", "give more digits")
        return Kept(*rows[0])

    def all(self, state: str | None = None) -> Iterator[Kept]:
        """All receipts, oldest first; those in ``state`` only, if one is named."""
        where = IS_RECEIPT + (" AND state = ?" if state else "")
        query = f"SELECT {_COLUMNS} FROM receipts WHERE {where} ORDER BY epoch, intent_position"  # noqa: S608
        with self._database.snapshot() as connection:
            rows = connection.execute(query, (state,) if state else ()).fetchall()
        return map(Kept._make, rows)

    def private(self, kept: Kept) -> tuple[bytes, Private]:
        """Its secret and values. Raises UsageError when it was forgotten, LogError when what is kept is damaged."""
        with self._database.snapshot() as connection:
            query = "SELECT secret, disclosure, forgotten_at FROM receipts WHERE id = ?"
            secret, data, forgotten = connection.execute(query, (kept.id,)).fetchone()
        if secret is None:
            raise UsageError(
                f"receipt {kept.id} was forgotten at {forgotten}",
                "its values and salts are destroyed; nothing opens it",
            )
        try:
            return secret, msgspec.json.decode(data, type=Private)
        except msgspec.DecodeError as error:
            raise LogError(
                f"what this device kept of receipt {kept.id} is damaged: {error}", "`verity restore` a backup"
            ) from error

    def forget(self, receipt_ids: list[str]) -> int:
        """Destroy secrets and values of these receipts, in the file and its journal too; returns how many there were.

        A receipt without a result never gets one. Copies elsewhere (bundles, backups, file-system snapshots, worn flash
        cells) are beyond reach.
        """
        update = (
            "UPDATE receipts SET secret = NULL, disclosure = NULL, state = 'done', forgotten_at = ? "
            "WHERE id = ? AND secret IS NOT NULL"
        )
        with self._database.transaction() as connection:
            count = sum(connection.execute(update, (now(), receipt_id)).rowcount for receipt_id in receipt_ids)
        self._database.scrub()
        return count
