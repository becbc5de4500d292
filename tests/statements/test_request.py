"""Canonical requests: published vectors, round trip, any flipped byte, the exact class of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity import errors
from verity.errors import FormatError, SignatureError, VerityError
from verity.statements.keys import Signer
from verity.statements.request import CanonicalRequest, IntentName, issue, read_request
from verity.statements.strict import canonical

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "spec/vectors/request.json").read_text())
ID, SALT, NONCE = (bytes.fromhex(VECTORS[name]) for name in ("id", "salt", "nonce"))
REQUEST = msgspec.convert(VECTORS["request"], CanonicalRequest, strict=True)
INTENT = msgspec.convert(VECTORS["intent"], IntentName)


def test_the_canonical_form_and_the_digest_are_the_published() -> None:
    assert canonical(REQUEST).decode() == VECTORS["canonical"]
    assert REQUEST.digest(bytes.fromhex(VECTORS["public"]), ID, SALT) == VECTORS["digest"]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: c["desc"])
def test_vectors(case: dict[str, Any]) -> None:
    data = msgspec.json.encode(case["envelope"])
    if case["error"] is None:
        issued = read_request(data)
        assert (issued.issuer, issued.id) == (VECTORS["public"], VECTORS["id"])
        assert issued.request == REQUEST
        assert issued.name == {"id": VECTORS["id"], "sha256": VECTORS["digest"]}
    else:
        with pytest.raises(VerityError) as caught:
            read_request(data)
        assert type(caught.value) is getattr(errors, case["error"])


@pytest.mark.parametrize(
    ("desc", "nonce", "intent"),
    [
        ("with its nonce", NONCE, None),
        ("without a nonce", None, None),
        ("with its nonce, for one intent", NONCE, INTENT),
    ],
)
def test_the_vectors_are_written_byte_for_byte(
    desc: str, nonce: bytes | None, intent: IntentName | None, signer: Signer
) -> None:
    written = issue(ID, SALT, REQUEST, signer, nonce, intent)
    assert msgspec.to_builtins(written) == next(c["envelope"] for c in VECTORS["cases"] if c["desc"] == desc)
    issued = read_request(written.encode())
    assert (issued.nonce, issued.intent) == (nonce, intent)
    assert issued.envelope == written


def test_any_flipped_byte_of_the_payload_fails(signer: Signer) -> None:
    envelope = issue(ID, SALT, REQUEST, signer, NONCE, INTENT)
    payload = envelope.payload_bytes()
    from verity.statements.strict import encode_base64

    for at in range(0, len(payload), 7):
        changed = bytearray(payload)
        changed[at] ^= 1
        with pytest.raises((SignatureError, FormatError)):
            read_request(msgspec.structs.replace(envelope, payload=encode_base64(bytes(changed))))


def test_an_issuer_cannot_make_what_no_reader_accepts(signer: Signer) -> None:
    with pytest.raises(FormatError, match="no nonce"):
        issue(ID, SALT, REQUEST, signer, None, INTENT)
    with pytest.raises(FormatError, match="every sampling parameter"):
        issue(ID, SALT, msgspec.structs.replace(REQUEST, sampling={}), signer, NONCE)


def test_a_request_pins_every_field_that_a_device_could_vary() -> None:
    pins = REQUEST.pins()
    from verity.verify.origin import HANDLES, SETTLED_BY_REPLAY

    named = {pin if pin in HANDLES else pin.partition("/")[0] for pin in pins}
    assert named >= HANDLES - set(SETTLED_BY_REPLAY)
    assert {"inputs/0000", "inputs/0001", "context/size"} <= set(pins)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_have_only_one_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_request(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) |
                    st.dictionaries(st.sampled_from([*VECTORS["request"], "x"]), inner), max_leaves=20))  # fmt: skip
def test_arbitrary_requests_are_read_or_refused(value: Any) -> None:
    signer_case = VECTORS["cases"][0]["envelope"]
    from verity.statements.strict import encode_base64

    payload = json.dumps({"predicate": value}).encode()
    with pytest.raises((FormatError, SignatureError)):
        read_request(msgspec.json.encode({**signer_case, "payload": encode_base64(payload)}))
