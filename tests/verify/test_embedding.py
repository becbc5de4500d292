"""Lies of a key holder about an embedding; and honest ones with the real model, replayed in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from forger import forge, forge_embedding
from in_process import REPLY, in_process

import verity
from tamper import edited, line
from verity.engines.pooling import Hidden, decode_vector, embed, encode_vector
from verity.engines.scripted import ScriptedEngine
from verity.node import Node
from verity.replayer import ProcessReplayer
from verity.statements.bundle import Bundle
from verity.verify.embedding import replay
from verity.verify.policy import Policy
from verity.verify.replay import Replayed
from verity.verify.report import Report

TEXTS = ["Light is scattered.", "Bread is baked.", "Light is scattered, and blue light most."]
A_NONCE = "ab" * 32


def verify(bundle: Bundle | bytes, node: Node, **options: Any) -> Report:
    given: dict[str, Any] = {"key": node.key.id, "home": node.home, "replayer": in_process}
    return verity.verify(bundle, **given | options)


def refused(report: Report) -> set[str]:
    """Checks that failed or were required and not made, but for the scripted engine's."""
    return {c.name for c in (*report.failed, *report.unmade)} - {"engine"}


def changed(text: str, at: int = 3) -> str:
    """The vector with the last bit of one number flipped."""
    vector = decode_vector(text)
    vector.view(np.uint32)[at] ^= 1
    return encode_vector(vector)


def vectors(edit: Any) -> Any:
    return lambda said: said.update({"output/embeddings": edit(said["output/embeddings"])})


def test_the_truth(scripted: Node) -> None:
    report = verify(forge_embedding(scripted, TEXTS), scripted)
    assert refused(report) == set()
    for name in ("intent-first", "nonce", "seed-origin"):
        assert report.check(name).status == "not made"
        assert "not drawn at random" in report.check(name).sentence
    assert report.check("output").sentence == "There is a vector of 16 numbers for each of the 3 texts."


INTENT_LIES: list[dict[str, Any]] = [
    {"pooling": "last"},
    {"pooling": "max"},
    {"pooling": None},
    {"normalisation": "none"},
    {"normalisation": 1},
    {"tokenizer": {"sha256": "ab" * 32}},
    {"prompt_tokens": [[1], [2], [3]]},
    {"prompt_tokens": [[], [], []]},
    {"prompt_tokens": []},
    {"prompt_tokens": [1, 2, 3]},
    {"prompt_tokens": [[1.5], [2], [3]]},
    {"inputs/0001": {"type": "text", "role": "user", "content": "Bread is toasted."}},
    {"inputs/0001": {"type": "text", "role": "assistant", "content": TEXTS[1]}},
    {"inputs/0001": {"type": "image", "role": "user", "content": TEXTS[1]}},
    {"inputs/0003": {"type": "text", "role": "user", "content": "One more."}},
    {"adapters": 0},
    {"previous_turn": "ab" * 32},
    {"request": {"id": "a", "sha256": "b"}},
    {"retention": "for ever"},
    {"batch": []},
    {"model": {"name": "scripted"}},
    {"numerics": None},
    {"time/started": "now"},
]


@pytest.mark.parametrize("lie", INTENT_LIES, ids=str)
def test_a_lie_in_the_intent(lie: dict[str, Any], scripted: Node) -> None:
    report = verify(forge_embedding(scripted, TEXTS, intent=lambda fields: fields.update(lie)), scripted)
    assert refused(report) & {"replayed-exact", "output"}
    assert report.check("disclosure").status == "passed"


def test_an_empty_text_is_none(scripted: Node) -> None:
    """Its vector is the engine's own: only the specification is against it."""
    engine = scripted.load().engine
    vector = encode_vector(embed(engine.hidden(engine.tokenize("")), "mean", "l2"))
    empty = {"inputs/0000": {"type": "text", "role": "user", "content": ""}, "prompt_tokens": [engine.tokenize("")]}
    bundle = forge_embedding(scripted, TEXTS[:1], intent=lambda f: f.update(empty), result=vectors(lambda _: [vector]))
    assert refused(verify(bundle, scripted)) == {"replayed-exact"}


RESULT_LIES: dict[str, tuple[Any, str]] = {
    "one bit": (vectors(lambda v: [v[0], changed(v[1]), v[2]]), "replayed-exact"),
    "two exchanged": (vectors(lambda v: [v[1], v[0], v[2]]), "replayed-exact"),
    "one twice": (vectors(lambda v: [v[0], v[0], v[2]]), "replayed-exact"),
    "one missing": (vectors(lambda v: v[:2]), "output"),
    "one too many": (vectors(lambda v: [*v, v[0]]), "output"),
    "one shorter": (vectors(lambda v: [v[0], encode_vector(decode_vector(v[1])[:-1]), v[2]]), "output"),
    "all shorter": (vectors(lambda v: [encode_vector(decode_vector(x)[:-1]) for x in v]), "replayed-exact"),
    "an infinity": (vectors(lambda v: [v[0], "AACAfw==", v[2]]), "output"),
    "not base64": (vectors(lambda v: [v[0], "blue", v[2]]), "output"),
    "no list": (vectors(lambda v: v[0]), "output"),
    "another end": (lambda said: said.update({"output/finish": "length"}), "output"),
    "an abort with vectors": (lambda said: said.update({"output/finish": "aborted"}), "output"),
    "no time": (lambda said: said.update({"time/finished": "later"}), "replayed-exact"),
}


@pytest.mark.parametrize("name", RESULT_LIES)
def test_a_lie_in_the_result(name: str, scripted: Node) -> None:
    edit, caught = RESULT_LIES[name]
    report = verify(forge_embedding(scripted, TEXTS, result=edit), scripted)
    assert caught in refused(report), str(report)


