"""An answer with adapters, from the request to the exact replay: on a tiny model that runs in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forger import forge, forge_scoring
from gguf import gguf, tiny
from in_process import REPLY, in_process
from lora import SMOLLM2, TINY, lora, lora_metadata, lora_tensors

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import AdapterNotFound, EngineError, UsageError
from verity.node import Node
from verity.store import catalogue, gc
from verity.store.adapters import Adapters
from verity.store.pull import pull
from verity.verify.policy import Policy
from verity.verify.report import Report

ASKED: dict[str, Any] = {"model": "tiny", "max_tokens": 12, "temperature": 0.7}
OTHER = "cd" * 32


@pytest.fixture
def node(home: Path) -> Iterator[Node]:
    """A device with a tiny model, the adapters `calm` and `short` that fit it, and `foreign` that does not."""
    with verity.open(home, threads=1) as node:
        (home / "tiny.gguf").write_bytes(tiny())
        base = pull(str(home / "tiny.gguf"), node.blobs).blake3
        for number, (name, fits) in enumerate([("calm", base), ("short", base), ("foreign", OTHER)]):
            (home / f"{name}.gguf").write_bytes(lora(fits, seed=number, shapes=TINY, strength=1.0))
            Adapters(node.blobs).add(home / f"{name}.gguf")
        yield node


def verify(node: Node, bundle: Any, **options: Any) -> Report:
    known: dict[str, Any] = {
        "model": node.blobs.resolve("tiny")[1].blake3,
        "home": node.home,
        "threads": 1,
        "key": node.key.id,
    }
    return verity.verify(bundle, **(known | options))


def field(answer: verity.Answer, name: str) -> Any:
    disclosure = answer.bundle.disclosure
    assert not isinstance(disclosure, msgspec.UnsetType)
    return next(line.value for line in disclosure.intent if line.field == name)


def status(report: Report, name: str) -> str:
    return next(check.status for check in report.checks if check.name == name)


@pytest.mark.model
def test_the_answer_is_replayed_exactly_with_the_same_adapters(node: Node) -> None:
    plain = node.ask("Why?", **ASKED, nonce=b"n" * 32)
    answer = node.ask("Why?", **ASKED, nonce=b"n" * 32, adapters=["calm", ("short", 0.5)])
    calm, short = (Adapters(node.blobs).resolve(name) for name in ("calm", "short"))
    assert field(answer, "adapters") == [
        {"name": a.name, "blake3": a.blake3, "sha256": a.sha256, "size": a.size, "base": a.base, "scale": scale}
        for a, scale in ((calm, 1.0), (short, 0.5))
    ]
    assert answer.tokens != plain.tokens
    assert answer.numerics != plain.numerics
    report = verify(node, answer.bundle, adapters=["calm", short.sha256])
    assert report.passed, str(report)
    assert status(report, "replayed-exact") == status(report, "model") == "passed"
    again = node.ask("Why?", **ASKED, nonce=b"n" * 32)
    assert (again.tokens, again.numerics) == (plain.tokens, plain.numerics)
    assert field(again, "adapters") == []
    size = node.log.size()
    node.ask("And?", **ASKED, adapters=[calm.blake3, (short.blake3[:12], 0.5)])
    assert node.log.size() == size + 2  # the numerics of this set are declared already


@pytest.mark.model
def test_the_model_alone_is_not_what_changed_it(node: Node) -> None:
    answer = node.ask("Why?", **ASKED, adapters=["calm", "short"])
    for named in ([], ["calm"], ["short", "calm"], ["calm", "short", "foreign"]):
        assert status(verify(node, answer.bundle, adapters=named, replay=False), "model") == "failed"
    known = Adapters(node.blobs)
    digests = [known.resolve("calm").base, known.resolve("calm").sha256, known.resolve("short").blake3]
    for listed, expected in ((digests, "passed"), (digests[:2], "failed")):
        policy = msgspec.convert({"trust": {"models": listed}}, Policy)
        assert status(verify(node, answer.bundle, model=None, policy=policy, replay=False), "model") == expected
    plain = node.ask("Why?", **ASKED)
    assert status(verify(node, plain.bundle, adapters=["calm"], replay=False), "model") == "failed"


@pytest.mark.model
def test_its_states_are_those_under_the_adapters(node: Node) -> None:
    base = node.blobs.resolve("tiny")[1].blake3
    (node.home / "keys.gguf").write_bytes(lora(base, seed=9, shapes={"attn_k": TINY["attn_q"]}, strength=1.0))
    Adapters(node.blobs).add(node.home / "keys.gguf")
    answer = node.ask("Why?" * 9, **ASKED, adapters=["keys", ("short", 0.5)])
    kept = node.states(answer.receipt)
    (node.home / "states" / answer.receipt).unlink()
    plain = node.ask("Why?" * 9, **ASKED)
    assert node.states(answer.receipt) == kept  # computed again under them, and the other answer's without
    assert node.states(plain.receipt)[0] != kept[0]  # of the same prompt
    options: dict[str, Any] = {"adapters": ["keys", "short"], "spot": 99}
    assert status(verify(node, answer.bundle, states=node.states, **options), "spot-checked") == "passed"
    other = verify(node, answer.bundle, states=lambda *_: node.states(plain.receipt), **options)
    assert status(other, "spot-checked") == "failed"


@pytest.mark.model
def test_another_device_needs_the_file_and_says_how_to_get_it(node: Node, tmp_path: Path) -> None:
    answer = node.ask("Why?", **ASKED, adapters=["calm"])
    calm = Adapters(node.blobs).resolve("calm")
    with verity.open(tmp_path / "other", threads=1) as other:
        pull(str(node.home / "tiny.gguf"), other.blobs)
        options = {"home": other.home, "adapters": [calm.blake3]}
        report = verify(node, answer.bundle, **options)
        missing = next(check for check in report.checks if check.name == "replayed-exact")
        assert missing.status == "not made"
        assert f"verity adapters add FILE --base {calm.base}" in missing.sentence
        unnamed = verify(node, answer.bundle, **options | {"adapters": ()})
        assert f"blake3 {calm.blake3}" in next(c.sentence for c in unnamed.checks if c.name == "replayed-exact")
        Adapters(other.blobs).add(node.home / "calm.gguf")
        assert verify(node, answer.bundle, **options).passed
        assert other.numerics.known(calm.base) == {}, "what ran a stranger's adapter says nothing of the model alone"
    gc.remove_adapter(node.blobs, "calm")
    assert status(verify(node, answer.bundle, adapters=[calm.blake3]), "replayed-exact") == "not made"


@pytest.mark.model
@pytest.mark.parametrize("said", [["calm", ("short", 0.75)], ["calm"], []], ids=["scale", "less", "none"])
def test_who_signs_other_adapters_than_were_used_does_not_pass(node: Node, said: list[Any]) -> None:
    """The liar also claims the numerics that go with the adapters that he names."""
    honest = node.ask("Why?", **ASKED, adapters=said)

    def edit(fields: dict[str, Any]) -> None:
        fields.update(adapters=field(honest, "adapters"), numerics=field(honest, "numerics"))

    bundle = forge(node, "Why?", **ASKED, adapters=["calm", "short"], intent=edit)
    report = verify(node, bundle, adapters=[each if isinstance(each, str) else each[0] for each in said])
    assert status(report, "replayed-exact") == "failed", str(report)


@pytest.mark.model
def test_numerics_are_those_of_one_set_with_its_scales_in_its_order(node: Node) -> None:
    sets: list[list[Any]] = [[], ["calm"], [("calm", 0.5)], ["calm", "short"], ["short", "calm"]]
    measured = [node.load("tiny", adapters=adapters).numerics for adapters in sets]
    assert len({numerics.fingerprint for numerics in measured}) == len(sets)
    assert all(numerics.exact for numerics in measured)


@pytest.mark.model
def test_a_receipt_whose_base_contradicts_the_adapters_own_file_fails(node: Node) -> None:
    foreign = Adapters(node.blobs).resolve("foreign")
    used = {"blake3": foreign.blake3, "sha256": foreign.sha256, "size": foreign.size, "name": "x", "scale": 1.0}
    base = node.blobs.resolve("tiny")[1].blake3
    bundle = forge(node, **ASKED, intent=lambda f: f.update(adapters=[{**used, "base": base}]))
    report = verify(node, bundle, adapters=[foreign.blake3])
    failed = next(check for check in report.failed if check.name == "replayed-exact")
    assert "fits another model" in failed.sentence
    bundle = forge(node, **ASKED, intent=lambda f: f.update(adapters=[{**used, "base": base, "size": 7}]))
    assert status(verify(node, bundle, adapters=[foreign.blake3]), "replayed-exact") == "failed"


def hostile(base: str, kind: str) -> bytes:
    """An adapter that passes for one by what it says of itself, and is none."""
    metadata, tensors = lora_metadata(base), lora_tensors(1, TINY, 1.0, 1)
    name = next(iter(tensors))
    if kind == "cut":
        return gguf(metadata, tensors)[:-500]
    if kind == "count":
        return gguf(metadata, tensors, counts=(1 << 60, None))
    if kind == "dims":
        return gguf(metadata, tensors, dims={name: [1 << 31, 1 << 31]})
    return gguf(metadata, tensors, offsets={name: 1 << 62})


@pytest.mark.model
@pytest.mark.parametrize("kind", ["cut", "count", "dims", "offset"])
def test_a_hostile_adapter_cannot_be_replayed_and_harms_nobody(node: Node, kind: str) -> None:
    base = node.blobs.resolve("tiny")[1].blake3
    (node.home / "hostile.gguf").write_bytes(hostile(base, kind))
    added = Adapters(node.blobs).add(node.home / "hostile.gguf")
    said = {"blake3": added.blake3, "sha256": added.sha256, "size": added.size, "name": "x", "scale": 1.0, "base": base}
    bundle = forge(node, **ASKED, intent=lambda f: f.update(adapters=[said]))
    assert status(verify(node, bundle, adapters=["hostile"]), "replayed-exact") == "not made"


@pytest.mark.model
def test_one_that_does_not_fit_the_weights_is_refused_by_the_engine(node: Node) -> None:
    (node.home / "wide.gguf").write_bytes(lora(node.blobs.resolve("tiny")[1].blake3, shapes=SMOLLM2))
    Adapters(node.blobs).add(node.home / "wide.gguf")
    with pytest.raises(EngineError, match="does not fit this model"):
        node.ask("Why?", **ASKED, adapters=["wide"])
    assert field(node.ask("Why?", **ASKED), "adapters") == []


@pytest.mark.slow
@pytest.mark.model
def test_the_default_model_with_an_adapter_is_replayed_exactly(model_home: Path, tmp_path: Path) -> None:
    with verity.open(model_home, threads=1) as node:
        base = node.blobs.resolve(catalogue.DEFAULT)[1].blake3
        (tmp_path / "real.gguf").write_bytes(lora(base, layers=3))
        Adapters(node.blobs).add(tmp_path / "real.gguf")
        answer = node.ask("Why is the sky blue?", max_tokens=12, adapters=[("real", 0.25)])
        report = verity.verify(answer.bundle, home=model_home, threads=1, model=base, adapters=["real"])
        gc.remove_adapter(node.blobs, "real")
        assert report.passed, str(report)
        assert answer.numerics.exact


# --- without a model --------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(home: Path) -> Iterator[Node]:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        base = node.load().model["blake3"]
        for number, (name, fits) in enumerate([("calm", base), ("short", base), ("foreign", OTHER)]):
            (home / f"{name}.gguf").write_bytes(lora(fits, seed=number, shapes=TINY))
            Adapters(node.blobs).add(home / f"{name}.gguf")
        yield node


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        (["foreign"], UsageError, f"fits the model {OTHER}"),
        (["calm", "calm"], UsageError, "twice"),
        ([("calm", 0)], UsageError, "scaled by 0"),
        ([("calm", float("nan"))], UsageError, "scaled by nan"),
        ([("calm", 10**400)], UsageError, "scaled"),
        ([("calm", "1")], UsageError, "no number"),
        ([("calm", True)], UsageError, "no number"),
        (["nobody"], AdapterNotFound, "no adapter 'nobody'"),
        (["calm"] * 9, UsageError, "at most 8"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_logged(
    fake: Node, wanted: list[Any], error: type[Exception], said: str
) -> None:
    size = fake.log.size()
    with pytest.raises(error, match=said):
        fake.ask("Why?", adapters=wanted)
    assert fake.log.size() == size


def test_both_digests_are_named_to_whom_it_does_not_fit(fake: Node) -> None:
    with pytest.raises(UsageError) as refused:
        fake.ask("Why?", adapters=["foreign"])
    assert fake.load().model["blake3"] in str(refused.value)
    assert refused.value.hint


def test_the_fake_follows_adapters_and_the_pure_replay_too(fake: Node) -> None:
    answer = fake.ask("Why?", adapters=["calm", ("short", 0.5)], temperature=0.9)
    report = verity.verify(answer.bundle, key=fake.key.id, home=fake.home, replayer=in_process)
    assert [check.name for check in report.failed] == ["engine"]
    assert status(report, "replayed-exact") == "passed"
    assert fake.ask("Why?", temperature=0.0).text == REPLY


def test_a_request_of_somebody_else_names_no_adapters(fake: Node) -> None:
    issued = fake.issuer.issue("Why?", model=fake.load().model["blake3"], max_tokens=8)
    with pytest.raises(UsageError, match="a request fixes"):
        fake.ask(request=issued, adapters=["calm"])
    fake.load(adapters=["calm"])
    assert field(fake.ask(request=issued), "adapters") == []


def test_adapters_change_scores_and_are_named(node: Node) -> None:
    plain, changed = (node.score("ab", "cd", model="tiny", adapters=adapters) for adapters in ((), ("calm",)))
    assert plain.logprobs != changed.logprobs
    report = verify(node, changed.bundle)
    assert status(report, "replayed-exact") == "passed", str(report)
    assert "changed by adapters" in report.check("replayed-exact").sentence
    lie = {"adapters": [], "numerics": msgspec.to_builtins(plain.numerics)}
    hidden = forge_scoring(node, "ab", "cd", model="tiny", adapters=["calm"], intent=lambda f: f.update(lie))
    assert status(verify(node, hidden), "replayed-exact") == "failed"
