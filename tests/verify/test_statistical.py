"""Step 18: what a report says where numerics differ, by a scripted engine whose logits are a little off."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forger import forge, forge_embedding
from in_process import on
from rough import OTHER, roughly
from simulated import calibration

import verity
from verity.engines.grammar import json_schema
from verity.engines.scripted import ScriptedEngine
from verity.errors import FormatError, UsageError
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.statements.receipt import input_field
from verity.verify.calibration import Calibration
from verity.verify.margins import check_margins
from verity.verify.replay import Measured, Replayed
from verity.verify.report import Check, Report

REPLY = "The sky is blue because short waves are scattered more than long ones are. " * 3
ROUGHLY = functools.partial(roughly, reply=REPLY)


@pytest.fixture
def node(home: Path) -> Iterator[Node]:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as opened:
        yield opened


@pytest.fixture
def known(node: Node) -> Calibration:
    """A calibration for the script that this node's engine reads from."""
    return msgspec.structs.replace(calibration(), models=[node.load().model["blake3"]])


def report(bundle: Bundle, node: Node, **options: Any) -> Report:
    given: dict[str, Any] = {"key": node.key.id, "home": node.home, "replayer": ROUGHLY}
    return verity.verify(bundle, **given | options)


def statistical(bundle: Bundle, node: Node, **options: Any) -> Check:
    return report(bundle, node, **options).check("replayed-statistical")


def test_an_honest_output_passes_and_the_report_says_what_it_cannot_see(node: Node, known: Calibration) -> None:
    made = report(node.ask("Why?", temperature=0.9, max_tokens=150).bundle, node, calibration=known)
    check = made.check("replayed-statistical")
    assert check.status == "passed", str(made)
    assert "can steer within that margin" in check.sentence
    assert "exact" not in check.sentence
    assert made.check("replayed-exact").status == "not made"
    assert check.evidence["tokens"] == 150
    assert check.evidence["windows"] == 5
    assert check.evidence["flagged"] == 0
    assert check.evidence["p_value"] > 1e-3
    assert check.evidence["likelihood_ratio"] < 1.0
    assert check.evidence["false_alarm_rate"] == 1e-3
    assert check.evidence["smallest_share"] < 0.2
    assert check.evidence["calibration"]["numerics"] == ["simulated"]


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.0, "top_k": 0, "top_p": 1.0}], ids=str)
def test_honest_outputs_of_other_sampling_pass(sampling: dict[str, Any], node: Node, known: Calibration) -> None:
    bundle = node.ask("Why?", max_tokens=64, **sampling).bundle
    assert statistical(bundle, node, calibration=known).status == "passed"


def test_edited_tokens_fail_and_the_report_with_them(node: Node, known: Calibration) -> None:
    def edit(tokens: list[int], _: Any) -> list[int]:
        return [ord("#") if at % 16 == 5 else token for at, token in enumerate(tokens)]

    made = report(forge(node, tokens=edit, max_tokens=64), node, calibration=known)
    check = made.check("replayed-statistical")
    assert check.status == "failed", str(made)
    assert check in made.failed
    assert check.evidence["p_value"] <= 1e-4
    assert "one honest output in 1,000" in check.sentence


def test_what_follows_from_tokens_alone_is_exact_under_any_numerics(node: Node, known: Calibration) -> None:
    def ask_something_else(fields: dict[str, Any]) -> None:
        fields[input_field(0)] = {**fields[input_field(0)], "content": "?"}

    lies = {
        "do not follow": forge(node, intent=ask_something_else),
        "ended by": forge(node, result=lambda fields: fields.update({"output/finish": "end"})),
        "goes on": forge(node, intent=lambda fields: fields.update({"limits/max_tokens": 5})),
    }
    for why, bundle in lies.items():
        check = statistical(bundle, node, calibration=known)
        assert check.status == "failed"
        assert why in check.sentence
        assert "no difference in numerics explains" in check.sentence


