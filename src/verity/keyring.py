"""What a device says about keys, in its log, and what it knows about its own and others'.

node.keyring.name_recovery(recovery)            an offline key that may speak for this device's
node.keyring.revoke(since="…", reason="…")      not to be trusted from then on
node.keyring.recover(old, recovery)             this device takes the place of a key that was lost
node.keyring.know(read_key_events(path))        what others say about their keys
node.keyring.file()                             all of it with its proofs, to hand out
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from verity.errors import UsageError
from verity.exporter import Exporter
from verity.identity.device_key import DeviceKey
from verity.log.checkpoint import Checkpoint
from verity.recorder import Recorder
from verity.statements.key_events import (
    KINDS,
    MAX_EVENTS,
    NAMED,
    Body,
    ClosedLog,
    Event,
    InLog,
    KeyEvents,
    Recovery,
    Revocation,
    SignedEvent,
    Succession,
    read_event,
    seconds,
    sign_event,
)
from verity.statements.keys import Signer
from verity.store.clock import now
from verity.store.database import Database
from verity.store.key_events import KeptEvent, KeyEventStore
from verity.verify.key_events import check_event, known
from verity.verify.standing import Said, Standing, standing


class Keyring:
    """The key events of one device. Methods raise StoreError and LogError when the database cannot be used."""

    def __init__(self, database: Database, recorder: Recorder, exporter: Exporter, key: DeviceKey) -> None:
        self._store = KeyEventStore(database)
        self._recorder = recorder
        self._exporter = exporter
        self._key = key

    def name_recovery(self, recovery: Signer, earlier: Signer | None = None) -> Event:
        """Say that ``recovery`` may speak for this device's key. The first one counts: where one was named before, it
        must sign (``earlier``). Naming the same again changes nothing. Raises UsageError."""
        now_named = self.standing()
        if now_named.recovery == recovery.public.hex():
            return next(
                said.event
                for said in self._said()
                if isinstance(said.event.body, Recovery) and said.event.body.recovery == now_named.recovery
            )
        if now_named.recovery is not None and (earlier is None or earlier.public.hex() != now_named.recovery):
            named = f"{now_named.recovery[:16]}… is this device's recovery key already"
            raise UsageError(named, "the first one counts: give its file too (--recovery), and it names its successor")
        signers = [self._key, recovery, *([earlier] if earlier is not None else [])]
        return self._say(self._key.id, Recovery(recovery.public.hex(), now()), signers)

    def revoke(self, since: str, reason: str, recovery: Signer | None = None, key: str | None = None) -> Event:
        """Say that a key (default: this device's) is not to be trusted since a time (RFC 3339, UTC). Irrevocable.
        ``recovery`` signs it in the key's place. Raises UsageError, FormatError."""
        if recovery is None and key not in (None, self._key.id):
            raise UsageError("this device does not hold that key", "give its recovery key: --recovery FILE")
        if recovery is not None:
            self._check_recovery(key or self._key.id, recovery)
        body = Revocation(reason, since, now())
        if seconds(since) > seconds(body.time):
            raise UsageError(
                f"{since} is not over yet", "a revocation names the time of compromise, which has happened"
            )
        return self._say(key or self._key.id, body, [recovery or self._key])

    def recover(self, old: str, recovery: Signer, last: Checkpoint | None = None) -> Event:
        """Take the place of ``old``, a lost key, whose recovery key signs. ``last`` is the last head that is known of
        its log. Raises UsageError, FormatError."""
        if old == self._key.id:
            raise UsageError("this device holds that key", "to exchange it: `verity device rotate`")
        self._check_recovery(old, recovery)
        closed = None if last is None else ClosedLog(last.origin, last.root.hex(), last.size)
        return self._say(old, Succession(closed, self._key.id, now()), [recovery, self._key])

    def check_may_pass_on(self, recovery: Signer | None) -> None:
        """Raise UsageError when nobody would believe a succession that this device's key signs now."""
        if recovery is not None:
            self._check_recovery(self._key.id, recovery)
            return
        known = self.standing()
        hint = "let its recovery key sign too: --recovery FILE; without one, tell others the key of a new home"
        if known.revocation is not None:
            raise UsageError("this device's key is revoked: its word alone passes nothing on", hint)
        if known.successions:
            raise UsageError("this device's key was passed on already", f"open its successor; or {hint}")

    def _check_recovery(self, key: str, recovery: Signer) -> None:
        """Whether it was named at all: whether in time is for whoever has a date for it."""
        named = {said.event.body for said in self._said() if said.event.key == key}
        if not any(isinstance(body, Recovery) and body.recovery == recovery.public.hex() for body in named):
            hint = "the file that was written beside it says so: `verity device know FILE`; hand that out as well"
            raise UsageError(f"this is not known here to be the recovery key of {key[:16]}…", hint)

    def know(self, events: Iterable[SignedEvent]) -> list[tuple[Event, bool]]:
        """Keep what others say, once its signatures and proofs hold; each with whether it was new. Raises FormatError,
        LogError, SignatureError, and nothing is kept."""
        checked = [(signed, check_event(signed).event) for signed in events]
        return [(event, self._store.keep(event.digest, event.key, signed)) for signed, event in checked]

    def events(self) -> list[KeptEvent]:
        """All that is known, in the order in which it became known."""
        return self._store.all()

    def file(self, key: str | None = None) -> KeyEvents:
        """All events, or those about one key, with their proofs. Raises UsageError if there is none."""
        chosen = [kept for kept in self._store.all() if key in (None, kept.key)]
        if not chosen:
            raise UsageError("no key event is known here", "`verity device rotate --help` says which there can be")
        if len(chosen) > MAX_EVENTS:
            raise UsageError(
                f"a file holds {MAX_EVENTS} key events, and {len(chosen)} are known", "name one key: --key"
            )
        return KeyEvents([self._proven(kept) for kept in chosen])

    def standing(self, key: str | None = None) -> Standing:
        """What is known here about a key, this device's unless another is named."""
        return standing(key or self._key.id, self._said())

    def _said(self) -> list[Said]:
        return [known(kept).dated((), 0.0) for kept in self._store.all()]

    def _say(self, key: str, body: Body, signers: Sequence[Signer]) -> Event:
        envelope = sign_event(key, body, signers)
        event = read_event(envelope)

        def keep(connection: sqlite3.Connection, index: int) -> None:
            KeyEventStore.insert(connection, event.digest, key, SignedEvent(envelope), (self._recorder.epoch, index))

        named = {"event": {"sha256": event.digest, "type": event.type}, "time/started": now()}
        self._recorder.declare(NAMED, KINDS[event.type], named, keep, shown=True)
        return event

    def _proven(self, kept: KeptEvent) -> SignedEvent:
        if kept.epoch is None or kept.position is None:
            return kept.signed
        statement, checkpoint, proof = self._exporter.statement(kept.position, kept.epoch)
        return SignedEvent(kept.signed.event, InLog(checkpoint, proof, statement))
