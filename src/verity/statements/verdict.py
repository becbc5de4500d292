"""A referee's verdict on two receipts that answer one request: a signed statement, all of it in clear. spec/dispute.md.

    {"verdict": DSSE envelope, "checkpoint": C2SP text, "proof": {…}}

``*.verdict.json``: the statement, and that it stands in the referee's log. Whether to believe the referee is the
reader's business; whoever has both bundles can settle the dispute again.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from verity.errors import FormatError
from verity.statements.bundle import LogProof
from verity.statements.commitments import digest_fields
from verity.statements.dsse import Envelope
from verity.statements.receipt import Statement, convert_field, read_statement
from verity.statements.strict import decode_hex, load

VERDICT = "verity:verdict/v1"
KIND = "verdict"
SUFFIX = ".verdict.json"
MAX_VERDICT_BYTES = 1 << 20
MAX_SENTENCE = 2000
"""Characters."""
MAX_MODEL = 1 << 12
"""Bytes of canonical JSON."""


class NamedReceipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One party: its device's key, its receipt's id, and the statement digests of both statements (hex)."""

    device: str
    intent: str
    receipt: str
    result: str


class Where(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The segment in which they part, and how many both have."""

    number: int
    of: int


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"started": "time/started"}):
    """What the referee found of each party, in their order. ``segment`` is null when it took more than one."""

    findings: tuple[Literal["holds", "false", "undecided"], Literal["holds", "false", "undecided"]]
    model: dict[str, Any]
    parties: tuple[NamedReceipt, NamedReceipt]
    segment: Where | None
    sentences: tuple[str, str]
    started: str


class SignedVerdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module."""

    verdict: Envelope
    checkpoint: str
    proof: LogProof

    def encode(self) -> bytes:
        """The file's bytes."""
        return msgspec.json.encode(self) + b"\n"


def decode_verdict(data: bytes) -> SignedVerdict:
    """Read a verdict from its file's bytes; nothing is checked yet. Raises FormatError."""
    return load(data, SignedVerdict, limit=MAX_VERDICT_BYTES, what="signed verdict")


def read_verdict(signed: SignedVerdict, referee: str) -> tuple[Verdict, Statement]:
    """What the referee of this key (64 hex digits) signed. Raises FormatError, SignatureError."""
    statement = read_statement(signed.verdict.check(referee), VERDICT)
    shown = statement.predicate.shown
    if digest_fields(statement.predicate.id_bytes(), shown) != statement.fields_digest():
        raise FormatError("the verdict does not show all that it commits to")
    verdict = convert_field({opening.field: opening.value for opening in shown}, Verdict, KIND)
    for party in verdict.parties:
        for text, size in ((party.device, 32), (party.receipt, 16), (party.intent, 32), (party.result, 32)):
            decode_hex(text, size, "name of a party")
    return verdict, statement
