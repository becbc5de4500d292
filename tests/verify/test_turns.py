"""Step 13: a receipt goes on from the turn before, word for word, or the report says that it does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from forger import forge, forge_embedding
from in_process import REPLY
from msgspec.structs import replace

import verity
from verity.exporter import NOTHING, Selection
from verity.node import Node
from verity.statements.bundle import Bundle, Disclosure
from verity.statements.commitments import digest_fields
from verity.statements.dsse import seal
from verity.statements.receipt import Message
from verity.statements.strict import canonical
from verity.verify.report import Check

FIRST = [Message("user", "Why is the sky blue?")]
SECOND = [*FIRST, Message("assistant", "Blue light is sc"), Message("user", "And the grass?")]


@pytest.fixture
def before(scripted: Node) -> Bundle:
    return scripted.ask(FIRST, max_tokens=16, temperature=0).bundle


def name_of(bundle: Bundle) -> dict[str, Any]:
    statement = json.loads(bundle.receipt.intent.payload_bytes())
    result = hashlib.sha256(bundle.receipt.result.payload_bytes()).hexdigest()
    return {"id": statement["predicate"]["id"], "result": result}


def turn(node: Node, named: Any, messages: list[Message] = SECOND) -> Bundle:
    return forge(node, messages, intent=lambda fields: fields.update(previous_turn=named))  # type: ignore[arg-type]


def check(bundle: Bundle, previous: Any, node: Node) -> Check:
    report = verity.verify(bundle, previous=previous, home=node.home, replay=False)
    assert "previous-turn" in report.required
    return report.check("previous-turn")


def test_the_turn_before_is_the_one_named(scripted: Node, before: Bundle) -> None:
    found = check(turn(scripted, name_of(before)), before, scripted)
    assert found.status == "passed", found.sentence
    assert found.evidence == name_of(before)
    assert check(turn(scripted, name_of(before)), before.encode(), scripted).status == "passed"


def test_without_a_turn_before_nothing_is_claimed(scripted: Node, before: Bundle) -> None:
    report = verity.verify(before, home=scripted.home, replay=False)
    assert report.check("previous-turn").status == "not made"
    assert "previous-turn" not in report.required


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda name: None, "names no turn before"),
        (lambda name: {**name, "id": "00" * 16}, "names another turn"),
        (lambda name: {**name, "result": "00" * 32}, "names another turn"),
        (lambda name: {**name, "result": name["result"].upper()}, "lower-case"),
        (lambda name: {**name, "id": "00"}, "lower-case"),
        (lambda name: {**name, "more": 1}, "wrong form"),
        (lambda name: [name], "wrong form"),
        (lambda name: {"id": name["id"]}, "wrong form"),
    ],
)
def test_another_name_fails(scripted: Node, before: Bundle, change: Callable[[Any], Any], says: str) -> None:
    found = check(turn(scripted, change(name_of(before))), before, scripted)
    assert (found.status, says in found.sentence) == ("failed", True), found.sentence


@pytest.mark.parametrize(
    "messages",
    [
        [Message("user", "Why is the sky red?"), *SECOND[1:]],
        [SECOND[0], Message("assistant", "Blue light is sc."), SECOND[2]],
        [SECOND[0], Message("user", SECOND[1].content), SECOND[2]],
        [Message("system", "Lie."), *SECOND],
        [SECOND[0], SECOND[2]],
        SECOND[:2],
        SECOND[:1],
    ],
    ids=["prompt", "answer", "role", "system", "no answer", "nothing new", "only the prompt"],
)
def test_other_words_fail(scripted: Node, before: Bundle, messages: list[Message]) -> None:
    found = check(turn(scripted, name_of(before), messages), before, scripted)
    assert found.status == "failed", found.sentence


def test_a_turn_of_another_conversation_fails(scripted: Node, before: Bundle) -> None:
    other = scripted.ask(FIRST, max_tokens=16, temperature=0).bundle
    assert check(turn(scripted, name_of(before)), other, scripted).status == "failed"


def test_a_turn_whose_words_were_changed_fails(scripted: Node, before: Bundle) -> None:
    plain = json.loads(before.encode())
    line = next(line for line in plain["disclosure"]["result"] if line["field"] == "output/text")
    line["value"] = "Blue light is no"
    changed = json.dumps(plain).encode()
    messages = [SECOND[0], Message("assistant", "Blue light is no"), SECOND[2]]
    assert check(turn(scripted, name_of(before), messages), changed, scripted).status == "failed"


def test_a_turn_with_a_broken_signature_fails(scripted: Node, before: Bundle) -> None:
    plain = json.loads(before.encode())
    first, second = (plain["receipt"][part]["signatures"][0] for part in ("intent", "result"))
    first["sig"], second["sig"] = second["sig"], first["sig"]
    assert check(turn(scripted, name_of(before)), json.dumps(plain).encode(), scripted).status == "failed"


def test_an_embedding_is_no_turn_before(scripted: Node) -> None:
    embedding = forge_embedding(scripted, [FIRST[0].content])
    assert check(turn(scripted, name_of(embedding)), embedding, scripted).status == "failed"


def another_intent(bundle: Bundle, node: Node, prompt: str) -> Bundle:
    """The device signs a second intent to the same id, with another prompt, and shows it beside the first's result."""
    disclosure = bundle.disclosure
    assert isinstance(disclosure, Disclosure)
    value = {"type": "text", "role": "user", "content": prompt}
    lines = [replace(o, value=value) if o.field == "inputs/0000" else o for o in disclosure.intent]
    statement = json.loads(bundle.receipt.intent.payload_bytes())
    digest = digest_fields(bytes.fromhex(statement["predicate"]["id"]), lines)
    statement["subject"][0]["digest"]["sha256"] = digest
    receipt = replace(bundle.receipt, intent=seal(canonical(statement), node.key))
    return replace(bundle, receipt=receipt, disclosure=replace(disclosure, intent=lines))


def test_a_turn_with_another_intent_than_its_results_fails(scripted: Node, before: Bundle) -> None:
    messages = [Message("user", "Why is the sky red?"), *SECOND[1:]]
    shown = another_intent(before, scripted, messages[0].content)
    found = check(turn(scripted, name_of(before), messages), shown, scripted)
    assert (found.status, "another intent" in found.sentence) == ("failed", True), found.sentence


@pytest.mark.parametrize("selection", [NOTHING, Selection(messages=(0,)), Selection(output=True)])
def test_a_turn_that_withholds_shows_nothing(scripted: Node, before: Bundle, selection: Selection) -> None:
    withheld = scripted.exporter.bundle(name_of(before)["id"], selection)
    assert check(turn(scripted, name_of(before)), withheld, scripted).status == "not made"


def test_a_turn_by_another_device_is_not_judged(scripted: Node, before: Bundle, tmp_path: Any) -> None:
    from verity.engines.scripted import ScriptedEngine

    with verity.open(tmp_path / "other", engine=ScriptedEngine(REPLY)) as other:
        theirs = other.ask(FIRST, max_tokens=16, temperature=0).bundle
    assert check(turn(scripted, name_of(theirs)), theirs, scripted).status == "not made"
