"""What becomes of a device's key: a recovery key for it, a successor, its revocation. Specified in spec/keys.md.

    {"_type": in-toto, "predicateType": "verity:succession/v1",
     "subject": [{"name": "verity:key:<key>", "digest": {"sha256": SHA-256 of the key's 32 bytes}}],
     "predicate": {"previous_log": {"origin", "size", "root"} or null, "successor": key, "time": RFC 3339}}

in a DSSE envelope that carries a signature of everybody who must agree: the key or its recovery key, and whoever is
named. All of it is in clear. A file, ``*.key-event.json``, holds several events, each with the proof that it is named
in a log, if it is: that dates it. Nothing in a file is trusted for being there: ``verity.verify.standing`` decides.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from verity.errors import FormatError
from verity.statements.bundle import LogProof
from verity.statements.dsse import PAYLOAD_TYPE, Envelope, Signature, pae
from verity.statements.in_toto import STATEMENT_TYPE, InToto, Subject
from verity.statements.keys import Signer, check_signature, parse_key
from verity.statements.receipt import convert_field
from verity.statements.strict import canonical, decode_base64, decode_hex, encode_base64, load

RECOVERY = "verity:recovery/v1"
SUCCESSION = "verity:succession/v1"
REVOCATION = "verity:key-revocation/v1"
NAMED = "verity:key-event/v1"
"""The statement by which a device's log names an event, so that witnesses of the log date it."""
SUFFIX = ".key-event.json"
MAX_FILE_BYTES = 1 << 20
MAX_EVENTS = 64
MAX_REASON = 500
"""Characters."""
_MAX_PAYLOAD = 1 << 14
_MAX_SIGNERS = 3
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


class Recovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``recovery`` is the public half of a key that is kept offline and speaks for the device's key when that is lost
    or stolen."""

    recovery: str
    time: str


class ClosedLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log's head: what the old key logged last, before the succession itself."""

    origin: str
    root: str
    size: int


class Succession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whoever trusts the key may trust ``successor`` in its place. The head is null where the old log is lost."""

    previous_log: ClosedLog | None
    successor: str
    time: str


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key is not to be trusted from ``since`` on, for ever: the time of compromise, as the signer sees it."""

    reason: str
    since: str
    time: str

    @property
    def since_s(self) -> int:
        return seconds(self.since)


Body = Recovery | Succession | Revocation
_TYPES: dict[str, type[Recovery] | type[Succession] | type[Revocation]] = {
    RECOVERY: Recovery,
    SUCCESSION: Succession,
    REVOCATION: Revocation,
}
KINDS = {RECOVERY: "recovery", SUCCESSION: "succession", REVOCATION: "revocation"}


class Event(msgspec.Struct, frozen=True):
    """An event whose signatures hold: about which ``key``, what, by whom (keys, in order), and the payload's digest."""

    key: str
    body: Body
    signers: tuple[str, ...]
    digest: str

    @property
    def type(self) -> str:
        return next(name for name, kind in _TYPES.items() if isinstance(self.body, kind))


class InLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That a log names an event: the NAMED statement, the log's head, and the proof."""

    checkpoint: str
    proof: LogProof
    statement: Envelope


class SignedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event as it travels."""

    event: Envelope
    log: InLog | msgspec.UnsetType = msgspec.UNSET


class KeyEvents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file holds."""

    events: list[SignedEvent]

    def encode(self) -> bytes:
        """The file's bytes."""
        return msgspec.json.encode(self) + b"\n"


_Statement = InToto[dict[str, Any]]


def sign_event(key: str, body: Body, signers: Sequence[Signer]) -> Envelope:
    """The event about ``key``, signed by all of ``signers``. Raises FormatError for what no reader would accept."""
    kind = next(name for name, form in _TYPES.items() if isinstance(body, form))
    predicate = msgspec.to_builtins(body)
    statement = InToto.of(predicate, kind, _subject(key))
    payload = canonical(statement)
    signed = {s.public.hex(): encode_base64(s.sign(pae(PAYLOAD_TYPE, payload))) for s in signers}
    signatures = [Signature(keyid=name, sig=signed[name]) for name in sorted(signed)]
    envelope = Envelope(payload=encode_base64(payload), payloadType=PAYLOAD_TYPE, signatures=signatures)
    read_event(envelope)
    return envelope


