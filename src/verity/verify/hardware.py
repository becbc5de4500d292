"""Step 21: whether a TPM vouched for the device's key and the checkpoint of the bundle, on the word of a registrar.

1. The record is signed by a registrar whom the policy names, and stands in his log.
2. It is about the device of this bundle, at the policy's level or above.
3. The key that it names is one that only quotes, and signed this quote; the PCRs shown are those it is about.
4. The quote repeats what binds this device's key and this checkpoint.

A pass says where a key is. It says nothing of the programs that ran: software extends PCRs as it likes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from verity.errors import FormatError, LogError, SignatureError
from verity.log.checkpoint import body_of, parse_note
from verity.statements.bundle import Bundle, HardwareProof, SignedRecord
from verity.statements.hardware import LEVELS, Record, check_sizes, read_record
from verity.statements.keys import parse_key
from verity.statements.strict import decode_base64
from verity.statements.tpm.event_log import parse_event_log
from verity.statements.tpm.quote import Attest, check_quote, extra_data
from verity.verify.logged import check_logged
from verity.verify.policy import Policy
from verity.verify.report import Check

NAME = "hardware-bound"
SHOWN_EVENTS = 256


def check_record(signed: SignedRecord, registrar: str) -> Record:
    """What the registrar of this key (64 hex digits) signed and logged. FormatError, LogError, SignatureError."""
    record, statement = read_record(signed, registrar)
    check_logged("hardware record", signed.hardware, signed.proof, signed.checkpoint, statement, registrar)
    return record


def check_proof(proof: HardwareProof, record: Record, device: str, checkpoint: str) -> Attest:
    """What the TPM of this record signed for this device and checkpoint. FormatError, LogError, SignatureError."""
    check_sizes(proof)
    if record.device != device:
        raise LogError(f"the hardware record is about device {record.device[:16]}…, not about {device[:16]}…")
    attest, signature = decode_base64(proof.attest, "quote"), decode_base64(proof.signature, "quote's signature")
    said = check_quote(record.key(), attest, signature, proof.pcrs)
    if said.extra != extra_data(parse_key(device), body_of(parse_note(checkpoint))):
        raise SignatureError("the quote is for another device or another checkpoint than this bundle's")
    return said


def hardware_bound(bundle: Bundle, device: str, policy: Policy) -> Check:
    """Step 21. Raises VerityError with the reason when it does not hold."""
    proof = bundle.log.hardware
    if not isinstance(proof, HardwareProof):
        return Check(NAME, "not made", "No TPM vouches for this checkpoint: the bundle carries no quote.")
    registrar = proof.record.hardware.device()
    evidence: dict[str, Any] = {"registrar": registrar}
    if not policy.hardware.registrars:
        hint = "name the registrars that you believe in the policy, under [hardware]"
        sentence = f"Registrar {registrar[:16]}… says that a TPM holds a key for this device: {hint}."
        return Check(NAME, "not made", sentence, evidence)
    if registrar not in policy.hardware.registrars:
        sentence = f"The record is by registrar {registrar[:16]}…, whom the policy does not name."
        return Check(NAME, "failed", sentence, evidence)
    record = check_record(proof.record, registrar)
    said = check_proof(proof, record, device, bundle.log.checkpoint)
    evidence |= {"level": record.level, "issuer": record.issuer, "certificate": record.certificate, "ek": record.ek}
    evidence |= {"certified": record.started, "clock_ms": said.clock, "clock_safe": said.safe, "pcrs": dict(proof.pcrs)}
    if isinstance(proof.event_log, str):
        evidence["event_log"] = _shown(proof.event_log, proof.pcrs)
    where = f"level {record.level}, on the word of registrar {registrar[:16]}…"
    if LEVELS.index(record.level) < LEVELS.index(policy.hardware.level):
        sentence = f"The key's {where}: the policy asks for {policy.hardware.level} at least."
        return Check(NAME, "failed", sentence, evidence)
    kind = "Key in a simulated TPM, not in hardware" if record.level == LEVELS[0] else "Key in hardware"
    sentence = (
        f"{kind} ({where}): it vouched for this device's key and this checkpoint. Which program ran is not shown."
    )
    return Check(NAME, "passed", sentence, evidence)


def _shown(encoded: str, pcrs: list[tuple[int, str]]) -> dict[str, Any]:
    """What the event log says, for a reader: it changes no outcome, for it proves nothing of what runs now."""
    try:
        log = parse_event_log(decode_base64(encoded, "event log"))
    except FormatError as error:
        return {"problem": str(error)}
    explained = [index for index, value in pcrs if log.pcrs.get(index, "00" * 32) == value]
    return {
        "explains": explained,
        "differs": [index for index, _ in pcrs if index not in explained],
        "count": len(log.events),
        "events": [msgspec.to_builtins(event) for event in log.events[:SHOWN_EVENTS]],
    }