def test_a_foreign_fingerprint_is_no_way_round_the_exact_replay(node: Node, known: Calibration) -> None:
    """Whoever claims it escapes to the statistical check, and by default that is not enough."""
    numerics = {"exact": True, "fingerprint": "ee" * 32}
    bundle = forge(node, intent=lambda fields: fields.update(numerics=numerics), max_tokens=64)
    made = report(bundle, node, calibration=known)
    assert made.check("replayed-statistical").status == "passed"
    assert [check.name for check in made.unmade] == ["replayed-exact"]
    lenient = msgspec.convert({"require": {"checks": ["signed", "replayed-statistical"]}}, verity.Policy)
    assert report(bundle, node, calibration=known, policy=lenient).unmade == []


def test_an_exact_replay_says_more(node: Node, known: Calibration) -> None:
    bundle = node.ask("Why?", max_tokens=40).bundle
    check = statistical(bundle, node, calibration=known, replayer=on(node.load().engine))
    assert (check.status, check.sentence) == ("not made", "The exact replay was made, which says more.")


def test_without_a_calibration_it_is_not_made(node: Node) -> None:
    check = statistical(node.ask("Why?", max_tokens=40).bundle, node)
    assert (check.status, check.sentence) == ("not made", "The calibration is of another model.")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"max_tokens": 3}, "fewer than 4 tokens"),
        ({"temperature": 1.5}, "the temperature 1.5"),
        ({"repetition_penalty": 1.5}, "these penalties"),
        ({"grammar": json_schema({"type": "boolean"})}, "does not cover grammars"),
    ],
    ids=str,
)
def test_what_was_not_calibrated_is_not_judged(asked: dict[str, Any], why: str, node: Node, known: Calibration) -> None:
    bundle = node.ask("Why?", **{"max_tokens": 40} | asked).bundle
    check = statistical(bundle, node, calibration=known)
    assert check.status == "not made"
    assert why in check.sentence


def test_another_version_of_the_engine_is_not_judged(node: Node, known: Calibration) -> None:
    bundle = node.ask("Why?", max_tokens=40).bundle
    other = msgspec.structs.replace(known, engine="2")
    assert "another version" in statistical(bundle, node, calibration=other).sentence

    def elsewhere(claim: Any) -> Replayed:
        return msgspec.structs.replace(ROUGHLY(claim), engine={"name": "scripted", "version": "2"})

    check = statistical(bundle, node, calibration=known, replayer=elsewhere)
    assert check.status == "not made"
    assert "another version" in check.sentence


def test_embeddings_and_replays_without_margins(node: Node, known: Calibration) -> None:
    embedded = statistical(forge_embedding(node, ["text"]), node, calibration=known)
    assert embedded.status == "not made"

    def without(claim: Any) -> Replayed:
        return Replayed(numerics=OTHER, engine={"name": "scripted", "version": "1"}, outcome=None)

    check = statistical(node.ask("Why?").bundle, node, calibration=known, replayer=without)
    assert (check.status, check.sentence) == ("not made", "No margins were measured.")


def test_margins_of_something_else_are_refused(node: Node) -> None:
    claims: list[Any] = []

    def keep(claim: Any) -> Replayed:
        claims.append(claim)
        return ROUGHLY(claim)

    report(node.ask("Why?", max_tokens=8).bundle, node, replayer=keep)
    check_margins(Measured([0.0] * 8), claims[0])
    for margins in ([0.0] * 7, [], [0.0] * 7 + [33.0], [0.0] * 7 + [float("nan")], [0.0] * 7 + [float("inf")]):
        with pytest.raises(FormatError):
            check_margins(Measured(margins), claims[0])


def test_a_calibration_that_cannot_be_read_is_an_error(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("{}")
    with pytest.raises((FormatError, UsageError)):
        report(node.ask("Why?").bundle, node, calibration=path)
