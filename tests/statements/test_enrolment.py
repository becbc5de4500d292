"""The three messages of an enrolment: signed, of one form each, and worth nothing to anybody else."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_signer import MemorySigner

from verity.errors import FormatError, SignatureError, VerityError
from verity.statements.dsse import Envelope, seal
from verity.statements.enrolment import (
    MAX_CERTIFICATE,
    Answer,
    Challenge,
    Enrolment,
    answer_mac,
    decode_message,
    read_answer,
    read_challenge,
    read_enrolment,
    sign_message,
)
from verity.statements.strict import encode_base64
from verity.statements.tpm.public import attestation_key

QUOTE: Any = json.loads((Path(__file__).parents[2] / "spec/vectors/tpm.json").read_text())["quote"]
DEVICE, REGISTRAR = MemorySigner(b"d" * 32), MemorySigner(b"r" * 32)
AK = attestation_key(bytes.fromhex(QUOTE["ak"]))


def b64(name: str) -> str:
    return encode_base64(bytes.fromhex(QUOTE[name]))


ENROLMENT = Enrolment(ak=b64("ak"), ek=b64("ek_ecc"))
CHALLENGE = Challenge(
    blob=encode_base64(b"b"), device=DEVICE.public.hex(), ek="ab" * 32, id="cd" * 16, seed=encode_base64(b"s")
)
ANSWER = Answer(id="cd" * 16, mac="ef" * 32, registrar=REGISTRAR.public.hex())
MESSAGES: list[tuple[Any, MemorySigner, Any]] = [
    (ENROLMENT, DEVICE, read_enrolment),
    (CHALLENGE, REGISTRAR, read_challenge),
    (ANSWER, DEVICE, read_answer),
]


@pytest.mark.parametrize(("said", "signer", "read"), MESSAGES, ids=["enrolment", "challenge", "answer"])
def test_round_trip(said: Any, signer: MemorySigner, read: Any) -> None:
    envelope = decode_message(sign_message(said, AK.name, signer).encode())
    found = read(envelope)
    if read is read_enrolment:
        assert (found.device, found.ak, found.certificate) == (DEVICE.public.hex(), AK, None)
    else:
        assert found == (said, AK.name[2:].hex())


@pytest.mark.parametrize(("said", "signer", "read"), MESSAGES, ids=["enrolment", "challenge", "answer"])
def test_any_flipped_byte_is_refused(said: Any, signer: MemorySigner, read: Any) -> None:
    envelope = sign_message(said, AK.name, signer)
    payload = envelope.payload_bytes()
    for at in range(0, len(payload), 3):
        edited = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        with pytest.raises(SignatureError):
            read(msgspec.structs.replace(envelope, payload=encode_base64(edited)))


@pytest.mark.parametrize(("said", "signer", "read"), MESSAGES, ids=["enrolment", "challenge", "answer"])
def test_no_message_is_taken_for_another(said: Any, signer: MemorySigner, read: Any) -> None:
    envelope = sign_message(said, AK.name, signer)
    for other in (read_enrolment, read_challenge, read_answer):
        if other is not read:
            with pytest.raises(FormatError, match="this is not a"):
                other(envelope)


@pytest.mark.parametrize(
    "said",
    [
        msgspec.structs.replace(ENROLMENT, ak=b64("ek_ecc")),
        msgspec.structs.replace(ENROLMENT, ak=b64("unrestricted")),
        msgspec.structs.replace(ENROLMENT, ek=b64("ak")),
        msgspec.structs.replace(ENROLMENT, ek="?"),
        msgspec.structs.replace(ENROLMENT, certificate=""),
        msgspec.structs.replace(ENROLMENT, certificate=encode_base64(bytes(MAX_CERTIFICATE + 1))),
    ],
)
def test_enrolments_that_nobody_could_vouch_for(said: Enrolment) -> None:
    with pytest.raises(FormatError):
        read_enrolment(sign_message(said, AK.name, DEVICE))


@pytest.mark.parametrize(
    "said",
    [
        msgspec.structs.replace(CHALLENGE, blob=""),
        msgspec.structs.replace(CHALLENGE, seed=encode_base64(bytes(513))),
        msgspec.structs.replace(CHALLENGE, device="ab"),
        msgspec.structs.replace(CHALLENGE, id="cd"),
        msgspec.structs.replace(CHALLENGE, ek="AB" * 32),
    ],
)
def test_challenges_of_another_form(said: Challenge) -> None:
    with pytest.raises(FormatError):
        read_challenge(sign_message(said, AK.name, REGISTRAR))


def test_the_subject_is_the_key_that_is_shown() -> None:
    with pytest.raises(FormatError, match="another attestation key"):
        read_enrolment(sign_message(ENROLMENT, b"\0\x0b" + bytes(32), DEVICE))
    payload = json.loads(sign_message(ENROLMENT, AK.name, DEVICE).payload_bytes())
    payload["subject"] *= 2
    with pytest.raises(FormatError, match="not about one"):
        read_enrolment(seal(json.dumps(payload).encode(), DEVICE))
    payload["subject"] = payload["subject"][:1]
    payload["predicate"]["more"] = 1
    with pytest.raises(FormatError, match="not a valid"):
        read_enrolment(seal(json.dumps(payload).encode(), DEVICE))


def test_a_mac_is_of_one_challenge_registrar_and_device() -> None:
    parts = b"s" * 32, b"c" * 16, b"r" * 32, b"d" * 32
    said = b"verity/hardware-answer/v1\0" + b"c" * 16 + b"r" * 32 + b"d" * 32
    assert answer_mac(*parts) == hmac.digest(b"s" * 32, said, "sha256")
    for at in range(4):
        other = [b"x" * len(part) if index == at else part for index, part in enumerate(parts)]
        assert answer_mac(*other) != answer_mac(*parts)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_one_class_of_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_message(data)


@given(st.binary(max_size=300))
def test_any_signed_payload_is_refused_by_one_class_of_error(data: bytes) -> None:
    envelope: Envelope = seal(data, DEVICE)
    for read in (read_enrolment, read_challenge, read_answer):
        with pytest.raises(VerityError) as caught:
            read(envelope)
        assert type(caught.value) is FormatError
