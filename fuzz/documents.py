"""JSON documents from outside, each read as what it is meant to be."""

from __future__ import annotations

import functools
import io
import json
from typing import Any

import msgspec

from fuzz import device
from fuzz.target import Target, dump, vectors
from verity import replay_process
from verity.backup import Notes
from verity.errors import FormatError, LogError, SignatureError
from verity.statements.bundle import SignedIntent, decode_bundle, decode_signed_intent
from verity.statements.commitments import Opening, digest_fields, withhold
from verity.statements.dsse import Envelope
from verity.statements.key_events import KeyEvents, decode_key_events
from verity.statements.receipt import INTENT, RESULT, read_statement
from verity.statements.request import read_request
from verity.statements.strict import canonical, load, parse_json
from verity.verify.key_events import check_event
from verity.verify.logged import check_intent
from verity.verify.standing import Said, standing

_LIMIT = 1 << 20
_ID = bytes(16)


def _json(data: bytes) -> None:
    value = parse_json(data, limit=_LIMIT, what="document")
    assert value == json.loads(data), "strict JSON is read otherwise than JSON"
    if not _has_large_reals(value):
        assert parse_json(canonical(value), limit=2 * _LIMIT, what="document") == value


def _has_large_reals(value: Any) -> bool:
    """Reals beyond 2^53 are written as integers by RFC 8785, which the reader refuses."""
    if isinstance(value, dict | list):
        return any(map(_has_large_reals, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and abs(value) >= 2**53


def _bundle(data: bytes) -> None:
    bundle = decode_bundle(data)
    assert decode_bundle(bundle.encode()) == bundle


@functools.cache
def _signed() -> frozenset[bytes]:
    """All that the keys of the seeds ever signed."""
    envelopes = [msgspec.json.decode(seed, type=Envelope) for seed in _envelopes()]
    return frozenset(envelope.payload_bytes() for envelope in envelopes)


def _envelope(data: bytes) -> None:
    envelope = load(data, Envelope, limit=_LIMIT, what="envelope")
    named = envelope.device()
    payload = envelope.check(named)
    assert payload in _signed() or named not in (device.key().id, device.issuer().id), "a signature was forged"
    assert load(envelope.encode(), Envelope, limit=2 * _LIMIT, what="envelope").digest() == envelope.digest()


def _statement(data: bytes) -> None:
    try:
        statement = read_statement(data, INTENT)
    except FormatError:
        statement = read_statement(data, RESULT)
    assert read_statement(canonical(statement), statement.predicateType) == statement


def _request(data: bytes) -> None:
    issued = read_request(data)
    assert issued.envelope.payload_bytes() in _signed() or issued.issuer != device.issuer().id, "a request was forged"
    assert issued.name["id"] == issued.id
    assert issued.request.pins()


def _intent(data: bytes) -> None:
    signed = decode_signed_intent(data)
    assert decode_signed_intent(signed.encode()) == signed
    statement = read_statement(signed.intent.check(device.key().id), INTENT)
    check_intent(signed, statement, device.key().id)
    assert signed.intent.payload_bytes() in _signed()


@functools.cache
def _said() -> frozenset[bytes]:
    """All that the keys of the seeds ever said about keys."""
    return frozenset(signed.event.payload_bytes() for seed in _key_event_seeds() for signed in decode_key_events(seed))


def _key_events(data: bytes) -> None:
    events = decode_key_events(data)
    assert decode_key_events(KeyEvents(events).encode()) == events
    for signed in events:
        event = check_event(signed).event
        known = set(event.signers) & set(vectors("keys")["keys"].values())
        assert signed.event.payload_bytes() in _said() or not known, "a key event was forged"
        now = standing(event.key, [Said(event)])
        assert now.successors == () or now.successors == (event.body.successor,)  # type: ignore[union-attr]


def _openings(data: bytes) -> None:
    lines = load(data, list[Opening], limit=_LIMIT, what="disclosure")
    digest = digest_fields(_ID, lines)
    assert digest_fields(_ID, [withhold(_ID, line) for line in lines]) == digest, "withholding changes the digest"


def _notes(data: bytes) -> None:
    notes = load(data, Notes, limit=1 << 16, what="backup")
    assert load(canonical(notes), Notes, limit=1 << 17, what="backup") == notes


def _lines(data: bytes) -> None:
    """The replay's process may have been taken over: what it writes ends in a line that says so, never in an error."""
    lines = list(replay_process.lines(io.BytesIO(data)))
    assert len(lines) <= data.count(b"\n") + 1
    assert all(line.progress is None or line.progress[2] in (0, 1) for line in lines)


def _json_seeds() -> list[bytes]:
    return [bytes.fromhex(case["json"]) for case in vectors("receipt")["json_cases"]]


def _bundles() -> list[bytes]:
    published = [vectors("receipt")[name] for name in ("bundle", "redacted")]
    return [*map(dump, published), device.lie(device.plan()).encode()]


def _envelopes() -> list[bytes]:
    cases = [case["envelope"] for case in vectors("receipt")["envelope_cases"][:1]]
    receipt = vectors("receipt")["bundle"]["receipt"]
    lied = device.lie(device.plan()).receipt
    made = [device.request(), device.request(late=True), lied.intent, lied.result]
    return [case.encode() for case in cases] + [dump(receipt["result"])] + [envelope.encode() for envelope in made]


def _statements() -> list[bytes]:
    return [case["statement"].encode() for case in vectors("receipt")["statement_cases"]]


def _requests() -> list[bytes]:
    return [device.request().encode(), device.request(late=True).encode()]


def _intents() -> list[bytes]:
    bundle = device.lie(device.plan())
    return [SignedIntent(bundle.receipt.intent, bundle.log.checkpoint, bundle.log.intent).encode()]


def _key_event_seeds() -> list[bytes]:
    cases = [case["signed"] for case in vectors("keys")["reading"] if case["error"] in (None, "LogError")]
    return [dump({"events": [signed]}) for signed in cases] + [dump({"events": cases[:3]})]


def _opening_seeds() -> list[bytes]:
    return [dump(case["lines"]) for case in vectors("receipt")["line_cases"]]


def _note_seeds() -> list[bytes]:
    one = {"sha256": "0" * 64, "size": 119}
    notes = {"format": "verity-backup/1", "device": "0" * 64, "made_at": "2026-01-02T03:04:05Z", "origin": "a/b/0",
             "size": 3, "files": {"device.key": one, "verity.db": one}}  # fmt: skip
    return [dump(notes)]


def _line_seeds() -> list[bytes]:
    replayed = {"numerics": {"exact": True, "fingerprint": "0" * 64}, "engine": {"name": "llama.cpp"},
                "outcome": {"matches": False, "sentence": "No.", "evidence": {"position": 1}}}  # fmt: skip
    progress = dump({"progress": [16, 32, 1]}) + b"\n"
    last = dump({"replayed": replayed, "setting": "0" * 64}) + b"\n"
    return [progress + last, last, dump({"problem": "no", "hint": "none"}) + b"\n", progress]


TARGETS = [
    Target("json", "the strict JSON loader", _json, _json_seeds, (FormatError,), structured=True),
    Target("bundle", "bundles", _bundle, _bundles, (FormatError,), structured=True, max_bytes=1 << 15),
    Target("envelope", "DSSE envelopes and their check", _envelope, _envelopes, (FormatError, SignatureError), True),
    Target("statement", "signed payloads", _statement, _statements, (FormatError,), structured=True),
    Target("request", "canonical requests", _request, _requests, (FormatError, SignatureError), structured=True),
    Target("intent", "signed intents and their log proof", _intent, _intents, (FormatError, SignatureError, LogError),
           structured=True),
    Target("key-events", "what is said about keys", _key_events, _key_event_seeds,
           (FormatError, SignatureError, LogError), structured=True),
    Target("openings", "lists of commitments", _openings, _opening_seeds, (FormatError,), structured=True),
    Target("notes", "a backup's notes", _notes, _note_seeds, (FormatError,), structured=True),
    Target("lines", "what the replay's process writes", _lines, _line_seeds, (), structured=True),
]  # fmt: skip
