"""Steps 3 to 6: where intent and result stand in the device's log, and whether that log only grew."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from verity.errors import FormatError, LogError, ProofError
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.tree import check_consistency, check_inclusion, hash_leaf
from verity.statements.bundle import Bundle, Consistency, LogProof, SignedIntent
from verity.statements.commitments import decode_salt
from verity.statements.dsse import Envelope
from verity.statements.keys import parse_key
from verity.statements.receipt import Statement, statement_digest
from verity.statements.request import IntentName
from verity.statements.strict import decode_hex
from verity.verify.report import Check

if TYPE_CHECKING:
    from verity.verify.policy import Policy


def in_the_log(bundle: Bundle, intent: Statement, result: Statement, device: str, policy: Policy) -> Check:
    """Step 3. Raises VerityError with the reason when it does not hold."""
    checkpoint = open_head(bundle.log.checkpoint, device)
    if policy.trust.origins and checkpoint.origin not in policy.trust.origins:
        raise LogError(f"the receipt is in the log {checkpoint.origin}, which the policy does not trust")
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


def check_intent(signed: SignedIntent, statement: Statement, device: str) -> None:
    """That a signed intent stands in the device's log. Raises FormatError, LogError, SignatureError."""
    check_logged("intent", signed.intent, signed.proof, signed.checkpoint, statement, device)


def check_logged(
    name: str, envelope: Envelope, proof: LogProof, checkpoint: str, statement: Statement, device: str
) -> None:
    """That a statement stands in the device's log. Raises FormatError, LogError, SignatureError."""
    _included(name, envelope, proof, statement, open_head(checkpoint, device))


def open_head(note: str, device: str) -> Checkpoint:
    """A head that the device signed of one of its own logs. Raises FormatError, LogError, SignatureError."""
    checkpoint = open_checkpoint(note, parse_key(device))
    if not re.fullmatch(rf"verity/{device}/(0|[1-9][0-9]{{0,14}})", checkpoint.origin, re.ASCII):
        raise LogError("the checkpoint is of a log that is not this device's")
    return checkpoint


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


def consistent(bundle: Bundle, device: str, kept: str | None) -> Check:
    """Step 4. The bundle's checkpoint held against one that the caller kept."""
    if kept is None:
        return Check("consistent", "not made", "No checkpoint from before was given to compare with.")
    proof = bundle.log.consistency
    return compare(kept, bundle.log.checkpoint, device, proof if isinstance(proof, Consistency) else None)


def compare(kept: str, shown: str, device: str, proof: Consistency | None = None) -> Check:
    """Whether two signed heads are of one log that only grew. Raises VerityError for one that is not the device's.

    ``proof`` leads from the smaller to the larger. Two heads of one size that differ are the proof that a device forked
    its log: whoever holds both can show it to anybody.
    """
    name = "consistent"
    old, new = open_head(kept, device), open_head(shown, device)
    if new.origin != old.origin:
        sentence = f"The kept checkpoint is of {old.origin}, another epoch of the device's log: nothing to compare."
        return Check(name, "not made", sentence)
    evidence = {"old_size": old.size, "new_size": new.size, "old": kept, "new": shown}
    if new.size == old.size:
        if new.root != old.root:
            sentence = f"The device signed two logs of {new.size} entries: keep both checkpoints, they prove it."
            return Check(name, "failed", sentence, evidence)
        return Check(name, "passed", "The log is the one that you knew.", evidence)
    first, second = sorted((old, new), key=lambda checkpoint: checkpoint.size)
    if proof is None or proof.size != first.size:
        sentence = (
            f"Nothing shows that the log of {new.size} entries and the one of {old.size} that you kept are one: "
            "ask the owner for a bundle by `verity export --since`, or for a proof by `verity log prove --from-size`."
        )
        return Check(name, "not made", sentence, evidence)
    path = [decode_hex(h, 32, "hash in a consistency proof") for h in proof.path]
    try:
        check_consistency(first.size, second.size, first.root, second.root, path)
    except ProofError as error:
        sentence = f"The proof does not lead from the log that you kept to this one: {error}. Either the log was "
        sentence += "rewritten, or the proof was spoilt on its way: ask the owner for it again."
        return Check(name, "failed", sentence, evidence)
    sentence = f"The log only grew: the head of {first.size} entries is a beginning of the one of {second.size}."
    return Check(name, "passed", sentence, evidence)


def intent_before_result(bundle: Bundle, intent: Statement, result: Statement) -> Check:
    """Step 5. Raises VerityError with the reason when it does not hold."""
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
        "The result names this intent, which stands before it in the log.",
        {"intent": first.index, "result": second.index},
    )


def intent_first(bundle: Bundle, intent: Statement, named: IntentName | None) -> Check:
    """Step 6. Whether whoever chose the nonce had this very intent, signed and logged, in hand before he told it."""
    name = "intent-first"
    if named is None:
        return Check(name, "not made", "That the intent was there before the nonce was known is the device's word.")
    said = IntentName(intent.predicate.id, statement_digest(bundle.receipt.intent.payload_bytes()))
    if said != named:
        return Check(name, "failed", "The nonce was revealed for another intent than this receipt's.")
    return Check(name, "passed", "The issuer had this intent, signed and logged, before telling the nonce.")
