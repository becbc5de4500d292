"""DSSE envelopes (https://github.com/secure-systems-lab/dsse, v1.0.2) with exactly one Ed25519 signature.

    {"payload": base64, "payloadType": "application/vnd.in-toto+json",
     "signatures": [{"keyid": 64 hex digits of the device's public key, "sig": base64}]}

The signature covers PAE(type, payload), so the payload's bytes are stored as signed and never serialised again.
"""

from __future__ import annotations

import hashlib

import msgspec

from verity.errors import FormatError, SignatureError
from verity.statements.keys import Signer, check_signature, parse_key
from verity.statements.strict import canonical, decode_base64, encode_base64

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_ENTRY_DOMAIN = b"verity/entry/v1\x00"
_ENVELOPE_DOMAIN = b"verity/envelope/v1\x00"


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payloadType: str  # noqa: N815 - the field's name in the DSSE specification
    signatures: list[Signature]

    def payload_bytes(self) -> bytes:
        """The signed payload. Raises FormatError."""
        if self.payloadType != PAYLOAD_TYPE:
            raise FormatError(f"the envelope's payload type is not {PAYLOAD_TYPE}")
        return decode_base64(self.payload, "envelope's payload")

    def device(self) -> str:
        """The key id: who claims to have signed. Trust nothing because of it; see ``check``. Raises FormatError."""
        if len(self.signatures) != 1:
            raise FormatError("the envelope must carry exactly one signature")
        parse_key(self.signatures[0].keyid)
        return self.signatures[0].keyid

    def signature_bytes(self) -> bytes:
        """The 64-byte signature. Raises FormatError."""
        self.device()
        signature = decode_base64(self.signatures[0].sig, "envelope's signature")
        if len(signature) != 64:
            raise FormatError("the envelope's signature is not 64 bytes")
        return signature

    def check(self, device: str) -> bytes:
        """Return the payload if ``device`` signed it. Raises SignatureError or FormatError."""
        if self.device() != device:
            raise SignatureError(f"the envelope is signed by {self.device()[:16]}…, not by {device[:16]}…")
        payload = self.payload_bytes()
        check_signature(parse_key(device), pae(PAYLOAD_TYPE, payload), self.signature_bytes())
        return payload

    def digest(self) -> bytes:
        """32 bytes that name payload, signer and signature; independent of how the JSON around them is written."""
        hasher = hashlib.sha256(_ENVELOPE_DOMAIN)
        hasher.update(pae(PAYLOAD_TYPE, self.payload_bytes()))
        hasher.update(parse_key(self.device()))
        hasher.update(self.signature_bytes())
        return hasher.digest()

    def log_entry(self, salt: bytes) -> bytes:
        """The salted digest (32 bytes) that becomes a leaf of the device's log: shows nothing without the envelope."""
        return hashlib.sha256(_ENTRY_DOMAIN + salt + self.digest()).digest()

    def encode(self) -> bytes:
        return canonical(self)


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, signer: Signer) -> Envelope:
    """Sign ``payload`` (a canonical in-toto Statement) as ``signer``."""
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    return Envelope(
        payload=encode_base64(payload),
        payloadType=PAYLOAD_TYPE,
        signatures=[Signature(keyid=signer.public.hex(), sig=encode_base64(signature))],
    )
