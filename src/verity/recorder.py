"""Writes receipts: an intent before the model runs, a result after, both signed and logged, and the bundle of both.

Everything that the answer's owner may later disclose is kept in the device's database with the receipt's secret; what
goes into the log is a salted digest.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from verity.errors import LogError, UsageError
from verity.identity.device_key import DeviceKey
from verity.log.device_log import DeviceLog, Draft
from verity.log.rows import Stored
from verity.log.tree import MemoryTree, hash_leaf
from verity.statements.bundle import Bundle, Disclosure, LogPart, LogProof, Receipt, TokenOpening
from verity.statements.commitments import (
    ID_BYTES,
    SALT_BYTES,
    SECRET_BYTES,
    TOKEN_FIELD,
    commit_token,
    derive_salt,
    digest_fields,
    open_all,
)
from verity.statements.dsse import Envelope, seal
from verity.statements.receipt import (
    INTENT,
    MAX_STATEMENT_BYTES,
    NUMERICS,
    RESULT,
    Place,
    Predicate,
    Statement,
    make_statement,
    statement_digest,
)
from verity.statements.strict import encode_base64, load
from verity.store.database import Database

KIND = "generation"
_T = TypeVar("_T")


class Token(msgspec.Struct, frozen=True, array_like=True):
    """One output token: its id in the vocabulary and the bytes it stands for."""

    id: int
    piece: bytes


class _Private(msgspec.Struct, frozen=True):
    """What the database keeps of a receipt for its owner: the values of all fields, and the tokens."""

    intent: dict[str, Any]
    result: dict[str, Any] = {}
    tokens: list[Token] = []


class Begun(msgspec.Struct, frozen=True):
    """A receipt whose intent is in the log and whose result is not yet."""

    id: str
    secret: bytes
    intent_digest: str
    private: _Private
    shown: frozenset[str]


class Recorder:
    """The receipts of one device."""

    def __init__(self, database: Database, log: DeviceLog, key: DeviceKey) -> None:
        self._database = database
        self._log = log
        self._key = key

    def begin(self, fields: Mapping[str, Any], shown: Iterable[str] = ()) -> Begun:
        """Sign and log the intent. When this returns, it is durable: the model may run. Raises StoreError, LogError."""
        receipt_id, secret = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
        payloads: list[bytes] = []
        keep = _keep_new(receipt_id, secret, fields)
        predicate = {"id": receipt_id.hex(), "kind": KIND}
        self._append(INTENT, predicate, secret, fields, frozenset(shown), keep, payloads)
        private = _Private(intent=dict(fields))
        return Begun(receipt_id.hex(), secret, statement_digest(payloads[0]), private, frozenset(shown))

    def finish(self, begun: Begun, fields: Mapping[str, Any], tokens: list[Token]) -> None:
        """Sign and log the result. When this returns, it is durable. Raises StoreError, LogError."""
        root = _token_tree(bytes.fromhex(begun.id), begun.secret, tokens).root
        result = {**fields, TOKEN_FIELD: {"count": len(tokens), "root": root.hex()}}
        private = msgspec.structs.replace(begun.private, result=result, tokens=tokens)

        def keep(connection: sqlite3.Connection, index: int) -> None:
            update = "UPDATE receipts SET result_position = ?, disclosure = ? WHERE id = ? AND result_position IS NULL"
            if connection.execute(update, (index, msgspec.json.encode(private), begun.id)).rowcount != 1:
                raise LogError(f"receipt {begun.id} already has a result", "start a new request")

        predicate = {"id": begun.id, "kind": KIND, "intent": begun.intent_digest}
        self._append(RESULT, predicate, begun.secret, result, begun.shown, keep, [])

    def declare_numerics(self, fields: Mapping[str, Any], also: Callable[[sqlite3.Connection, int], None]) -> None:
        """Log what this device measured about itself, committed like everything else. ``also`` stores it."""
        receipt_id, secret = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
        keep = _keep_new(receipt_id, secret, fields)

        def keep_both(connection: sqlite3.Connection, index: int) -> None:
            keep(connection, index)
            also(connection, index)

        predicate = {"id": receipt_id.hex(), "kind": "numerics"}
        self._append(NUMERICS, predicate, secret, fields, frozenset(), keep_both, [])

    def _append(
        self,
        statement: str,
        predicate: dict[str, Any],
        secret: bytes,
        fields: Mapping[str, Any],
        shown: frozenset[str],
        keep: Callable[[sqlite3.Connection, int], None],
        payloads: list[bytes],
    ) -> None:
        openings = open_all(secret, fields)
        digest = digest_fields(bytes.fromhex(predicate["id"]), openings)
        visible = [opening for opening in openings if opening.field in shown]
        salt = secrets.token_bytes(SALT_BYTES)

        def build(place: Place) -> Draft:
            payload = make_statement(statement, Predicate(**predicate, log=place, shown=visible), digest)
            payloads.append(payload)
            envelope = seal(payload, self._key)
            return Draft(envelope.log_entry(salt), salt, envelope.encode())

        self._log.append(build, keep)

    def bundle(self, receipt_id: str) -> Bundle:
        """The bundle of a finished receipt, everything disclosed, under the log's present checkpoint."""
        with self._database.snapshot() as connection:
            columns = "secret, intent_position, result_position, disclosure"
            row = connection.execute(f"SELECT {columns} FROM receipts WHERE id = ?", (receipt_id,)).fetchone()  # noqa: S608
        if row is None:
            raise UsageError(f"this device has no receipt {receipt_id}", "`verity log list` shows what it has")
        secret, first, second, data = row
        if second is None:
            raise UsageError(f"receipt {receipt_id} has an intent and no result", "the answer was never finished")
        private = _decode(data, _Private, receipt_id)
        checkpoint, paths = self._log.proofs([first, second])
        intent, result = self._log.entry(first), self._log.entry(second)

        def envelope(stored: Stored) -> Envelope:
            return _decode(stored.envelope, Envelope, receipt_id)

        def proof(index: int, salt: bytes) -> LogProof:
            return LogProof(index=index, salt=encode_base64(salt), path=[h.hex() for h in paths[index]])

        return Bundle(
            receipt=Receipt(intent=envelope(intent), result=envelope(result)),
            log=LogPart(checkpoint=checkpoint, intent=proof(first, intent.salt), result=proof(second, result.salt)),
            disclosure=_disclose(secret, private),
        )


