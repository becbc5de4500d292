"""Lies of a key holder about scores; and honest ones with the real model, replayed in a process of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forger import forge, forge_embedding, forge_scoring
from in_process import REPLY, in_process

import verity
from tamper import edited, line
from verity.engines.scores import TOLERANCE
from verity.engines.scripted import ScriptedEngine
from verity.node import Node
from verity.replayer import ProcessReplayer
from verity.statements.bundle import Bundle
from verity.verify.policy import Policy
from verity.verify.replay import Replayed
from verity.verify.report import Report
from verity.verify.scoring import replay

TEXT = "Light is scattered."
ANSWER = " Blue most."


def verify(bundle: Bundle | bytes, node: Node, **options: Any) -> Report:
    given: dict[str, Any] = {"key": node.key.id, "home": node.home, "replayer": in_process}
    return verity.verify(bundle, **given | options)


def refused(report: Report) -> set[str]:
    """Checks that failed or were required and not made, but for the scripted engine's."""
    return {c.name for c in (*report.failed, *report.unmade)} - {"engine"}


def scores(edit: Any) -> Any:
    """Change the log-probabilities."""
    return lambda said: said.update({"output/logprobs": edit(list(said["output/logprobs"]))})


def candidates(edit: Any) -> Any:
    return lambda said: said.update({"output/candidates": edit([dict(c) for c in said["output/candidates"]])})


def moved(by: float, at: int = 3) -> Any:
    return lambda numbers: [*numbers[:at], numbers[at] + by, *numbers[at + 1 :]]


def test_the_truth(scripted: Node) -> None:
    for answer, raw in ((None, True), (ANSWER, True), (ANSWER, False)):
        report = verify(forge_scoring(scripted, TEXT, answer, raw=raw), scripted)
        assert refused(report) == set(), str(report)
        for name in ("intent-first", "nonce", "seed-origin"):
            assert report.check(name).status == "not made"
            assert "not drawn at random" in report.check(name).sentence
        assert ("given answer" in report.check("output").sentence) == (answer is not None)


INTENT_LIES: list[dict[str, Any]] = [
    {"tokenizer": {"sha256": "ab" * 32}},
    {"prompt_tokens": [1, 2, 3]},
    {"prompt_tokens": []},
    {"prompt_tokens": [[1]]},
    {"prompt_tokens": [1.5]},
    {"inputs/0000": {"type": "text", "role": "user", "content": "Light is scattered?"}},
    {"inputs/0000": {"type": "text", "role": "system", "content": TEXT}},
    {"inputs/0001": {"type": "text", "role": "user", "content": "One more."}},
    {"continuation": None},
    {"continuation": {"start": 19, "text": " Blue most?"}},
    {"continuation": {"start": 20, "text": ANSWER}},
    {"continuation": {"start": 0, "text": ANSWER}},
    {"continuation": {"start": 19, "text": ""}},
    {"continuation": ANSWER},
    {"template": {"add_generation_prompt": True, "clock": None, "sha256": "ab" * 32}},
    {"top": 2},
    {"top": 4},
    {"top": -1},
    {"top": 257},
    {"top": True},
    {"adapters": 0},
    {"previous_turn": {"id": "ab" * 16, "result": "ab" * 32}},
    {"request": {"id": "a", "sha256": "b"}},
    {"retention": "for ever"},
    {"batch": []},
    {"model": {"name": "scripted"}},
    {"numerics": None},
    {"time/started": "now"},
]


@pytest.mark.parametrize("lie", INTENT_LIES, ids=str)
def test_a_lie_in_the_intent(lie: dict[str, Any], scripted: Node) -> None:
    report = verify(forge_scoring(scripted, TEXT, ANSWER, intent=lambda fields: fields.update(lie)), scripted)
    assert refused(report) & {"replayed-exact", "output"}, str(report)
    assert report.check("disclosure").status == "passed"


