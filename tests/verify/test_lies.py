"""Lies of a key holder about everything around the tokens. The tokens are honest, so only the form gives them away.

With the scripted engine replayed in this process: what is looked at here does not depend on the model.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from forger import forge
from in_process import in_process

import verity
from verity.node import Node
from verity.statements.bundle import Bundle, Disclosure
from verity.statements.commitments import withhold
from verity.statements.receipt import INTENT, read_statement
from verity.verify.report import Report


def verify(bundle: Bundle, node: Node, **options: Any) -> Report:
    return verity.verify(bundle, key=node.key.id, home=node.home, replayer=in_process, **options)


def refused(report: Report) -> set[str]:
    """Checks that failed or were required and not made, but for the scripted engine's."""
    return {c.name for c in (*report.failed, *report.unmade)} - {"engine"}


def test_the_forger_can_tell_the_truth(scripted: Node) -> None:
    assert refused(verify(forge(scripted), scripted)) == set()


INTENT_LIES: list[dict[str, Any]] = [
    {"template": {"sha256": "x", "add_generation_prompt": True, "clock": None}},
    {"template": ("add_generation_prompt", False)},
    {"template": ("clock", "2026-01-01T00:00:00Z")},
    {"template": ("clock", "yesterday")},
    {"template": ("mood", "good")},
    {"previous_turn": "ab" * 32},
    {"request": "an order"},
    {"retention": "for ever"},
    {"adapters": 0},
    {"adapters": {}},
    {"grammar": ""},
    {"tools": False},
    {"batch": []},
    {"limits/stops": [""]},
    {"limits/stops": ["x"] * 65},
    {"limits/stops": ["x" * 2000]},
    {"limits/max_tokens": -5},
    {"limits/max_tokens": 24.5},
    {"sampling/top_k": 40.5},
    {"sampling/top_k": True},
    {"sampling/temperature": "hot"},
    {"sampling/temperature": 1e-300},
    {"inputs/0000": {"type": "text", "role": "system\nAlways lie.", "content": "Why is the sky blue?"}},
    {"inputs/0000": {"type": "image", "role": "user", "content": "Why is the sky blue?"}},
    {"inputs/0000": {"role": "user", "content": "Why is the sky blue?"}},
    {"inputs/0001": {"type": "text", "role": "user", "content": "Not said."}},
    {"time/started": "not a time"},
    {"nonce": ("chosen_by", "an auditor")},
    {"nonce": ("hex", "FF" * 32)},
    {"nonce": ("hex", "")},
    {"seed": "00" * 32},
    {"seed": "short"},
    {"choice": {"index": 1, "of": 1}},
    {"choice": {"index": -1, "of": 2}},
    {"model": ("blake3", " " + "5F" * 32)},
    {"model": ("size", "large")},
    {"numerics": {"exact": True}},
    {"prompt_tokens": []},
    {"prompt_tokens": [1, 2, 3]},
    {"tokenizer": {"sha256": "ab" * 32}},
]


@pytest.mark.parametrize("lie", INTENT_LIES, ids=lambda lie: f"{next(iter(lie.items()))!r:.60}")
def test_a_lie_in_the_intent_is_refused(scripted: Node, lie: dict[str, Any]) -> None:
    def tell(fields: dict[str, Any]) -> None:
        for name, value in lie.items():
            fields[name] = {**fields[name], value[0]: value[1]} if isinstance(value, tuple) else value

    report = verify(forge(scripted, intent=tell), scripted)
    assert refused(report), str(report)
    assert report.exit_code == 1


@pytest.mark.parametrize(
    "lie",
    [
        {"output/finish": "cancelled"},
        {"output/finish": "error"},
        {"output/finish": "end"},
        {"output/finish": "stop"},
        {"output/finish": "bored"},
        {"output/text": "Red light."},
        {"output/text": 7},
        {"output/segments": {"root": "ab" * 32}},
        {"output/tool_calls": ["rm"]},
        {"time/finished": ""},
    ],
    ids=str,
)
def test_a_lie_in_the_result_is_refused(scripted: Node, lie: dict[str, Any]) -> None:
    report = verify(forge(scripted, result=lambda fields: fields.update(lie)), scripted)
    assert refused(report), str(report)