def read_entry(stored: Stored) -> tuple[Envelope, Statement]:
    """What stands behind an entry of the log. Raises FormatError when its envelope is damaged."""
    envelope = load(stored.envelope, Envelope, limit=2 * MAX_STATEMENT_BYTES, what="log entry")
    return envelope, load(envelope.payload_bytes(), Statement, limit=MAX_STATEMENT_BYTES, what="statement")


def inspect(stored: Stored, place: Place) -> str | None:
    """What the log itself cannot know: that the envelope is the one behind the entry, and says where it stands.

    Returns the problem, if there is one. Raises FormatError, which the log's check reports likewise.
    """
    envelope, statement = read_entry(stored)
    if envelope.log_entry(stored.salt) != stored.entry:
        return f"entry {stored.index} is not the digest of its envelope"
    if statement.predicate.log != place:
        return f"entry {stored.index} says that it stands elsewhere: an entry before it was dropped, put in or moved"
    return None


def _keep_new(receipt_id: bytes, secret: bytes, fields: Mapping[str, Any]) -> Callable[[sqlite3.Connection, int], None]:
    """What stores a new statement's secret and values beside its log entry, in the same transaction."""
    private = msgspec.json.encode(_Private(intent=dict(fields)))

    def keep(connection: sqlite3.Connection, index: int) -> None:
        row = (receipt_id.hex(), fields["time/started"], secret, index, None, private)
        connection.execute("INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)", row)

    return keep


def _decode(data: bytes, kind: type[_T], receipt_id: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise LogError(
            f"what this device kept of receipt {receipt_id} is damaged: {error}", "restore a backup"
        ) from error


def _disclose(secret: bytes, private: _Private) -> Disclosure:
    tokens = [
        TokenOpening(
            id=token.id,
            index=index,
            piece=encode_base64(token.piece),
            salt=encode_base64(derive_salt(secret, TOKEN_FIELD, index)),
        )
        for index, token in enumerate(private.tokens)
    ]
    return Disclosure(intent=open_all(secret, private.intent), result=open_all(secret, private.result), tokens=tokens)


def _token_tree(receipt_id: bytes, secret: bytes, tokens: list[Token]) -> MemoryTree:
    """The tree over the output's token commitments, so that any range of them can be opened alone."""
    return MemoryTree([
        hash_leaf(commit_token(receipt_id, index, derive_salt(secret, TOKEN_FIELD, index), token.id, token.piece))
        for index, token in enumerate(tokens)
    ])  # fmt: skip
