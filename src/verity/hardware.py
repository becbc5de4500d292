"""This device and its TPM: enrolment with a registrar, and quotes over checkpoints. docs/hardware.md.

enrol → (registrar: challenge) → answer → (registrar: certify) → adopt; from then on ``prove`` quotes.

The attestation key's private half is kept as the TPM wrapped it: no other TPM can load it. What was adopted is one row:
the registrar's record, the key it names, and where the TPM is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from verity.errors import UsageError
from verity.identity.tpm.certificates import read_certificate
from verity.identity.tpm.chip import VARIABLE, Key, Quoted, Tpm, tcti
from verity.statements.bundle import HardwareProof, SignedRecord
from verity.statements.dsse import Envelope
from verity.statements.enrolment import Answer, Enrolment, answer_mac, read_challenge, sign_message
from verity.statements.hardware import Record, decode_record
from verity.statements.keys import Signer
from verity.statements.strict import decode_base64, encode_base64
from verity.statements.tpm.event_log import MAX_EVENT_LOG
from verity.statements.tpm.public import attestation_key, endorsement_key
from verity.statements.tpm.quote import extra_data
from verity.store.clock import now
from verity.store.database import Database
from verity.verify.hardware import check_record

EVENT_LOG = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
_FIND = "SELECT public, private, ek FROM attestation_keys WHERE name = ?"
_AGAIN = "start again: `verity tpm enrol`"


class Adopted(NamedTuple):
    """The record in use, who gave it, and where the TPM and the event log are."""

    signed: SignedRecord
    record: Record
    tcti: str
    event_log: Path | None
    since: str

    @property
    def registrar(self) -> str:
        return self.signed.hardware.device()


def enrol(
    database: Database,
    signer: Signer,
    *,
    address: str | None = None,
    kind: str | None = None,
    certificate: bytes | None = None,
) -> Envelope:
    """Make an attestation key in the TPM at ``address``, for a registrar to see. ``kind`` of endorsement key (``rsa``
    or ``ecc``); ``certificate`` (DER) where the vendor hands it out elsewhere than in the TPM.

    Raises HardwareError, FormatError for a certificate of another key, StoreError.
    """
    with Tpm(address) as tpm:
        endorsement = tpm.endorsement(kind)
        key = tpm.create_key()
    ak, ek = attestation_key(key.public), endorsement_key(endorsement.public)
    said = certificate or endorsement.certificate
    if said is not None:
        read_certificate(said, ek)
    with database.transaction() as connection:
        row = ak.name.hex(), key.public, key.private, endorsement.kind, now()
        connection.execute("INSERT INTO attestation_keys VALUES (?, ?, ?, ?, ?)", row)
    shown = Enrolment(
        ak=encode_base64(key.public),
        ek=encode_base64(endorsement.public),
        certificate=encode_base64(said) if said is not None else msgspec.UNSET,
    )
    return sign_message(shown, ak.name, signer)


def answer(database: Database, signer: Signer, challenge: Envelope, *, address: str | None = None) -> Envelope:
    """Have the TPM open a registrar's challenge, and answer it. Raises UsageError when it is not for this device,
    HardwareError when it is not for this TPM, FormatError, SignatureError."""
    said, ak_digest = read_challenge(challenge)
    if said.device != signer.public.hex():
        raise UsageError(f"the challenge is for device {said.device[:16]}…, not for this one", _AGAIN)
    name = _name(ak_digest)
    key, kind = _key(database, name)
    with Tpm(address) as tpm:
        blob, seed = decode_base64(said.blob, "challenge"), decode_base64(said.seed, "challenge")
        secret = tpm.activate(key, kind, blob, seed)
    registrar = challenge.device()
    mac = answer_mac(secret, bytes.fromhex(said.id), bytes.fromhex(registrar), signer.public)
    return sign_message(Answer(id=said.id, mac=mac.hex(), registrar=registrar), bytes.fromhex(name), signer)


def adopt(
    database: Database,
    device: str,
    signed: SignedRecord,
    *,
    address: str | None = None,
    event_log: Path | None = None,
) -> Adopted:
    """Keep a registrar's record: from now on checkpoints are quoted. Replaces the one before.

    Raises FormatError, SignatureError, LogError when it does not hold; UsageError when it is not about this device and
    a key that it enrolled.
    """
    record = check_record(signed, signed.hardware.device())
    if record.device != device:
        raise UsageError(f"the record is about device {record.device[:16]}…, not about this one", _AGAIN)
    name = record.key().name.hex()
    _key(database, name)
    where = None if event_log is None else str(event_log.absolute())
    row = name, signed.encode(), tcti(address), where, now()
    with database.transaction() as connection:
        connection.execute("INSERT OR REPLACE INTO hardware_record VALUES (1, ?, ?, ?, ?, ?)", row)
    found = adopted(database)
    assert found is not None
    return found


def adopted(database: Database) -> Adopted | None:
    """The record in use, if there is one. Raises StoreError, FormatError."""
    query = "SELECT record, tcti, event_log, adopted_at FROM hardware_record"
    with database.snapshot() as connection:
        row = connection.execute(query).fetchone()
    if row is None:
        return None
    signed = decode_record(row[0])
    record = check_record(signed, signed.hardware.device())
    return Adopted(signed, record, row[1], Path(row[2]) if row[2] else None, row[3])


def prove(database: Database, device_public: bytes, checkpoint_body: str) -> HardwareProof | None:
    """A quote by this device's TPM over its key (32 bytes) and a checkpoint's body; None when no record was adopted.

    Raises HardwareError when the TPM cannot be reached, or is another; UsageError when the record is about another key,
    as after a rotation; StoreError, FormatError.
    """
    using = adopted(database)
    if using is None:
        return None
    if using.record.device != device_public.hex():
        said = f"the hardware record is about device {using.record.device[:16]}…, not about this one"
        raise UsageError(said, _AGAIN)
    quoted = quote(database, using, device_public, checkpoint_body)
    log = _read_event_log(using.event_log) if using.event_log is not None else None
    return HardwareProof(
        record=using.signed,
        attest=encode_base64(quoted.attest),
        signature=encode_base64(quoted.signature),
        pcrs=quoted.pcrs,
        event_log=encode_base64(log) if log else msgspec.UNSET,
    )


def quote(
    database: Database, using: Adopted, device_public: bytes, checkpoint_body: str, *, address: str | None = None
) -> Quoted:
    """What ``prove`` has the TPM sign. The TPM is where ``address`` or ``$VERITY_TCTI`` say, or where it was."""
    key, _ = _key(database, using.record.key().name.hex())
    with Tpm(address or os.environ.get(VARIABLE) or using.tcti) as tpm:
        return tpm.quote(key, extra_data(device_public, checkpoint_body))


def _read_event_log(path: Path) -> bytes | None:
    """None where it cannot be read, or is too large to travel: a quote is worth the same without it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_EVENT_LOG + 1)
    except OSError:
        return None
    return data if len(data) <= MAX_EVENT_LOG else None


def _name(digest: str) -> str:
    return "000b" + digest


def _key(database: Database, name: str) -> tuple[Key, str]:
    with database.snapshot() as connection:
        row = connection.execute(_FIND, (name,)).fetchone()
    if row is None:
        raise UsageError("it is about an attestation key that this device does not have", _AGAIN)
    return Key(row[0], row[1]), row[2]
