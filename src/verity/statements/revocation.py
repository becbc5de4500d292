"""A publisher's word that a release must not be used any more: ``*.revocation.json``. See spec/release.md.

A DSSE envelope, signed with the key that signed the release, over an in-toto statement about the release's root:

    {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": …, "digest": {"sha256": ROOT}}],
     "predicateType": "verity:release-revocation/v1", "predicate": {"reason": …, "revoked_at": RFC 3339 in UTC}}
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from verity.errors import FormatError, SignatureError
from verity.statements.dsse import PAYLOAD_TYPE, Envelope, Signature, pae
from verity.statements.in_toto import InToto, Subject
from verity.statements.publishers import PublisherKey, PublisherSigner
from verity.statements.release import Revoked
from verity.statements.request import TIME
from verity.statements.strict import canonical, decode_base64, decode_hex, encode_base64, load

REVOCATION = "verity:release-revocation/v1"
SUFFIX = ".revocation.json"
MAX_REVOCATION = 1 << 16
MAX_REASON = 2000
"""Characters."""
_MAX_NAME = 200


class _Predicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str
    revoked_at: str


class Revocation(NamedTuple):
    """What was signed: of which release (root in hex, and its name by the publisher's word), and why and when."""

    root: str
    name: str
    revoked: Revoked


def revoke(root: str, name: str, reason: str, at: str, signer: PublisherSigner) -> bytes:
    """The bytes of a revocation file. Raises FormatError for a reason that may not be."""
    payload = canonical(InToto.of(_Predicate(reason, at), REVOCATION, Subject(name, {"sha256": root})))
    _read_payload(payload)
    signature = Signature(keyid=signer.public.id, sig=encode_base64(signer.sign(pae(PAYLOAD_TYPE, payload))))
    return Envelope(encode_base64(payload), PAYLOAD_TYPE, [signature]).encode()


def publisher_of(data: bytes) -> str:
    """Which publisher a revocation says it is by: nobody vouches for that. Raises FormatError."""
    signature = _read_envelope(data).signatures[0]
    decode_hex(signature.keyid, 32, "publisher of a revocation")
    return signature.keyid


def read_revocation(data: bytes, key: PublisherKey) -> Revocation:
    """What ``key`` signed. Raises FormatError, SignatureError."""
    envelope = _read_envelope(data)
    if envelope.signatures[0].keyid != key.id:
        raise SignatureError(f"the revocation is signed by another publisher than {key.id[:16]}…")
    payload = envelope.payload_bytes()
    key.check(pae(PAYLOAD_TYPE, payload), decode_base64(envelope.signatures[0].sig, "revocation's signature"))
    return _read_payload(payload)


def _read_envelope(data: bytes) -> Envelope:
    envelope = load(data, Envelope, limit=MAX_REVOCATION, what="revocation")
    if len(envelope.signatures) != 1:
        raise FormatError("a revocation carries exactly one signature")
    return envelope


def _read_payload(payload: bytes) -> Revocation:
    statement = load(payload, InToto[_Predicate], limit=MAX_REVOCATION, what="revocation")
    if not statement.is_of(REVOCATION) or [set(subject.digest) for subject in statement.subject] != [{"sha256"}]:
        raise FormatError("this is signed, and no revocation of a release")
    subject, said = statement.subject[0], statement.predicate
    decode_hex(subject.digest["sha256"], 32, "root of the revoked release")
    if not TIME.fullmatch(said.revoked_at):
        raise FormatError("the time of the revocation is not in UTC (RFC 3339)")
    if not 0 < len(said.reason) <= MAX_REASON or not said.reason.isprintable():
        raise FormatError(f"a revocation gives its reason in 1 to {MAX_REASON:,} printable characters")
    if len(subject.name) > _MAX_NAME or not subject.name.isprintable():
        raise FormatError(f"the name of a revoked release has at most {_MAX_NAME} printable characters")
    return Revocation(subject.digest["sha256"], subject.name, Revoked(said.reason, said.revoked_at))
