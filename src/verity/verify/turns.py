"""Step 13: the turns of a conversation are receipts, and this one must go on from the one before."""

from __future__ import annotations

from typing import Any

from verity.errors import FormatError, SignatureError
from verity.statements.bundle import Bundle
from verity.statements.receipt import (
    GENERATION,
    INTENT,
    RESULT,
    Message,
    PreviousTurn,
    read_statement,
    statement_digest,
)
from verity.verify import content, logged
from verity.verify.claims import Fields
from verity.verify.report import Check

NAME = "previous-turn"


def previous_turn(fields: Fields, previous: Bundle | None, device: str) -> Check:
    """Step 13. The receipt names the result of ``previous``, and its inputs begin with that turn's inputs and output.

    Whether ``previous`` may be believed at all is for a verification of its own. Raises Withheld, VerityError.
    """
    if previous is None:
        return Check(NAME, "not made", "No turn before was given to compare with.")
    named = fields.value("previous_turn")
    if (said := fields.previous()) is None:
        return Check(NAME, "failed", "The receipt names no turn before.")
    intent = read_statement(previous.receipt.intent.payload_bytes(), INTENT)
    payload = previous.receipt.result.payload_bytes()
    if said != PreviousTurn(intent.predicate.id, statement_digest(payload)):
        return Check(NAME, "failed", "The receipt names another turn before than the one given.", named)
    if (broken := _broken(previous)) is not None:
        return Check(NAME, "failed", f"A signature of the turn before does not hold: {broken}.", named)
    if previous.receipt.intent.device() != device:
        return Check(
            NAME, "not made", "The turn before is by another device: whether it belongs here is not shown.", named
        )
    if intent.predicate.kind != GENERATION:
        return Check(NAME, "failed", "The turn before is no answer: its receipt is of another kind.", named)
    result = read_statement(payload, RESULT)
    logged.intent_before_result(previous, intent, result)  # or the device could show another intent to that result
    opened = content.open_fields(previous, intent, result)
    if opened.check.status != "passed":
        return Check(NAME, opened.check.status, f"Of the turn before: {opened.check.sentence}", named)
    return _goes_on(fields, opened.fields, named)


def _broken(previous: Bundle) -> str | None:
    device = previous.receipt.intent.device()
    try:
        previous.receipt.intent.check(device)
        previous.receipt.result.check(device)
    except (SignatureError, FormatError) as error:
        return str(error)
    return None


def _goes_on(fields: Fields, before: Fields, named: dict[str, Any]) -> Check:
    expected = [*before.messages(), Message("assistant", before.read("output/text", str))]
    messages = fields.messages()
    for number, (message, wanted) in enumerate(zip(messages, expected, strict=False)):
        if message != wanted:
            sentence = f"Message {number} is not that of the turn before, or of its answer."
            return Check(NAME, "failed", sentence, {**named, "message": number})
    if len(messages) <= len(expected):
        return Check(NAME, "failed", "The receipt has no message beyond those of the turn before.", named)
    new = len(messages) - len(expected)
    sentence = f"The receipt goes on from the turn before, word for word, with {new} new message{'s' * (new > 1)}."
    return Check(NAME, "passed", sentence, named)
