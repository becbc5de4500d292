"""A registrar's record of a TPM: whose attestation key is bound to which device's key, on whose word. spec/hardware.md.

    {"hardware": DSSE envelope, "checkpoint": C2SP text, "proof": {…}}     ``*.hardware.json``

The statement shows all its fields. With a quote by the key that it names it goes into a bundle beside the checkpoint
that was quoted. Whether to believe the registrar is the reader's business.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from verity.errors import FormatError
from verity.statements.bundle import HardwareProof, SignedRecord
from verity.statements.commitments import digest_fields
from verity.statements.keys import parse_key
from verity.statements.receipt import Statement, convert_field, read_statement
from verity.statements.strict import decode_base64, decode_hex, load
from verity.statements.tpm.event_log import MAX_EVENT_LOG
from verity.statements.tpm.public import MAX_PUBLIC, Public, attestation_key

HARDWARE = "verity:hardware/v1"
KIND = "hardware"
SUFFIX = ".hardware.json"
MAX_RECORD_BYTES = 1 << 17
MAX_PROOF_BYTES = 2 << 20
MAX_PCRS = 24
MAX_ISSUER = 500
"""Characters."""

SWTPM, UNVERIFIED, VENDOR = "swtpm", "tpm-unverified-ek", "tpm-vendor-ek"
LEVELS = (SWTPM, UNVERIFIED, VENDOR)
"""From least to most. A device without a record has none of them: its key is software."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"started": "time/started"}):
    """``ak`` is a TPM2B_PUBLIC (base64), ``device`` the key it vouches for, ``ek`` and ``certificate`` SHA-256 digests
    (hex), ``issuer`` who certified the endorsement key, null where the registrar did not check that."""

    ak: str
    certificate: str | None
    device: str
    ek: str
    issuer: str | None
    level: Literal["swtpm", "tpm-unverified-ek", "tpm-vendor-ek"]
    started: str

    def key(self) -> Public:
        """The attestation key. Raises FormatError."""
        return attestation_key(decode_base64(self.ak, "attestation key"))


def decode_record(data: bytes) -> SignedRecord:
    """Read a registrar's record from its file's bytes; nothing is checked yet. Raises FormatError."""
    return load(data, SignedRecord, limit=MAX_RECORD_BYTES, what="hardware record")


def decode_proof(data: bytes) -> HardwareProof:
    """Read a proof as it is kept beside a checkpoint; nothing is checked yet. Raises FormatError."""
    proof = load(data, HardwareProof, limit=MAX_PROOF_BYTES, what="hardware proof")
    check_sizes(proof)
    return proof


def check_sizes(proof: HardwareProof) -> None:
    """Raises FormatError for a proof that is larger than one can be."""
    if len(proof.pcrs) > MAX_PCRS:
        raise FormatError(f"a hardware proof has at most {MAX_PCRS} PCRs")
    if isinstance(proof.event_log, str) and len(proof.event_log) > (MAX_EVENT_LOG + 2) // 3 * 4:
        raise FormatError(f"an event log has at most {MAX_EVENT_LOG:,} bytes")


def read_record(signed: SignedRecord, registrar: str) -> tuple[Record, Statement]:
    """What the registrar of this key (64 hex digits) signed. Raises FormatError, SignatureError."""
    statement = read_statement(signed.hardware.check(registrar), HARDWARE)
    predicate = statement.predicate
    if predicate.kind != KIND or predicate.critical:
        raise FormatError("this is not a hardware record, or one with critical fields that nobody here knows")
    if digest_fields(predicate.id_bytes(), predicate.shown) != statement.fields_digest():
        raise FormatError("the hardware record does not show all that it commits to")
    record = convert_field({opening.field: opening.value for opening in predicate.shown}, Record, KIND)
    parse_key(record.device)
    if len(record.ak) > MAX_PUBLIC * 2:
        raise FormatError("the record's attestation key is too long")
    decode_hex(record.ek, 32, "digest of the endorsement key")
    if record.certificate is not None:
        decode_hex(record.certificate, 32, "digest of the endorsement key's certificate")
    if record.issuer is not None and len(record.issuer) > MAX_ISSUER:
        raise FormatError("the record's issuer has too long a name")
    record.key()
    return record, statement
