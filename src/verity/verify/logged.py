"""Steps 3 and 4: where intent and result stand in the device's log."""

from __future__ import annotations

import re

from verity.errors import FormatError, LogError, ProofError
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.tree import check_inclusion, hash_leaf
from verity.statements.bundle import Bundle, LogProof
from verity.statements.commitments import decode_salt
from verity.statements.dsse import Envelope
from verity.statements.keys import parse_key
from verity.statements.receipt import Statement, statement_digest
from verity.statements.strict import decode_hex
from verity.verify.report import Check


def in_the_log(bundle: Bundle, intent: Statement, result: Statement, device: str) -> Check:
    """Step 3. Raises VerityError with the reason when it does not hold."""
    checkpoint = open_checkpoint(bundle.log.checkpoint, parse_key(device))
    if not re.fullmatch(rf"verity/{device}/(0|[1-9][0-9]{{0,8}})", checkpoint.origin, re.ASCII):
        raise LogError("the checkpoint is of a log that is not this device's")
    for name, envelope, proof, statement in (
        ("intent", bundle.receipt.intent, bundle.log.intent, intent),
        ("result", bundle.receipt.result, bundle.log.result, result),
    ):
        _included(name, envelope, proof, statement, checkpoint)
    return Check(
        "logged",
        "passed",
        f"Intent and result are entries {bundle.log.intent.index} and {bundle.log.result.index} of the device's log, "
        f"as of its checkpoint of size {checkpoint.size}.",
        {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()},
    )


def _included(name: str, envelope: Envelope, proof: LogProof, statement: Statement, checkpoint: Checkpoint) -> None:
    place = statement.predicate.log
    if place.origin != checkpoint.origin:
        raise LogError(f"the {name} names another log than the checkpoint")
    if place.index != proof.index:
        raise LogError(f"the {name} says that it is entry {place.index} and is proven as entry {proof.index}")
    path = [decode_hex(h, 32, "hash in a log proof") for h in proof.path]
    try:
        check_inclusion(proof.index, checkpoint.size, _leaf(envelope, proof), path, checkpoint.root)
    except ProofError as error:
        raise LogError(f"the {name} is not in the log under this checkpoint: {error}") from error


def _leaf(envelope: Envelope, proof: LogProof) -> bytes:
    return hash_leaf(envelope.log_entry(decode_salt(proof.salt)))


def intent_before_result(bundle: Bundle, intent: Statement, result: Statement) -> Check:
    """Step 4. Raises VerityError with the reason when it does not hold."""
    if result.predicate.intent != statement_digest(bundle.receipt.intent.payload_bytes()):
        raise LogError("the result names another intent than the one in this bundle")
    if result.predicate.id != intent.predicate.id or result.predicate.kind != intent.predicate.kind:
        raise FormatError("intent and result do not carry the same receipt id and kind")
    if bundle.receipt.result.device() != bundle.receipt.intent.device():
        raise LogError("intent and result are signed by two devices")
    first, second = intent.predicate.log, result.predicate.log
    if first.origin != second.origin or first.index >= second.index:
        raise LogError("the intent does not stand before the result in one log")
    if second.index == first.index + 1 and second.previous != _leaf(bundle.receipt.intent, bundle.log.intent).hex():
        raise LogError("the entry before the result is not its intent: an entry was dropped or put in")
    return Check(
        "intent",
        "passed",
        "The result names this intent, which stands before it in the log. "
        "That it was there before the nonce was known is the device's word.",
        {"intent": first.index, "result": second.index},
    )
