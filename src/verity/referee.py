"""Settles disputes between two receipts, and signs what it found; the verdict stands in this device's log.

verdict, signed = node.referee.settle(party_of("a.verity.json"), party_of("b.verity.json"), replayer)
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from verity.challenge import beside, source_of
from verity.errors import FormatError
from verity.exporter import Exporter
from verity.recorder import Recorder
from verity.statements.bundle import Bundle
from verity.statements.receipt import statement_digest
from verity.statements.strict import canonical
from verity.statements.verdict import (
    KIND,
    MAX_MODEL,
    MAX_SENTENCE,
    VERDICT,
    NamedReceipt,
    SignedVerdict,
    read_verdict,
)
from verity.statements.verdict import Verdict as Signed
from verity.store.bundles import read_bundle
from verity.store.clock import now
from verity.verify.claims import Withheld
from verity.verify.content import open_fields
from verity.verify.dispute import Party, Verdict, settle
from verity.verify.leaves import opened_leaves
from verity.verify.logged import check_logged
from verity.verify.replay import ModelName
from verity.verify.spot import StateSource
from verity.verify.verifier import Replayer, statements


def party_of(
    source: Bundle | bytes | str | os.PathLike[str], states: str | os.PathLike[str] | StateSource | None = None
) -> Party:
    """A party from its bundle (or its bytes, or its file) and its states: a file (default: the one beside the bundle's
    file), the address of its server, or a function. Raises FormatError, UsageError."""
    bundle = read_bundle(source)
    if states is None and isinstance(source, str | os.PathLike):
        states = beside(source)
    intent, result = statements(bundle)
    opened = open_fields(bundle, intent, result)
    leaf = opened_leaves(bundle, opened.segments, intent.predicate.id_bytes(), opened.intent)
    return Party(bundle, leaf, source_of(states, bundle) if states is not None else _none)


def _none(receipt_id: str, segments: Sequence[int]) -> list[bytes]:  # noqa: ARG001 - as any StateSource
    return []


def check_verdict(signed: SignedVerdict, referee: str) -> Signed:
    """What the referee of this key (64 hex digits) signed and logged. Raises FormatError, LogError, SignatureError."""
    verdict, statement = read_verdict(signed, referee)
    check_logged("verdict", signed.verdict, signed.proof, signed.checkpoint, statement, referee)
    return verdict


def _short(sentence: str) -> str:
    """A party's own words stand in it: they must not make a verdict that nobody can sign or read."""
    return sentence if len(sentence) <= MAX_SENTENCE else sentence[: MAX_SENTENCE - 1] + "…"


class Referee:
    """This device, as one whom two parties ask."""

    def __init__(self, recorder: Recorder, exporter: Exporter) -> None:
        self._recorder = recorder
        self._exporter = exporter

    def settle(self, a: Party, b: Party, replayer: Replayer) -> tuple[Verdict, SignedVerdict]:
        """Find out who is wrong, sign that and log it. Raises as ``verity.verify.dispute.settle``, StoreError."""
        verdict = settle(a, b, replayer)
        where = None if verdict.segment is None else {"number": verdict.segment, "of": verdict.segments}
        fields = {
            "findings": [verdict.a.finding, verdict.b.finding],
            "model": _model(a),
            "parties": [msgspec.to_builtins(_named(party.bundle)) for party in (a, b)],
            "segment": where,
            "sentences": [_short(verdict.a.sentence), _short(verdict.b.sentence)],
            "time/started": now(),
        }
        index = self._recorder.declare(VERDICT, KIND, fields, shown=True)
        envelope, checkpoint, proof = self._exporter.statement(index)
        return verdict, SignedVerdict(envelope, checkpoint, proof)


def _named(bundle: Bundle) -> NamedReceipt:
    return NamedReceipt(
        device=bundle.receipt.intent.device(),
        intent=statement_digest(bundle.receipt.intent.payload_bytes()),
        receipt=statements(bundle)[0].predicate.id,
        result=statement_digest(bundle.receipt.result.payload_bytes()),
    )


def _model(party: Party) -> object:
    """The field ``model``; an empty one where it says nothing that names a model."""
    try:
        model = open_fields(party.bundle, *statements(party.bundle)).fields.read("model", ModelName)
    except (Withheld, FormatError):
        return {}
    return msgspec.to_builtins(model) if len(canonical(model)) <= MAX_MODEL else {}
