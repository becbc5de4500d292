"""Writes receipts: an intent before the model runs, a result after, both signed and logged.

Everything that the answer's owner may later disclose is kept in the device's database with the receipt's secret; what
goes into the log is a salted digest. While an answer is written its receipt is locked, so that an intent whose process
died can be told from one under way: the next answer closes it as ``aborted``.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from verity.elements import segmented, token_tree
from verity.endings import inference_ending, lost
from verity.errors import StoreError, UsageError
from verity.identity.device_key import DeviceKey
from verity.log.device_log import DeviceLog, Draft
from verity.log.rows import Stored
from verity.statements.commitments import (
    ID_BYTES,
    SALT_BYTES,
    SECRET_BYTES,
    SEGMENT_FIELD,
    TOKEN_FIELD,
    digest_fields,
    open_all,
)
from verity.statements.dsse import Envelope, seal
from verity.statements.receipt import (
    GENERATION,
    INFERENCE,
    INTENT,
    MAX_STATEMENT_BYTES,
    RESULT,
    Place,
    Predicate,
    Statement,
    make_statement,
    statement_digest,
)
from verity.statements.request import IntentName
from verity.statements.segments import Evaluated, pack
from verity.statements.strict import load
from verity.steps import recovered
from verity.store.answering import Answering, Hold
from verity.store.database import Database
from verity.store.receipts import DONE, OPEN, PROMISED, Kept, Private, Receipts, Segment, Token
from verity.store.states import States
from verity.store.steps import Steps


class Begun(msgspec.Struct, frozen=True):
    """A receipt whose intent is in the log and whose result is not yet; this process holds its lock."""

    id: str
    secret: bytes
    intent: IntentName
    private: Private
    shown: frozenset[str]
    hold: Hold
    kind: str = GENERATION


class Recorder:
    """The receipts of one device."""

    def __init__(self, database: Database, log: DeviceLog, key: DeviceKey) -> None:
        self._log = log
        self._key = key
        self._receipts = Receipts(database)
        self._answering = Answering(database.path.parent)
        self.states = States(database.path.parent)
        self.steps = Steps(database.path.parent)

    @property
    def epoch(self) -> int:
        """The epoch of the log in which this device writes."""
        return self._log.epoch

    def begin(
        self,
        fields: Mapping[str, Any],
        shown: Iterable[str] = (),
        *,
        kind: str = GENERATION,
        promised: bool = False,
        request: Envelope | None = None,
    ) -> Begun:
        """Sign and log the intent. When this returns, it is durable: the model may run. Raises StoreError, LogError.

        A ``promised`` one waits for a nonce, for as long as it takes: ``resume`` goes on with it. ``request`` is the
        issuer's, if one asked for this.
        """
        self.close_orphans()
        receipt_id, secret = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
        private, visible = Private(intent=dict(fields), request=request), frozenset(shown)
        predicate = {"id": receipt_id.hex(), "kind": kind}
        hold = self._answering.hold(receipt_id.hex(), new=True)
        try:
            keep = self._keep_new(predicate, PROMISED if promised else OPEN, secret, private)
            payload = self._append(INTENT, predicate, secret, fields, visible, keep)
        except BaseException:
            hold.release()
            raise
        name = IntentName(receipt_id.hex(), statement_digest(payload))
        return Begun(name.id, secret, name, private, visible, hold, kind)

    def resume(self, intent: IntentName, request: Envelope) -> Begun:
        """Go on with a promised intent, now that the issuer's ``request`` reveals the nonce for it.

        Raises UsageError when there is no intent of that name that waits for a nonce.
        """
        kept = self._receipts.get(intent.id)
        hold = self._answering.hold(kept.id)
        try:
            kept = self._receipts.get(intent.id)
            if kept.state != PROMISED or kept.epoch != self._log.epoch:
                answered = f"it was answered: `verity export {kept.id} --everything --save FILE` writes its bundle"
                hint = answered if kept.result_position is not None else "ask for a new request"
                raise UsageError(f"receipt {kept.id} does not wait for a nonce", hint)
            secret, private = self._receipts.private(kept)
            if private.request is None or private.request.device() != request.device():
                raise UsageError("the nonce is not by the issuer who asked for this intent", "wait for his")
            envelope, statement = read_entry(self._log.entry(kept.intent_position))
            if statement_digest(envelope.payload_bytes()) != intent.sha256:
                raise UsageError(
                    "the nonce was revealed for another intent than this device's", "check which file it is"
                )
        except BaseException:
            hold.release()
            raise
        shown = frozenset(opening.field for opening in statement.predicate.shown)
        return Begun(kept.id, secret, intent, msgspec.structs.replace(private, request=request), shown, hold)

    def finish(
        self, begun: Begun, fields: Mapping[str, Any], tokens: list[Token], evaluated: Evaluated | None = None
    ) -> None:
        """Sign and log the result; a generation's with its ``tokens``, and segments of what was ``evaluated`` for it.
        When this returns, it is durable, but for the states: they can be computed again.

        Raises StoreError, LogError.
        """
        result, segments = dict(fields), list[Segment]()
        if begun.kind == GENERATION:
            root = token_tree(bytes.fromhex(begun.id), begun.secret, tokens).root
            result[TOKEN_FIELD] = {"count": len(tokens), "root": root.hex()}
        if evaluated is not None:
            result[SEGMENT_FIELD], segments = segmented(
                begun.intent, begun.secret, begun.private.intent["prompt_tokens"], tokens, evaluated
            )
        private = msgspec.structs.replace(begun.private, result=result, tokens=tokens, segments=segments)
        predicate = {"id": begun.id, "kind": begun.kind, "intent": begun.intent.sha256}

        def keep(connection: sqlite3.Connection, index: int) -> None:
            Receipts.finish(connection, begun.id, index, private)

        try:
            self._append(RESULT, predicate, begun.secret, result, begun.shown, keep)
        finally:
            begun.hold.release()  # if it could not be written, the next answer closes it
        if evaluated is not None:
            with contextlib.suppress(StoreError):  # no room for them: the answer is on record all the same
                self.states.keep(begun.id, begun.secret, [pack(rows) for rows in evaluated.chunks])

    def close_orphans(self) -> list[str]:
        """Log an ``aborted`` result, without tokens and with the steps that are durable, for every intent of this epoch
        whose process died. Returns ids."""
        open_now = {k.id: k for k in self._receipts.all(OPEN) if k.epoch == self._log.epoch}
        closed = []
        for receipt_id in {*open_now, *self._answering.leftovers()}:
            try:
                hold = self._answering.hold(receipt_id)
            except StoreError:
                continue  # somebody is answering it
            with hold:
                if receipt_id not in open_now or (kept := self._receipts.get(receipt_id)).state != OPEN:
                    continue
                secret, private = self._receipts.private(kept)
                payload = read_entry(self._log.entry(kept.intent_position))[0].payload_bytes()
                name = IntentName(receipt_id, statement_digest(payload))
                begun = Begun(receipt_id, secret, name, private, frozenset(), hold, kept.kind)
                self.finish(begun, self._lost(begun), [])
                closed.append(receipt_id)
        return closed

    def _lost(self, begun: Begun) -> dict[str, Any]:
        """The result's fields where a process died."""
        if begun.kind == INFERENCE:
            return inference_ending("aborted", recovered(self.steps, begun.id, begun.secret))
        return lost(begun.kind)

    def forget(self, receipt_ids: list[str]) -> int:
        """Destroy secrets and values of these receipts for ever; returns how many had any.

        Raises StoreError when one is being answered now, or when the journal cannot be cleaned.
        """
        with contextlib.ExitStack() as holds:
            for receipt_id in receipt_ids:
                holds.enter_context(self._answering.hold(receipt_id))
            count = self._receipts.forget(receipt_ids)
        self.states.forget(receipt_ids)
        kept = {k.id for k in self._receipts.all() if k.forgotten_at is None}
        for receipt_id in self.steps.names():
            if receipt_id not in kept:  # nothing opens them any more
                self.steps.drop(receipt_id)
        return count

    def compact(self) -> int:
        """Drop the statements of forgotten receipts from the log, all epochs. Returns how many."""
        forgotten = [k for k in self._receipts.all() if k.forgotten_at is not None]
        places = [(k.epoch, at) for k in forgotten for at in (k.intent_position, k.result_position) if at is not None]
        return self._log.compact(places)

    def declare(
        self,
        statement: str,
        kind: str,
        fields: Mapping[str, Any],
        also: Callable[[sqlite3.Connection, int], None] = lambda *_: None,
        *,
        shown: bool = False,
    ) -> int:
        """Log what this device says, committed like everything else, or in clear as well (``shown``); returns where it
        stands. ``also`` joins the transaction. Raises StoreError, LogError."""
        secret = secrets.token_bytes(SECRET_BYTES)
        predicate = {"id": secrets.token_bytes(ID_BYTES).hex(), "kind": kind}
        keep = self._keep_new(predicate, DONE, secret, Private(intent=dict(fields)))

        places: list[int] = []

        def keep_both(connection: sqlite3.Connection, index: int) -> None:
            keep(connection, index)
            also(connection, index)
            places[:] = [index]

        self._append(statement, predicate, secret, fields, frozenset(fields) if shown else frozenset(), keep_both)
        return places[0]

    def _keep_new(
        self, predicate: Mapping[str, Any], state: str, secret: bytes, private: Private
    ) -> Callable[[sqlite3.Connection, int], None]:
        """What stores a new statement's secret and values beside its log entry, in the same transaction."""

        def keep(connection: sqlite3.Connection, index: int) -> None:
            started, epoch = private.intent["time/started"], self._log.epoch
            new = Kept(predicate["id"], predicate["kind"], state, started, epoch, index, None, None)
            Receipts.insert(connection, new, secret, private)

        return keep

    def _append(
        self,
        statement: str,
        predicate: dict[str, Any],
        secret: bytes,
        fields: Mapping[str, Any],
        shown: frozenset[str],
        keep: Callable[[sqlite3.Connection, int], None],
    ) -> bytes:
        """Returns the signed payload."""
        openings = open_all(secret, fields)
        digest = digest_fields(bytes.fromhex(predicate["id"]), openings)
        visible = [opening for opening in openings if opening.field in shown]
        salt = secrets.token_bytes(SALT_BYTES)
        signed: list[bytes] = []

        def build(place: Place) -> Draft:
            payload = make_statement(statement, Predicate(**predicate, log=place, shown=visible), digest)
            signed[:] = [payload]
            envelope = seal(payload, self._key)
            return Draft(envelope.log_entry(salt), salt, envelope.encode())

        self._log.append(build, keep)
        return signed[0]


def read_entry(stored: Stored) -> tuple[Envelope, Statement]:
    """What stands behind an entry of the log. Raises FormatError when its envelope is damaged, UsageError when it was
    compacted away."""
    if stored.envelope is None:
        raise UsageError(f"entry {stored.index} was compacted: its statement is gone", "its leaf and proofs remain")
    envelope = load(stored.envelope, Envelope, limit=2 * MAX_STATEMENT_BYTES, what="log entry")
    return envelope, load(envelope.payload_bytes(), Statement, limit=MAX_STATEMENT_BYTES, what="statement")


def inspect(stored: Stored, place: Place) -> str | None:
    """What the log itself cannot know: that the envelope is the one behind the entry, and says where it stands.

    Returns the problem, if there is one. Raises FormatError, which the log's check reports likewise.
    """
    envelope, statement = read_entry(stored)
    if stored.salt is None or envelope.log_entry(stored.salt) != stored.entry:
        return f"entry {stored.index} is not the digest of its envelope"
    if statement.predicate.log != place:
        return f"entry {stored.index} says that it stands elsewhere: an entry before it was dropped, put in or moved"
    return None