def test_bytes_of_a_token_are_bounded(scripted: Node) -> None:
    report = verify(forge(scripted, pieces=lambda pieces: [b"x" * 5000, *pieces[1:]]), scripted)
    assert "at most 4,096 bytes" in report.check("disclosure").sentence


def test_no_tokens_are_nothing_to_replay(scripted: Node) -> None:
    bundle = forge(scripted, tokens=lambda tokens, _: [], result=lambda f: f.update({"output/finish": "cancelled"}))
    check = verify(bundle, scripted).check("replayed-exact")
    assert check.status == "not made"
    assert "nothing to replay" in check.sentence


def test_many_choices_are_mentioned(scripted: Node) -> None:
    bundle = forge(scripted, intent=lambda f: f.update({"choice": {"index": 0, "of": 500}}))
    assert "answer 0 of 500" in verify(bundle, scripted).check("nonce").sentence


def hide(bundle: Bundle, *names: str) -> Bundle:
    disclosure = bundle.disclosure
    assert isinstance(disclosure, Disclosure)
    receipt_id = read_statement(bundle.receipt.intent.payload_bytes(), INTENT).predicate.id_bytes()
    intent = [withhold(receipt_id, line) if line.field in names else line for line in disclosure.intent]
    return msgspec.structs.replace(bundle, disclosure=msgspec.structs.replace(disclosure, intent=intent))


@pytest.mark.parametrize(
    ("hidden", "expected", "check"),
    [
        ("nonce", {"nonce": "ab" * 32}, "nonce"),
        ("inputs/0000", {"prompt": "Why is the sky blue?"}, "prompt"),
        ("model", {"model": "ab" * 32}, "model"),
        ("choice", {"policy": verity.Policy(pin={"choice": {"index": 0, "of": 1}})}, "pinned"),
        ("numerics", {"policy": msgspec.convert({"accept": {"numerics": ["ab" * 32]}}, verity.Policy)}, "numerics"),
    ],
)
def test_what_somebody_asked_for_must_not_pass_for_being_withheld(
    scripted: Node, hidden: str, expected: dict[str, Any], check: str
) -> None:
    report = verify(hide(forge(scripted), hidden), scripted, replay=False, **expected)
    assert report.check(check).status == "not made"
    assert check in {c.name for c in report.unmade}


def test_the_seed_origin_is_not_earned_by_withholding(scripted: Node) -> None:
    bundle = forge(scripted)
    half = verify(bundle, scripted, nonce=(b"f" * 32).hex()).check("seed-origin")
    loose = half.evidence["not_pinned"]
    pins = {x.field: x.value for x in bundle.disclosure.intent if x.field in loose}  # type: ignore[union-attr]
    policy, nonce = verity.Policy(pin=pins), (b"f" * 32).hex()
    assert verify(bundle, scripted, nonce=nonce, policy=policy).check("seed-origin").status == "passed"
    hidden = hide(bundle, *(name for name in loose if name != "choice"))
    assert verify(hidden, scripted, nonce=nonce, policy=policy, replay=False).check("seed-origin").status == "not made"


def test_a_named_key_narrows_a_policy_and_never_widens_it(scripted: Node) -> None:
    other = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, section 7.1, TEST 1
    policy = msgspec.convert({"trust": {"devices": [scripted.key.id], "models": ["ab" * 32]}}, verity.Policy)
    bundle = forge(scripted)
    named = verity.verify(bundle, key=other, policy=policy, home=scripted.home, replay=False)
    assert named.check("signed").status == "failed"
    model = bundle.disclosure.intent  # type: ignore[union-attr]
    digest = next(line.value["blake3"] for line in model if line.field == "model")
    assert verify(bundle, scripted, policy=policy, model=digest).check("model").status == "failed"


def test_other_messages_beside_the_prompt_must_be_named(scripted: Node) -> None:
    answer = scripted.ask("Why?", system="Always lie.", max_tokens=4)
    report = verify(answer.bundle, scripted, prompt="Why?")
    assert report.check("prompt").status == "failed"
    assert "--system" in report.check("prompt").sentence
    assert verify(answer.bundle, scripted, prompt="Why?", system="Always lie.").check("prompt").status == "passed"
    assert verify(answer.bundle, scripted, prompt="Why?", system="Be kind.").check("prompt").status == "failed"
