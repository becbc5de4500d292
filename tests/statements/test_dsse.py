from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from verity import errors
from verity.errors import FormatError, SignatureError
from verity.statements.dsse import PAYLOAD_TYPE, Envelope, Signature, pae, seal
from verity.statements.keys import Signer, check_signature, parse_key
from verity.statements.strict import canonical, decode_base64, encode_base64, load

PARTS = ("intent", "result")


def read(text: str | bytes) -> Envelope:
    data = text if isinstance(text, bytes) else text.encode()
    return load(data, Envelope, limit=1 << 20, what="envelope")


def flips(data: bytes) -> list[bytes]:
    return [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data))]


# --- published vectors ------------------------------------------------------------------------------------------------


def test_pae_published_elsewhere() -> None:
    # https://github.com/secure-systems-lab/dsse, protocol.md, "Test vectors".
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("part", PARTS)
def test_the_vectors_are_written_byte_for_byte(part: str, vectors: dict[str, Any], signer: Signer) -> None:
    vector = vectors[part]
    payload = vector["statement"].encode()
    envelope = seal(payload, signer)
    assert pae(PAYLOAD_TYPE, payload).decode() == vector["pae"]
    assert envelope.signature_bytes().hex() == vector["signature"]
    assert envelope.encode().decode() == vector["envelope"]
    assert envelope.digest().hex() == vector["envelope_digest"]
    assert envelope.log_entry(bytes.fromhex(vector["entry_salt"])).hex() == vector["entry"]


def test_vectors(envelope_case: dict[str, Any], vectors: dict[str, Any]) -> None:
    if envelope_case["error"] is None:
        payload = read(envelope_case["envelope"]).check(vectors["public"])
        assert payload.decode() == vectors["intent"]["statement"]
    else:
        with pytest.raises(getattr(errors, envelope_case["error"])) as caught:
            read(envelope_case["envelope"]).check(vectors["public"])
        assert type(caught.value).__name__ == envelope_case["error"]


# --- another implementation -------------------------------------------------------------------------------------------


def independent(envelope: bytes, public: bytes) -> bytes:
    """The payload, if securesystemslib believes the envelope."""
    key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public), keyid=public.hex())
    other = OtherEnvelope.from_dict(json.loads(envelope))
    assert other.verify([key], threshold=1) == {public.hex(): key}
    return bytes(other.payload)


@pytest.mark.parametrize("part", PARTS)
def test_securesystemslib_verifies_the_vectors(part: str, vectors: dict[str, Any]) -> None:
    payload = independent(vectors[part]["envelope"].encode(), bytes.fromhex(vectors["public"]))
    assert payload.decode() == vectors[part]["statement"]


@given(st.binary(max_size=200))
def test_securesystemslib_verifies_what_we_sign(signer: Signer, payload: bytes) -> None:
    assert independent(seal(payload, signer).encode(), signer.public) == payload


def test_securesystemslib_refuses_what_we_refuse(signer: Signer) -> None:
    envelope = json.loads(seal(b"{}", signer).encode()) | {"payload": encode_base64(b"[]")}
    with pytest.raises(VerificationError):
        independent(canonical(envelope), signer.public)
    with pytest.raises(SignatureError):
        read(canonical(envelope)).check(signer.public.hex())


# --- round trip -------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=500))
def test_round_trip(signer: Signer, payload: bytes) -> None:
    envelope = seal(payload, signer)
    again = read(envelope.encode())
    assert again == envelope
    assert again.check(signer.public.hex()) == payload
    assert again.digest() == envelope.digest()


def test_the_digest_does_not_depend_on_how_the_envelope_is_written(vectors: dict[str, Any]) -> None:
    text = vectors["intent"]["envelope"]
    rewritten = json.dumps(dict(reversed(json.loads(text).items())), indent=3)
    assert rewritten != text
    assert read(rewritten).digest() == read(text).digest()