def test_the_first_vector_that_differs_is_named(scripted: Node) -> None:
    lie = vectors(lambda v: [v[0], changed(v[1], 5), changed(v[2])])
    check = verify(forge_embedding(scripted, TEXTS, result=lie), scripted).check("replayed-exact")
    assert check.status == "failed"
    assert "vector of text 1 is off the model's by up to" in check.sentence
    assert (check.evidence["text"], check.evidence["number"]) == (1, 5)
    assert check.evidence["margin"] == abs(check.evidence["claimed"] - check.evidence["replayed"]) > 0


def test_what_does_not_fit_the_context(scripted: Node) -> None:
    def small(claim: Any) -> Replayed:
        outcome = replay(ScriptedEngine(REPLY, context_size=8), claim)
        return msgspec.structs.replace(in_process(claim), outcome=outcome)

    report = verify(scripted.embed(TEXTS).bundle, scripted, replayer=small)
    assert "does not fit the context" in report.check("replayed-exact").sentence
    assert refused(report) == {"replayed-exact"}


class Zero(ScriptedEngine):
    """Gives a zero, for which there are two ways to write it."""

    def hidden(self, tokens: Sequence[int]) -> Iterator[Hidden]:
        for row in super().hidden(tokens):
            row[0] = 0.0
            yield row


def test_negative_zero_is_another_number(tmp_path: Path) -> None:
    def negated(v: list[str]) -> list[str]:
        vector = decode_vector(v[0])
        assert vector[0] == 0.0
        vector[0] = -0.0
        return [encode_vector(vector), *v[1:]]

    def on_zero(claim: Any) -> Replayed:
        return msgspec.structs.replace(in_process(claim), outcome=replay(Zero(REPLY), claim))

    with verity.open(tmp_path / "zero", engine=Zero(REPLY)) as node:
        for edit, status in ((lambda v: v, "passed"), (negated, "failed")):
            bundle = forge_embedding(node, TEXTS, result=vectors(edit))
            assert verify(bundle, node, replayer=on_zero).check("replayed-exact").status == status


@pytest.mark.parametrize("field", ["nonce", "seed", "template", "grammar", "output/text", "limits/max_tokens"])
def test_fields_of_the_other_kind_are_refused(field: str, scripted: Node) -> None:
    bundle = forge_embedding(scripted, TEXTS, intent=lambda fields: fields.update({field: None}))
    report = verify(bundle, scripted)
    assert "another kind" in report.check("disclosure").sentence
    generation = forge(scripted, intent=lambda fields: fields.update({"output/embeddings": []}))
    assert "another kind" in verify(generation, scripted).check("disclosure").sentence


def test_a_field_left_out(scripted: Node) -> None:
    for field in ("pooling", "normalisation", "prompt_tokens", "numerics"):
        bundle = forge_embedding(scripted, TEXTS, intent=lambda fields, field=field: fields.pop(field))  # type: ignore[misc]
        assert f"lacks the field '{field}'" in verify(bundle, scripted).check("disclosure").sentence


def test_an_outsiders_edits(scripted: Node) -> None:
    bundle = scripted.embed(TEXTS).bundle

    def check(edit: Any) -> str:
        return verify(edited(bundle, edit), scripted).check("disclosure").status

    def one_bit(plain: Any) -> None:
        said = line(plain, "output/embeddings")["value"]
        said[0] = changed(said[0])

    assert check(lambda plain: None) == "passed"
    assert check(one_bit) == "failed"
    assert check(lambda plain: line(plain, "output/embeddings")["value"].reverse()) == "failed"
    assert check(lambda plain: line(plain, "pooling").update(value="last")) == "failed"
    assert check(lambda plain: line(plain, "inputs/0000")["value"].update(content="Other.")) == "failed"


def test_what_is_named_is_required(scripted: Node) -> None:
    bundle = scripted.embed(TEXTS[:1]).bundle
    assert refused(verify(bundle, scripted, prompt=TEXTS[0])) == set()
    assert refused(verify(bundle, scripted, prompt=TEXTS[1])) == {"prompt"}
    assert "nonce" in refused(verify(bundle, scripted, nonce=A_NONCE))
    for pin, wanted in (("mean", set()), ("last", {"pinned"})):
        policy = msgspec.convert({"pin": {"pooling": pin}, "accept": {"finishes": ["end"]}}, Policy)
        assert refused(verify(bundle, scripted, policy=policy)) == wanted


# --- the real model ---------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_honest_embeddings_replay_exactly(model_node: Node, model_home: Path) -> None:
    report = verity.verify(model_node.embed(TEXTS).bundle, key=model_node.key.id, home=model_home, threads=1)
    assert report.passed, str(report)
    assert report.check("replayed-exact").evidence["vectors"] == 3
    last = model_node.embed(TEXTS[:1], pooling="last", normalisation="none").bundle
    replayer = ProcessReplayer(model_node.blobs, model_node.numerics, threads=2, micro_batch=3)
    assert verity.verify(last, key=model_node.key.id, home=model_home, replayer=replayer).passed


@pytest.mark.model
def test_the_real_model_catches_one_bit(model_node: Node, model_home: Path) -> None:
    lie = vectors(lambda v: [v[0], changed(v[1], 500), v[2]])
    report = verity.verify(
        forge_embedding(model_node, TEXTS, result=lie), key=model_node.key.id, home=model_home, threads=1
    )
    assert [c.name for c in report.failed] == ["replayed-exact"]
    assert report.check("replayed-exact").evidence["number"] == 500