def test_the_template_that_was_not_used(scripted: Node) -> None:
    for raw in (True, False):
        other = forge_scoring(scripted, TEXT, raw=not raw)
        disclosure: Any = other.disclosure
        lie = {"template": next(x.value for x in disclosure.intent if x.field == "template")}
        report = verify(forge_scoring(scripted, TEXT, raw=raw, intent=lambda f, lie=lie: f.update(lie)), scripted)  # type: ignore[misc]
        assert refused(report) == {"replayed-exact"}


def test_an_answer_without_tokens_is_not_certain(scripted: Node) -> None:
    lie = {"continuation": {"start": 1 << 20, "text": ANSWER}}
    report = verify(forge_scoring(scripted, TEXT, ANSWER, intent=lambda f: f.update(lie)), scripted, replay=False)
    assert "after the last token" in report.check("output").sentence
    assert report.check("output").status == "failed"


RESULT_LIES: dict[str, tuple[Any, str]] = {
    "a little more likely": (scores(moved(1e-6)), "replayed-exact"),
    "hardly less likely": (scores(moved(-2 * TOLERANCE)), "replayed-exact"),
    "the last token": (scores(lambda n: [*n[:-1], n[-1] / 2]), "replayed-exact"),
    "two exchanged": (scores(lambda n: [n[1], n[0], *n[2:]]), "replayed-exact"),
    "one missing": (scores(lambda n: n[:-1]), "output"),
    "one too many": (scores(lambda n: [*n, n[-1]]), "output"),
    "none": (scores(lambda n: []), "output"),
    "certain beyond certainty": (scores(lambda n: [1.0, *n[1:]]), "output"),
    "a text": (scores(lambda n: ["-1.0", *n[1:]]), "output"),
    "another digest": (lambda said: said.update({"output/logits": "ab" * 32}), "replayed-exact"),
    "a digest that is none": (lambda said: said.update({"output/logits": "blue"}), "output"),
    "no digest": (lambda said: said.update({"output/logits": None}), "output"),
    "another candidate": (candidates(lambda c: [{**c[0], "token": 7}, *c[1:]]), "replayed-exact"),
    "a candidate's bytes": (candidates(lambda c: [{**c[0], "piece": "QQ=="}, *c[1:]]), "replayed-exact"),
    "a candidate's bytes that are none": (candidates(lambda c: [{**c[0], "piece": "?"}, *c[1:]]), "output"),
    "a candidate's probability": (
        candidates(lambda c: [{**c[0], "logprob": c[0]["logprob"] - 0.1}, *c[1:]]), "replayed-exact",
    ),
    "candidates exchanged": (candidates(lambda c: [c[1], c[0], c[2]]), "replayed-exact"),
    "a candidate missing": (candidates(lambda c: c[:2]), "replayed-exact"),
    "a candidate twice": (candidates(lambda c: [*c, c[2]]), "output"),
    "another end": (lambda said: said.update({"output/finish": "length"}), "output"),
    "an abort with scores": (lambda said: said.update({"output/finish": "aborted"}), "output"),
    "no time": (lambda said: said.update({"time/finished": "later"}), "replayed-exact"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULT_LIES)
def test_a_lie_in_the_result(name: str, scripted: Node) -> None:
    edit, caught = RESULT_LIES[name]
    report = verify(forge_scoring(scripted, TEXT, ANSWER, result=edit), scripted)
    assert caught in refused(report), str(report)


def test_what_another_processor_rounds_otherwise_passes(scripted: Node) -> None:
    bundle = forge_scoring(scripted, TEXT, result=scores(moved(TOLERANCE / 4)))
    assert refused(verify(bundle, scripted)) == set()


def test_the_first_token_that_differs_is_named(scripted: Node) -> None:
    lie = scores(lambda n: [*n[:5], n[5] + 0.25, n[6] / 2, *n[7:]])
    check = verify(forge_scoring(scripted, TEXT, result=lie), scripted).check("replayed-exact")
    assert check.status == "failed"
    assert check.evidence["position"] == 6
    assert math.isclose(check.evidence["margin"], 0.25)
    assert "token 6, 'i'," in check.sentence


def test_what_does_not_fit_the_context(scripted: Node) -> None:
    def small(claim: Any) -> Replayed:
        outcome = replay(ScriptedEngine(REPLY, context_size=8), claim)
        return msgspec.structs.replace(in_process(claim), outcome=outcome)

    report = verify(scripted.score(TEXT).bundle, scripted, replayer=small)
    assert "does not fit the context" in report.check("replayed-exact").sentence
    assert refused(report) == {"replayed-exact"}


@pytest.mark.parametrize("field", ["nonce", "seed", "grammar", "pooling", "output/text", "output/embeddings"])
def test_fields_of_other_kinds_are_refused(field: str, scripted: Node) -> None:
    bundle = forge_scoring(scripted, TEXT, intent=lambda fields: fields.update({field: None}))
    assert "another kind" in verify(bundle, scripted).check("disclosure").sentence


@pytest.mark.parametrize("field", ["continuation", "top", "output/logits"])
def test_others_have_none_of_its_fields(field: str, scripted: Node) -> None:
    for forger in (forge, lambda node, **edit: forge_embedding(node, [TEXT], **edit)):
        bundle = forger(scripted, intent=lambda fields: fields.update({field: None}))
        assert "another kind" in verify(bundle, scripted).check("disclosure").sentence


def test_a_field_left_out(scripted: Node) -> None:
    for field in ("continuation", "top", "prompt_tokens", "template", "numerics"):
        bundle = forge_scoring(scripted, TEXT, intent=lambda fields, field=field: fields.pop(field))  # type: ignore[misc]
        assert f"lacks the field '{field}'" in verify(bundle, scripted).check("disclosure").sentence


def test_an_outsiders_edits(scripted: Node) -> None:
    bundle = scripted.score(TEXT, ANSWER).bundle

    def check(edit: Any) -> str:
        return verify(edited(bundle, edit), scripted).check("disclosure").status

    assert check(lambda plain: None) == "passed"
    assert check(lambda plain: line(plain, "output/logprobs")["value"].reverse()) == "failed"
    assert check(lambda plain: line(plain, "output/candidates")["value"].pop()) == "failed"
    assert check(lambda plain: line(plain, "output/logits").update(value="ab" * 32)) == "failed"
    assert check(lambda plain: line(plain, "continuation")["value"].update(text=" Red most.")) == "failed"


def test_what_is_named_is_required(scripted: Node) -> None:
    bundle = scripted.score(TEXT, ANSWER).bundle
    assert refused(verify(bundle, scripted, prompt=TEXT)) == set()
    assert refused(verify(bundle, scripted, prompt=TEXT + ANSWER)) == {"prompt"}
    assert "nonce" in refused(verify(bundle, scripted, nonce="ab" * 32))
    for pin, wanted in ((ANSWER, set()), (" Red most.", {"pinned"})):
        policy = msgspec.convert({"pin": {"continuation/text": pin}, "accept": {"finishes": ["end"]}}, Policy)
        assert refused(verify(bundle, scripted, policy=policy)) == wanted


# --- the real model ---------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_honest_scores_replay_exactly(model_node: Node, model_home: Path) -> None:
    scored = model_node.score("The capital of France is", " Paris.", top=3)
    assert scored.logprob > model_node.score("The capital of France is", " a lamp.").logprob
    report = verity.verify(scored.bundle, key=model_node.key.id, home=model_home, threads=1)
    assert report.passed, str(report)
    assert report.check("replayed-exact").evidence["tokens"] == len(scored.tokens)
    chat = model_node.score("Name a river.", "The Nile", raw=False).bundle
    replayer = ProcessReplayer(model_node.blobs, model_node.numerics, threads=2, micro_batch=3)
    assert verity.verify(chat, key=model_node.key.id, home=model_home, replayer=replayer).passed