# --- any flipped byte fails -------------------------------------------------------------------------------------------


def test_any_flipped_byte_of_the_payload_fails(signer: Signer) -> None:
    envelope = seal(b'{"a":1,"b":"text"}', signer)
    for payload in flips(envelope.payload_bytes()):
        changed = Envelope(encode_base64(payload), envelope.payloadType, envelope.signatures)
        with pytest.raises(SignatureError, match="does not hold"):
            changed.check(signer.public.hex())
        assert changed.digest() != envelope.digest()


def test_any_flipped_byte_of_the_signature_fails(signer: Signer) -> None:
    envelope = seal(b"{}", signer)
    for signature in flips(envelope.signature_bytes()):
        line = Signature(envelope.device(), encode_base64(signature))
        changed = Envelope(envelope.payload, envelope.payloadType, [line])
        with pytest.raises(SignatureError, match="does not hold"):
            changed.check(signer.public.hex())
        assert changed.digest() != envelope.digest()


def test_any_flipped_byte_of_the_key_fails(signer: Signer) -> None:
    envelope = seal(b"{}", signer)
    for public in flips(signer.public):
        changed = Envelope(
            envelope.payload, envelope.payloadType, [Signature(public.hex(), envelope.signatures[0].sig)]
        )
        with pytest.raises(SignatureError, match="is signed by"):
            changed.check(signer.public.hex())
        with pytest.raises(SignatureError, match="does not hold"):
            changed.check(public.hex())
        assert changed.digest() != envelope.digest()


@pytest.mark.parametrize("part", PARTS)
def test_any_flipped_byte_of_the_written_envelope_fails(part: str, vectors: dict[str, Any]) -> None:
    data = vectors[part]["envelope"].encode()
    for changed in flips(data):
        with pytest.raises((FormatError, SignatureError)):
            read(changed).check(vectors["public"])


def test_any_flipped_byte_of_salt_or_envelope_is_another_entry(vectors: dict[str, Any]) -> None:
    envelope, salt = read(vectors["intent"]["envelope"]), bytes.fromhex(vectors["intent"]["entry_salt"])
    entries = {envelope.log_entry(changed) for changed in flips(salt)} | {
        read(vectors["result"]["envelope"]).log_entry(salt)
    }
    assert len(entries) == len(salt) + 1
    assert envelope.log_entry(salt) not in entries


# --- the exact error class --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one_signature(count: int, signer: Signer) -> None:
    envelope = seal(b"{}", signer)
    wrong = Envelope(envelope.payload, envelope.payloadType, envelope.signatures * count)
    for use in (lambda: wrong.check(signer.public.hex()), wrong.device, wrong.signature_bytes, wrong.digest):
        with pytest.raises(FormatError, match="exactly one signature"):
            use()
    with pytest.raises(FormatError, match="exactly one signature"):
        wrong.log_entry(bytes(16))


def test_another_device_is_told_from_a_wrong_signature(signer: Signer) -> None:
    envelope = seal(b"{}", signer)
    with pytest.raises(SignatureError, match=f"signed by {signer.public.hex()[:16]}…, not by 0000"):
        envelope.check("0" * 64)
    with pytest.raises(SignatureError, match="not by nobody"):
        envelope.check("nobody")


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 63 + "\n", "٠" * 64])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(FormatError):
        parse_key(text)


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), b"\xff" * 32])
def test_a_key_that_cannot_be_used(public: bytes) -> None:
    with pytest.raises(SignatureError):
        check_signature(public, b"", bytes(64))


@given(st.binary())
def test_arbitrary_bytes_have_only_one_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        read(data).check("0" * 64)


def test_the_payload_is_returned_as_it_was_signed(vectors: dict[str, Any]) -> None:
    envelope = read(vectors["result"]["envelope"])
    assert envelope.check(vectors["public"]) == decode_base64(envelope.payload, "payload")
