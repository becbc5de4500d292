"""Key events: vectors, round trip, any flipped byte, the exact class of error."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_signer import MemorySigner

from verity import errors
from verity.errors import FormatError, SignatureError, VerityError
from verity.statements.dsse import Envelope
from verity.statements.key_events import (
    MAX_EVENTS,
    Body,
    ClosedLog,
    KeyEvents,
    Recovery,
    Revocation,
    SignedEvent,
    Succession,
    decode_key_events,
    read_event,
    seconds,
    sign_event,
)
from verity.statements.strict import decode_base64, encode_base64
from verity.verify.key_events import check_event

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "spec/vectors/keys.json").read_text())
KEYS = {name: MemorySigner(bytes.fromhex(seed)) for name, seed in VECTORS["seeds"].items()}
DEVICE = VECTORS["key"]
TIME = "2026-11-27T12:00:00Z"
REVOKED = Revocation("the laptop was stolen", "2026-11-20T00:00:00Z", TIME)
LOG = ClosedLog(f"verity/{DEVICE}/0", "ab" * 32, 3)


def named(name: str) -> str:
    return KEYS[name].public.hex()


BODIES: list[tuple[Body, tuple[str, ...]]] = [
    (REVOKED, ("device",)),
    (REVOKED, ("recovery",)),
    (Recovery(named("recovery"), TIME), ("device", "recovery")),
    (Recovery(named("spare"), TIME), ("device", "recovery", "spare")),
    (Succession(LOG, named("successor"), TIME), ("device", "successor")),
    (Succession(None, named("successor"), TIME), ("recovery", "successor")),
]


def signed(body: Body, *names: str) -> Envelope:
    return sign_event(DEVICE, body, [KEYS[name] for name in names])


@pytest.mark.parametrize("case", VECTORS["reading"], ids=lambda case: case["desc"])
def test_vectors(case: dict[str, Any]) -> None:
    data = json.dumps({"events": [case["signed"]]}).encode()
    if case["error"] is None:
        (read,) = decode_key_events(data)
        assert check_event(read).event.key == DEVICE
        assert decode_key_events(KeyEvents([read]).encode()) == [read]
        return
    with pytest.raises(VerityError) as caught:
        check_event(decode_key_events(data)[0])
    assert type(caught.value) is getattr(errors, case["error"])


def test_an_event_is_written_as_published() -> None:
    envelope = signed(REVOKED, "device")
    assert envelope.payload_bytes().decode() == VECTORS["canonical"]
    assert msgspec.to_builtins(envelope) == next(
        case["signed"]["event"] for case in VECTORS["reading"] if case["desc"].startswith("a revocation by the key")
    )


@pytest.mark.parametrize(("body", "names"), BODIES, ids=lambda value: value if isinstance(value, tuple) else "")
def test_round_trip(body: Body, names: tuple[str, ...]) -> None:
    event = read_event(signed(body, *names))
    assert (event.key, event.body) == (DEVICE, body)
    assert set(event.signers) == {named(name) for name in names}


@pytest.mark.parametrize("name", [name for name, event in VECTORS["events"].items() if "log" in event])
def test_any_flipped_byte_fails(name: str) -> None:
    whole = msgspec.convert(VECTORS["events"][name], SignedEvent)
    assert isinstance(whole.log, msgspec.Struct)
    check_event(whole)
    signature = whole.event.signatures[0]
    parts: list[tuple[str, Any]] = [
        (whole.event.payload, lambda text: _with_event(whole, payload=text)),
        (signature.sig, lambda text: _with_event(
            whole, signatures=[msgspec.structs.replace(signature, sig=text), *whole.event.signatures[1:]])),
        (whole.log.statement.payload, lambda text: _with_log(
            whole, statement=msgspec.structs.replace(whole.log.statement, payload=text))),
        (whole.log.proof.salt, lambda text: _with_log(
            whole, proof=msgspec.structs.replace(whole.log.proof, salt=text))),
    ]  # fmt: skip
    for text, put in parts:
        data = decode_base64(text, "part")
        for at in range(0, len(data), 5):
            changed = bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])
            with pytest.raises((FormatError, SignatureError, errors.LogError)):
                check_event(put(encode_base64(changed)))
    for at in range(0, len(whole.log.checkpoint), 3):
        letter = "A" if whole.log.checkpoint[at] != "A" else "B"
        changed_note = whole.log.checkpoint[:at] + letter + whole.log.checkpoint[at + 1 :]
        with pytest.raises((FormatError, SignatureError, errors.LogError)):
            check_event(_with_log(whole, checkpoint=changed_note))


def _with_event(whole: SignedEvent, **changes: Any) -> SignedEvent:
    return msgspec.structs.replace(whole, event=msgspec.structs.replace(whole.event, **changes))


def _with_log(whole: SignedEvent, **changes: Any) -> SignedEvent:
    assert isinstance(whole.log, msgspec.Struct)
    return msgspec.structs.replace(whole, log=msgspec.structs.replace(whole.log, **changes))


def test_nobody_can_sign_what_no_reader_accepts() -> None:
    for body, names in (
        (Recovery(named("recovery"), TIME), ("device",)),
        (Succession(LOG, named("successor"), TIME), ("successor",)),
        (Succession(None, DEVICE, TIME), ("device", "recovery")),
        (Revocation("", "2026-11-20T00:00:00Z", TIME), ("device",)),
        (Revocation("x", "yesterday", TIME), ("device",)),
        (Recovery("00" * 32, TIME), ("device", "recovery")),
    ):
        with pytest.raises(FormatError):
            signed(body, *names)


def test_a_file_has_a_few_events() -> None:
    one = SignedEvent(signed(REVOKED, "device"))
    assert len(decode_key_events(KeyEvents([one] * MAX_EVENTS).encode())) == MAX_EVENTS
    for count in (0, MAX_EVENTS + 1):
        with pytest.raises(FormatError, match="1 to 64"):
            decode_key_events(KeyEvents([one] * count).encode())


@pytest.mark.parametrize("text", ["", "2026-11-27", "2026-11-27T12:00:00", "2026-11-27T12:00:00+00:00", "x" * 10_000])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(FormatError, match="not a time"):
        seconds(text)
    assert seconds("1970-01-01T00:01:40Z") == 100


@given(st.binary(max_size=300))
def test_arbitrary_bytes_have_only_one_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_key_events(data)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.sampled_from([DEVICE, TIME, LOG.origin]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["predicate", "predicateType", "subject", "name", "digest", "since", "reason", "time"]), inner),
    max_leaves=12)  # fmt: skip


@given(_VALUES, st.sampled_from(BODIES))
def test_arbitrary_statements_are_read_or_refused(value: Any, case: tuple[Body, tuple[str, ...]]) -> None:
    """With edits of a real one, signed all the same: FormatError alone."""
    statement = json.loads(signed(case[0], *case[1]).payload_bytes())
    predicate = dict(statement["predicate"])
    edits = value if isinstance(value, dict) else {}
    predicate |= {name: edit for name, edit in edits.items() if name in predicate}
    statement |= {"predicate": predicate, **{name: edit for name, edit in edits.items() if name not in predicate}}
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    envelope = _sealed(payload, case[1])
    with contextlib.suppress(FormatError):
        assert read_event(envelope).key == DEVICE


def _sealed(payload: bytes, names: tuple[str, ...]) -> Envelope:
    from verity.statements.dsse import PAYLOAD_TYPE, Signature, pae

    made = {named(name): KEYS[name].sign(pae(PAYLOAD_TYPE, payload)) for name in names}
    signatures = [Signature(keyid=key, sig=encode_base64(made[key])) for key in sorted(made)]
    return Envelope(payload=encode_base64(payload), payloadType=PAYLOAD_TYPE, signatures=signatures)
