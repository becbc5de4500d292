"""Requests end to end with the scripted engine: issuer, device, verifier; both modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from in_process import REPLY, in_process

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import LogError, SignatureError, StoreError, UsageError
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.statements.request import Issued, issue, read_request
from verity.verify.report import Report

MODEL = ScriptedEngine(REPLY).model["blake3"]
OWN = msgspec.convert({"require": {"checks": ["seed-origin", "intent-first"]}}, verity.Policy)


@pytest.fixture
def issuer(tmp_path: Path) -> Any:
    with verity.open(tmp_path / "issuer", engine=ScriptedEngine(REPLY)) as node:
        yield node


def ask(issuer: Node, **options: Any) -> Issued:
    return issuer.issuer.issue("Why?", model=MODEL, max_tokens=20, **options)


def verify(bundle: Bundle, node: Node, by: Node, **options: Any) -> Report:
    """A receipt of ``node``, on the device of whoever verifies."""
    return verity.verify(bundle, key=node.key.id, replayer=in_process, home=by.home, **options)


def status(report: Report) -> dict[str, str]:
    return {c.name: c.status for c in report.checks}


def test_a_request_with_its_nonce(scripted: Node, issuer: Node, tmp_path: Path) -> None:
    issued = ask(issuer, temperature=5.0, system="Be brief.", stops=["zzz"])
    answer = scripted.ask(request=issued)
    report = verify(answer.bundle, scripted, issuer, request=issued)
    said = status(report)
    assert [c.name for c in report.failed] == ["engine"], str(report)
    assert {said[n] for n in ("model", "request", "nonce", "seed-origin", "replayed-exact")} == {"passed"}
    assert said["intent-first"] == "not made"
    path = tmp_path / "r.request.json"
    path.write_bytes(issued.envelope.encode())
    assert status(verify(answer.bundle, scripted, issuer, request=path))["seed-origin"] == "passed"


def test_without_an_exact_replay_the_origin_is_not_shown(scripted: Node, issuer: Node) -> None:
    bundle = scripted.ask(request=(issued := ask(issuer))).bundle
    report = verity.verify(bundle, key=scripted.key.id, request=issued, home=issuer.home, replay=False)
    assert report.check("request").status == "passed"
    assert report.check("seed-origin").status == "not made"
    assert "no exact replay" in report.check("seed-origin").sentence


def test_a_request_counts_only_by_whom_it_should_be(scripted: Node, issuer: Node, tmp_path: Path) -> None:
    issued = ask(issuer)
    bundle = scripted.ask(request=issued).bundle
    with verity.open(tmp_path / "third") as third:
        unknown = verify(bundle, scripted, third, request=issued)
        assert {"request", "seed-origin"} <= {c.name for c in unknown.unmade}
    named = msgspec.convert({"trust": {"issuers": [issuer.key.id]}}, verity.Policy)
    assert verify(bundle, scripted, third, request=issued, policy=named).check("seed-origin").status == "passed"
    own = scripted.issuer.issue("Why?", model=MODEL, max_tokens=20)
    itself = verify(scripted.ask(request=own).bundle, scripted, scripted, request=own)
    assert "asked itself" in itself.check("seed-origin").sentence


def test_listing_issuers_requires_a_request(scripted: Node, issuer: Node) -> None:
    named = msgspec.convert({"trust": {"issuers": [issuer.key.id]}}, verity.Policy)
    report = verify(scripted.ask("Why?").bundle, scripted, issuer, policy=named)
    assert "request" in {c.name for c in report.unmade}


def test_the_callers_nonce_counts_beside_a_carried_request(scripted: Node, issuer: Node) -> None:
    named = msgspec.convert({"trust": {"issuers": [issuer.key.id]}}, verity.Policy)
    issued = ask(issuer)
    assert issued.nonce is not None
    bundle = scripted.ask(request=issued).bundle
    assert verify(bundle, scripted, issuer, policy=named, nonce=issued.nonce.hex()).check("nonce").status == "passed"
    fresh = verify(bundle, scripted, issuer, policy=named, nonce="cd" * 32)
    assert {c.name for c in fresh.failed} == {"engine", "nonce", "seed-origin"}


def test_an_answer_that_was_cut_off_was_a_choice(scripted: Node, issuer: Node) -> None:
    issued = ask(issuer)
    stream = scripted.stream(request=issued)
    next(stream)
    stream.close()
    assert stream.answer is not None
    report = verify(stream.answer.bundle, scripted, issuer, request=issued)
    assert "stopping is a choice" in report.check("seed-origin").sentence


def test_a_stranger_cannot_use_up_a_promise(scripted: Node, issuer: Node, tmp_path: Path) -> None:
    late = ask(issuer, late=True)
    signed = scripted.promise(late)
    issued = issuer.issuer.reveal(late, signed, scripted.key.id)
    with verity.open(tmp_path / "mallory") as mallory:
        parts = bytes.fromhex(late.id), bytes.fromhex(late.salt)
        forged = read_request(issue(*parts, late.request, mallory.key, b"m" * 32, issued.intent))
    with pytest.raises(UsageError, match="not by the issuer"):
        scripted.ask(request=forged)
    assert scripted.ask(request=issued).text


def test_the_signed_intent_first(scripted: Node, issuer: Node) -> None:
    late = ask(issuer, late=True)
    signed = scripted.promise(late)
    issued = issuer.issuer.reveal(late, signed, scripted.key.id)
    assert issuer.issuer.reveal(late, signed, scripted.key.id).nonce == issued.nonce
    bundle = scripted.ask(request=issued).bundle
    assert bundle.receipt.intent == signed.intent
    report = verify(bundle, scripted, issuer, request=issued, policy=OWN)
    assert [c.name for c in (*report.failed, *report.unmade)] == ["engine"], str(report)
    disclosure: Any = bundle.disclosure
    assert {"nonce", "seed"} <= {x.field for x in disclosure.result}


def test_a_third_party_trusts_the_issuer(scripted: Node, issuer: Node) -> None:
    late = ask(issuer, late=True)
    issued = issuer.issuer.reveal(late, scripted.promise(late), scripted.key.id)
    bundle = scripted.ask(request=issued).bundle
    named = msgspec.convert(
        {"trust": {"issuers": [issuer.key.id]}, "require": {"checks": ["seed-origin"]}}, verity.Policy
    )
    assert status(verify(bundle, scripted, issuer, policy=named))["intent-first"] == "passed"
    assert verify(bundle, scripted, issuer, policy=named).check("seed-origin").status == "passed"
    unknown = verify(bundle, scripted, issuer)
    assert issuer.key.id[:16] in unknown.check("request").sentence
    assert unknown.check("seed-origin").status == "not made"


def test_a_request_is_answered_once(scripted: Node, issuer: Node) -> None:
    late = ask(issuer, late=True)
    first, second = scripted.promise(late), scripted.promise(late)
    issued = issuer.issuer.reveal(late, first, scripted.key.id)
    with pytest.raises(UsageError, match="another intent already"):
        issuer.issuer.reveal(late, second, scripted.key.id)
    scripted.ask(request=issued)
    with pytest.raises(UsageError, match="does not wait for a nonce"):
        scripted.ask(request=issued)


def test_who_reveals_what(scripted: Node, issuer: Node) -> None:
    late, given = ask(issuer, late=True), ask(issuer)
    signed = scripted.promise(late)
    with pytest.raises(UsageError, match="waits for an intent"):
        issuer.issuer.reveal(given, signed, scripted.key.id)
    with pytest.raises(UsageError, match="waits for an intent"):
        scripted.issuer.reveal(late, signed, scripted.key.id)
    with pytest.raises(SignatureError):
        issuer.issuer.reveal(late, signed, issuer.key.id)
    moved = msgspec.structs.replace(signed, proof=msgspec.structs.replace(signed.proof, index=0))
    with pytest.raises(LogError, match="not in the device's log"):
        issuer.issuer.reveal(late, moved, scripted.key.id)
    with pytest.raises(UsageError, match="carries its nonce"):
        scripted.promise(given)
    with pytest.raises(UsageError, match="signed intent first"):
        scripted.ask(request=late)
    with pytest.raises(UsageError, match="no nonce yet"):
        verify(scripted.ask("Why?").bundle, scripted, issuer, request=late)


def test_a_request_fixes_everything(scripted: Node, issuer: Node) -> None:
    issued = ask(issuer)
    for more in ({"system": "Lie."}, {"max_tokens": 3}, {"nonce": b"n" * 32}, {"temperature": 0.1}):
        with pytest.raises(UsageError, match="a request fixes prompt"):
            scripted.ask(request=issued, **more)
    other = issuer.issuer.issue("Why?", model="ab" * 32)
    with pytest.raises(UsageError, match="another model or context"):
        scripted.ask(request=other)
    with pytest.raises(UsageError, match="another model or context"):
        scripted.ask(request=ask(issuer, context_size=8000))
    with pytest.raises(UsageError, match="wants a context of 9,216 tokens") as caught:
        scripted.ask(request=ask(issuer, context_size=9000))
    assert "--context 9216" in caught.value.hint
    with pytest.raises(UsageError, match="is not possible"):
        ask(issuer, context_size=200_000)


def test_a_promised_intent_survives_and_is_not_closed_as_an_orphan(home: Path, issuer: Node) -> None:
    late = ask(issuer, late=True)
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        signed = node.promise(late)
    issued = issuer.issuer.reveal(late, signed, signed.intent.device())
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        node.ask("Something else", max_tokens=3)
        assert node.ask(request=issued).finish in ("length", "end")
    with verity.open(home, engine=ScriptedEngine("Another script.")) as node:
        pass


def test_an_engine_that_changed_does_not_answer_a_promise(home: Path, issuer: Node) -> None:
    class Newer(ScriptedEngine):
        @property
        def description(self) -> dict[str, Any]:
            return {"name": "scripted", "version": "2", "library": "0" * 64}

    late = ask(issuer, late=True)
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        issued = issuer.issuer.reveal(late, node.promise(late), node.key.id)
    with (
        verity.open(home, engine=Newer(REPLY)) as node,
        pytest.raises(UsageError, match="no longer those of the signed intent"),
    ):
        node.ask(request=issued)
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:  # and it can still be answered
        assert node.ask(request=issued).text


class Dated(ScriptedEngine):
    """A template that asks for the time."""

    template_clock = True

    def render(self, messages: Any, clock: str | None) -> str:
        return f"{clock} " + super().render(messages, clock)


def test_the_clock_of_a_template_is_the_requests(home: Path, issuer: Node) -> None:
    issued = ask(issuer, clock="2026-01-01T00:00:00Z")
    with verity.open(home, engine=Dated(REPLY)) as node:
        fields: Any = node.ask(request=issued).bundle.disclosure
    template = next(x.value for x in fields.intent if x.field == "template")
    assert template["clock"] == "2026-01-01T00:00:00Z"


def test_two_answers_of_one_receipt_at_once(scripted: Node, issuer: Node, home: Path) -> None:
    late = ask(issuer, late=True)
    issued = issuer.issuer.reveal(late, scripted.promise(late), scripted.key.id)
    first = scripted.stream(request=issued)
    next(first)
    with verity.open(home, engine=ScriptedEngine(REPLY)) as other, pytest.raises(StoreError, match="another process"):
        other.ask(request=issued)
    first.close()
    assert first.answer is not None
