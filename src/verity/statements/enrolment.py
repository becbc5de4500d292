"""The three messages by which a registrar comes to believe that a TPM holds an attestation key. spec/hardware.md.

    enrolment   the device shows its TPM's keys                          ``*.enrol.json``
    challenge   the registrar encrypts a secret so that only that TPM, holding that attestation key, can read it
    answer      the device returns a MAC of both devices' keys under the secret

Each is an in-toto Statement about the attestation key (its subject is the key's digest), in a DSSE envelope signed by
whoever speaks. The secret itself is never sent back: an answer made for one device is worth nothing to another, so a
device that shows somebody else's TPM cannot have the challenge answered for it.
"""

from __future__ import annotations

import hmac
from typing import Any, TypeVar

import msgspec

from verity.errors import FormatError
from verity.statements.commitments import ID_BYTES
from verity.statements.dsse import Envelope, seal
from verity.statements.in_toto import InToto, Subject
from verity.statements.keys import Signer, parse_key
from verity.statements.strict import canonical, decode_base64, decode_hex, load
from verity.statements.tpm.public import Public, attestation_key, endorsement_key

ENROLMENT = "verity:hardware-enrolment/v1"
CHALLENGE = "verity:hardware-challenge/v1"
ANSWER = "verity:hardware-answer/v1"
MAX_MESSAGE_BYTES = 1 << 16
MAX_CERTIFICATE = 1 << 13
MAX_BLOB = 512
SECRET_BYTES = 32
_SUBJECT = "tpm:attestation-key"
_ANSWER_DOMAIN = b"verity/hardware-answer/v1\x00"
_T = TypeVar("_T", "Enrolment", "Challenge", "Answer")


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Both keys as TPM2B_PUBLIC (base64); the endorsement key's certificate, where there is one (DER, base64)."""

    ak: str
    ek: str
    certificate: str | msgspec.UnsetType = msgspec.UNSET


class Challenge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For ``device`` (64 hex digits). ``blob`` is a TPM2B_ID_OBJECT, ``seed`` a TPM2B_ENCRYPTED_SECRET (base64)."""

    blob: str
    device: str
    ek: str
    id: str
    seed: str


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To the challenge ``id`` of ``registrar``; ``mac`` in hex."""

    id: str
    mac: str
    registrar: str


class Enrolled(msgspec.Struct, frozen=True):
    """An enrolment that was read: whose, and which keys. That they lie in one TPM is still to be shown."""

    device: str
    ak: Public
    ek: Public
    certificate: bytes | None


def answer_mac(secret: bytes, challenge_id: bytes, registrar: bytes, device: bytes) -> bytes:
    """What an answer says (32 bytes): only who knows ``secret`` can, and for this registrar and device alone."""
    return hmac.digest(secret, _ANSWER_DOMAIN + challenge_id + registrar + device, "sha256")


def sign_message(predicate: Enrolment | Challenge | Answer, ak_name: bytes, signer: Signer) -> Envelope:
    """``ak_name`` is the attestation key's name (34 bytes). Raises FormatError for what no reader would accept."""
    subject = Subject(name=_SUBJECT, digest={"sha256": ak_name[2:].hex()})
    kind = {Enrolment: ENROLMENT, Challenge: CHALLENGE, Answer: ANSWER}[type(predicate)]
    return seal(canonical(InToto.of(predicate, kind, subject)), signer)


def decode_message(data: bytes) -> Envelope:
    """Read a message from its file's bytes; nothing is checked yet. Raises FormatError."""
    return load(data, Envelope, limit=2 * MAX_MESSAGE_BYTES, what="enrolment message")


def _read(envelope: Envelope, signer: str, kind: str, form: type[_T]) -> tuple[_T, str]:
    what = f"{kind} statement"
    statement = load(envelope.check(signer), InToto[dict[str, Any]], limit=MAX_MESSAGE_BYTES, what=what)
    subjects = statement.subject
    if not statement.is_of(kind):
        raise FormatError(f"this is not a {what}", "mind the order: enrol, challenge, answer, certify, adopt")
    if len(subjects) != 1 or subjects[0].name != _SUBJECT or set(subjects[0].digest) != {"sha256"}:
        raise FormatError(f"the {what} is not about one attestation key")
    decode_hex(subjects[0].digest["sha256"], 32, "attestation key's digest")
    try:
        return msgspec.convert(statement.predicate, form, strict=True), subjects[0].digest["sha256"]
    except msgspec.ValidationError as error:
        raise FormatError(f"this is not a valid {what}: {str(error)[:300]}") from error


def read_enrolment(envelope: Envelope) -> Enrolled:
    """Check the signature by the device that it names, and that both keys are of a form that a registrar may believe.

    Raises FormatError, SignatureError.
    """
    said, digest = _read(envelope, envelope.device(), ENROLMENT, Enrolment)
    ak = attestation_key(decode_base64(said.ak, "attestation key"))
    ek = endorsement_key(decode_base64(said.ek, "endorsement key"))
    if ak.name[2:].hex() != digest:
        raise FormatError("the enrolment is about another attestation key than it carries")
    certificate = None
    if isinstance(said.certificate, str):
        certificate = decode_base64(said.certificate, "endorsement key's certificate")
        if not 0 < len(certificate) <= MAX_CERTIFICATE:
            raise FormatError(f"a certificate has 1 to {MAX_CERTIFICATE:,} bytes")
    return Enrolled(envelope.device(), ak, ek, certificate)


def read_challenge(envelope: Envelope) -> tuple[Challenge, str]:
    """A challenge whose signature by the registrar that it names holds, and the attestation key's digest (hex).

    Raises FormatError, SignatureError.
    """
    said, digest = _read(envelope, envelope.device(), CHALLENGE, Challenge)
    decode_hex(said.id, ID_BYTES, "challenge's id")
    decode_hex(said.ek, 32, "endorsement key's digest")
    parse_key(said.device)
    for text in (said.blob, said.seed):
        if not 0 < len(decode_base64(text, "challenge")) <= MAX_BLOB:
            raise FormatError(f"a part of a challenge has 1 to {MAX_BLOB} bytes")
    return said, digest


def read_answer(envelope: Envelope) -> tuple[Answer, str]:
    """An answer whose signature by the device that it names holds, and the attestation key's digest (hex).

    Raises FormatError, SignatureError.
    """
    said, digest = _read(envelope, envelope.device(), ANSWER, Answer)
    decode_hex(said.id, ID_BYTES, "challenge's id")
    decode_hex(said.mac, 32, "answer's MAC")
    parse_key(said.registrar)
    return said, digest