def read_event(envelope: Envelope) -> Event:
    """The event, once every signature in the envelope holds and those that it needs are there.

    Whether they are of anybody who may speak for the key is not decided here. Raises FormatError, SignatureError.
    """
    payload = envelope.payload_bytes()
    statement = load(payload, _Statement, limit=_MAX_PAYLOAD, what="key event")
    form = _TYPES.get(statement.predicateType)
    if statement.type_ != STATEMENT_TYPE or form is None:
        raise FormatError("this is not a key event of a known kind", "update Verity, if somebody made it with a later")
    body: Body = convert_field(statement.predicate, form, "predicate")
    if canonical(statement) != payload:
        raise FormatError("the key event is not in canonical form")
    key = _key_of(statement)
    _check_body(key, body)
    signers = _check_signers(envelope, payload)
    if lacking := sorted(_needed(key, body) - set(signers)):
        raise FormatError(f"the key event lacks the signature of {lacking[0][:16]}…, who must agree to it")
    if not isinstance(body, Revocation) and len(signers) < 2:
        raise FormatError("the key event is signed only by whom it names", "the key or its recovery key must sign it")
    return Event(key, body, signers, hashlib.sha256(payload).hexdigest())


def decode_key_events(data: bytes) -> list[SignedEvent]:
    """Read a file's bytes; no signature is checked yet. Raises FormatError."""
    events = load(data, KeyEvents, limit=MAX_FILE_BYTES, what="file of key events").events
    if not 0 < len(events) <= MAX_EVENTS:
        raise FormatError(f"a file of key events holds 1 to {MAX_EVENTS} of them")
    return events


def seconds(text: str) -> int:
    """A time in UTC, to the second (RFC 3339, ``2026-11-27T12:00:00Z``), as seconds since 1970. Raises FormatError."""
    try:
        return int(datetime.datetime.fromisoformat(text if _TIME.fullmatch(text) else "").timestamp())
    except ValueError as error:
        raise FormatError(f"{text[:40]!r} is not a time in UTC", "write it as 2026-11-27T12:00:00Z") from error


def _subject(key: str) -> Subject:
    return Subject(name=f"verity:key:{key}", digest={"sha256": hashlib.sha256(parse_key(key)).hexdigest()})


def _key_of(statement: _Statement) -> str:
    name = statement.subject[0].name.rpartition(":")[2] if len(statement.subject) == 1 else ""
    if statement.subject != [_subject(name)]:
        raise FormatError("the key event is not about one key")
    return name


def _needed(key: str, body: Body) -> set[str]:
    """Who must have signed, whoever else did: nobody is named unasked, and only the key itself names its recovery."""
    if isinstance(body, Recovery):
        return {key, body.recovery}
    return {body.successor} if isinstance(body, Succession) else set()


def _check_body(key: str, body: Body) -> None:
    seconds(body.time)
    if isinstance(body, Revocation):
        seconds(body.since)
        if not 0 < len(body.reason) <= MAX_REASON:
            raise FormatError(f"a revocation's reason has 1 to {MAX_REASON} characters")
        return
    named = body.recovery if isinstance(body, Recovery) else body.successor
    parse_key(named)
    if named == key:
        raise FormatError("a key is not its own successor, nor its own recovery key")
    if isinstance(body, Succession) and (log := body.previous_log) is not None:
        if not re.fullmatch(rf"verity/{key}/(0|[1-9][0-9]{{0,14}})", log.origin, re.ASCII):
            raise FormatError("the succession names a log that is not the old key's")
        decode_hex(log.root, 32, "root of the old log")
        if log.size < 0:
            raise FormatError("the succession names a log of a negative size")


def _check_signers(envelope: Envelope, payload: bytes) -> tuple[str, ...]:
    names = [signature.keyid for signature in envelope.signatures]
    if not 0 < len(names) <= _MAX_SIGNERS or names != sorted(set(names)):
        raise FormatError(f"a key event has 1 to {_MAX_SIGNERS} signatures, in the order of their keys, none twice")
    for signature in envelope.signatures:
        value = decode_base64(signature.sig, "signature of a key event")
        check_signature(parse_key(signature.keyid), pae(PAYLOAD_TYPE, payload), value)
    return tuple(names)
