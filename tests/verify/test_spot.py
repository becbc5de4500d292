"""The spot check: every honest answer passes it, whichever segments are drawn, and silence is told from refusal."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forger import forge
from in_process import REPLY, in_process

import verity
from verity.answer import Answer
from verity.engines.grammar import json_schema
from verity.engines.scripted import ScriptedEngine
from verity.errors import EngineError, FetchError, FormatError, UsageError
from verity.exporter import NOTHING
from verity.node import Node
from verity.statements.segments import SEGMENT_TOKENS
from verity.verify import spot
from verity.verify.report import Check
from verity.verify.spot import draw

LONG = "Why is the sky blue, and why is the evening sky red, and what of the green flash?"


@pytest.fixture
def node(home: Path) -> Any:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as opened:
        yield opened


def segments(answer: Answer) -> int:
    disclosure: Any = answer.bundle.disclosure
    return len(disclosure.segments)


def check(node: Node, answer: Any, count: int = 99, **options: Any) -> Check:
    bundle = getattr(answer, "bundle", answer)
    given: dict[str, Any] = {"states": node.states, "replayer": in_process, "key": node.key.id, "home": node.home}
    return verity.verify(bundle, spot=count, **given | options).check("spot-checked")


def one(monkeypatch: pytest.MonkeyPatch, *picked: int) -> None:
    monkeypatch.setattr(spot, "draw", lambda segments, count: list(picked))


ANSWERS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "drawn": {"temperature": 1.2, "top_k": 0, "top_p": 1.0},
    "filtered": {"temperature": 1.0, "top_p": 0.9, "min_p": 0.05},
    "penalties": {"temperature": 0.9, "repetition_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": 0.3},
    "stop": {"temperature": 0.0, "stops": ["more"]},
    "length": {"temperature": 0.0, "max_tokens": 17},
    "one token": {"temperature": 0.0, "max_tokens": 1},
    "grammar": {"temperature": 0.7, "grammar": json_schema({"enum": ["red", "blue", "Blue light is scattered"]})},
    "grammar, cut": {"temperature": 0.7, "max_tokens": 9, "grammar": json_schema({"type": "string"})},
}


@pytest.mark.parametrize("options", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("prompt", ["Why?", LONG], ids=["short", "long"])
def test_every_segment_of_an_honest_answer_passes_alone(
    prompt: str, options: dict[str, Any], node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = node.ask(prompt, **options)
    count = segments(answer)
    disclosure: Any = answer.bundle.disclosure
    tokens = next(line.value for line in disclosure.intent if line.field == "prompt_tokens")
    assert count == -(-(len(tokens) + len(answer.tokens) - 1) // SEGMENT_TOKENS)
    assert check(node, answer).status == "passed"
    for index in range(count):
        one(monkeypatch, index)
        found = check(node, answer)
        assert (found.status, found.evidence["segments"], found.evidence["of"]) == ("passed", [index], count)
        assert found.evidence["catch_probability"] == 1 / count


def test_segments_of_the_prompt_alone_are_checked(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = node.ask(LONG, temperature=0.0, max_tokens=1)
    assert segments(answer) == 3  # the last settles the only token; the first two are all prompt
    one(monkeypatch, 0, 1)
    assert check(node, answer).status == "passed"


def test_more_than_there_are_is_all(node: Node) -> None:
    answer = node.ask(LONG, temperature=0.0)
    found = check(node, answer, 10_000)
    assert found.evidence["segments"] == list(range(segments(answer)))
    assert found.evidence["catch_probability"] == 1.0
    assert f"{segments(answer)} of {segments(answer)} transitions are exact" in found.sentence


@pytest.mark.parametrize("tokens", [0, 1, 12])
def test_an_answer_that_was_cut_off(tokens: int, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = node.stream(LONG, temperature=0.0)
    if tokens:
        for _ in range(tokens):
            next(stream)
    else:  # before the first token
        monkeypatch.setattr("verity.runner.write", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
    stream.close()
    answer = stream.answer
    assert answer is not None
    assert answer.finish == "cancelled"
    assert len(answer.tokens) == tokens
    found = check(node, answer)
    if tokens:
        assert (found.status, segments(answer)) == ("passed", -(-(len(LONG) + 8 + tokens - 1) // SEGMENT_TOKENS))
    else:
        assert (found.status, segments(answer)) == ("not made", 0)
        assert "commits to no segments" in found.sentence


def _interrupted(*_: Any) -> Iterator[str]:
    """An answer that was cut off while the prompt was evaluated."""
    yield from map(_raise, "x")


def _raise(_: str) -> str:
    raise KeyboardInterrupt


def test_the_draw_is_of_all_segments_alike() -> None:
    drawn = [draw(6, 2) for _ in range(3000)]
    assert all(picked == sorted(set(picked)) and len(picked) == 2 for picked in drawn)
    counts = Counter(index for picked in drawn for index in picked)
    assert set(counts) == set(range(6))
    assert all(800 < count < 1200 for count in counts.values())  # a thousand each; six deviations are 155


# --- who does not answer ----------------------------------------------------------------------------------------------


def promised(node: Node, seconds: int | None, finished: str | None = None) -> Any:
    def intent(fields: dict[str, Any]) -> None:
        fields["retention"] = {"segments_s": seconds} if seconds is not None else None

    def result(fields: dict[str, Any]) -> None:
        fields["time/finished"] = finished or fields["time/finished"]

    return forge(node, LONG, model="scripted", intent=intent, result=result, evaluated=lambda e: e, temperature=0.0)


def silent(_: str, segments: Sequence[int]) -> list[bytes]:
    return []


def in_part(node: Node, chunks: int) -> Callable[[str, Sequence[int]], list[bytes]]:
    return lambda receipt, segments: node.states(receipt, segments)[:chunks]


@pytest.mark.parametrize(
    ("seconds", "finished", "status", "why"),
    [
        (3600, None, "failed", "promised to until"),
        (0, "2026-01-01T00:00:00Z", "not made", "the promise ended"),
        (3600, "2026-01-01T00:00:00Z", "not made", "the promise ended"),
        (None, None, "not made", "nothing was promised"),
        (1 << 40, "2026-01-01T00:00:00Z", "failed", "promised to until"),
        (3600, "9999-12-31T23:59:59Z", "failed", "promised to until"),
    ],
)
def test_silence(seconds: int | None, finished: str | None, status: str, why: str, node: Node) -> None:
    bundle = promised(node, seconds, finished)
    found = check(node, bundle, states=silent)
    assert found.status == status, found
    assert why in found.sentence
    assert found.evidence["unanswered"] == found.evidence["asked"][1:]
    report = verity.verify(bundle, spot=99, states=silent, replayer=in_process, key=node.key.id)
    assert "spot-checked" in report.required


@pytest.mark.parametrize(
    "finished", ["2026-13-01T00:00:00Z", "2026-01-01T00:00:60Z", "yesterday", "2026-01-01 00:00:00Z"]
)
def test_a_time_that_is_none_is_no_excuse(finished: str, node: Node) -> None:
    assert check(node, promised(node, 3600, finished), states=silent).status == "failed"


def test_answering_only_some_segments_is_silence(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = promised(node, 3600)
    one(monkeypatch, 0, 1, 3)
    assert check(node, bundle, states=in_part(node, 3)).status == "passed"
    found = check(node, bundle, states=in_part(node, 2))
    assert (found.status, found.evidence["unanswered"]) == ("failed", [3])
    one(monkeypatch, 0, 1)
    assert check(node, bundle, states=in_part(node, 1)).status == "passed"
    one(monkeypatch, 0)  # nothing is needed for it
    assert check(node, bundle, states=silent).status == "passed"


def test_the_day_of_the_promise(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3600)
    assert f"{soon:%Y-%m-%d}" in check(node, promised(node, 3600), states=silent).sentence


@pytest.mark.parametrize("error", [FetchError("no route"), UsageError("no file", "name it"), EngineError("others")])
def test_who_cannot_be_asked_is_not_silent(error: Exception, node: Node) -> None:
    def broken(_: str, segments: Sequence[int]) -> list[bytes]:
        raise error

    found = check(node, promised(node, 3600), states=broken)
    assert found.status == "not made"
    assert str(error) in found.sentence
    assert found.evidence["asked"]


def test_a_damaged_answer_fails(node: Node) -> None:
    def damaged(_: str, segments: Sequence[int]) -> list[bytes]:
        raise FormatError("cut short")

    assert check(node, promised(node, None), states=damaged).status == "failed"


# --- what else keeps it from being made -------------------------------------------------------------------------------


def test_what_is_not_opened_is_not_checked(node: Node) -> None:
    answer = node.ask(LONG, temperature=0.0)
    disclosure: Any = answer.bundle.disclosure
    plain = msgspec.structs.replace(disclosure, segments=[])
    found = check(node, msgspec.structs.replace(answer.bundle, disclosure=plain))
    assert (found.status, found.sentence) == ("not made", "The segments were not disclosed.")
    assert check(node, node.exporter.bundle(answer.receipt, NOTHING)).status == "not made"
    bare = forge(node, LONG, model="scripted", temperature=0.0)
    assert check(node, bare).sentence == "The receipt commits to no segments."


def test_the_whole_is_replayed_too_when_it_is_asked_for(node: Node) -> None:
    answer = node.ask(LONG, temperature=0.0)
    given: dict[str, Any] = {"states": node.states, "replayer": in_process, "key": node.key.id}
    report = verity.verify(answer.bundle, spot=1, replay=True, **given)
    assert [report.check(n).status for n in ("replayed-exact", "spot-checked")] == ["passed", "passed"]
    assert {"replayed-exact", "spot-checked"} <= set(report.required)
    report = verity.verify(answer.bundle, spot=1, **given)
    assert [report.check(n).status for n in ("replayed-exact", "spot-checked")] == ["not made", "passed"]
    assert "replayed-exact" not in report.required


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "3"])
def test_a_number_of_segments_that_is_none(count: Any, node: Node) -> None:
    with pytest.raises(UsageError, match="one segment or more"):
        check(node, node.ask("Why?", temperature=0.0), count)


def test_states_without_a_spot_check_and_the_other_way_round(node: Node) -> None:
    bundle = node.ask("Why?", temperature=0.0).bundle
    with pytest.raises(UsageError, match="states are for a spot check"):
        verity.verify(bundle, states=node.states, replayer=in_process)
    with pytest.raises(UsageError, match="needs the prover's states"):
        verity.verify(bundle, spot=1, replayer=in_process)
