"""The spot check of the real model's answers, each segment replayed in a locked-down process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import verity
from verity.engines.grammar import json_schema
from verity.node import Node
from verity.verify import spot

pytestmark = pytest.mark.model

SENTENCE = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}, "why": {"type": "string"}}}
ANSWERS: dict[str, dict[str, Any]] = {
    "drawn": {"temperature": 0.9, "max_tokens": 40},
    "greedy": {"temperature": 0.0, "max_tokens": 40},
    "penalties": {"repetition_penalty": 1.2, "frequency_penalty": 0.3, "presence_penalty": 0.3, "max_tokens": 40},
    "stop": {"stops": ["."], "max_tokens": 60},
    "grammar": {"grammar": json_schema({**SENTENCE, "required": ["colour", "why"]}), "max_tokens": 60},
    "raw": {"raw": True, "max_tokens": 40},
    "one token": {"max_tokens": 1},
}


def check(node: Node, answer: Any, count: int = 99, **options: Any) -> Any:
    given: dict[str, Any] = {"states": node.states, "key": node.key.id, "home": node.home, "threads": 1}
    return verity.verify(answer.bundle, spot=count, **given | options)


def test_an_honest_answer_passes(model_node: Node, tmp_path: Path) -> None:
    answer = model_node.ask("Why is the sky blue?", temperature=0.9, max_tokens=40)
    path = answer.save(tmp_path / "a.verity.json")
    model_node.states.export(answer.receipt, tmp_path / "a.verity.states")
    report = verity.verify(path, spot=2, key=model_node.key.id, home=model_node.home, threads=1)
    assert report.exit_code == 0, str(report)
    found = report.check("spot-checked")
    assert found.status == "passed"
    assert len(found.evidence["segments"]) == 2 < found.evidence["of"]


@pytest.mark.slow
@pytest.mark.parametrize("options", ANSWERS.values(), ids=ANSWERS)
def test_every_kind_of_answer_passes_whole(options: dict[str, Any], model_node: Node) -> None:
    answer = model_node.ask("Why is the sky blue, and why is the evening sky red?", **options)
    report = check(model_node, answer)
    found = report.check("spot-checked")
    assert (found.status, found.evidence["catch_probability"]) == ("passed", 1.0), str(report)


@pytest.mark.slow
def test_each_segment_passes_alone(model_node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = model_node.ask("Why is the sky blue?" * 20, temperature=0.9, max_tokens=70)
    disclosure: Any = answer.bundle.disclosure
    count = len(disclosure.segments)
    assert count > 4
    for index in range(count):
        monkeypatch.setattr(spot, "draw", lambda segments, count, index=index: [index])
        assert check(model_node, answer).check("spot-checked").status == "passed", index


@pytest.mark.slow
def test_a_cut_answer_passes(model_node: Node) -> None:
    stream = model_node.stream("Why is the sky blue?", temperature=0.9, max_tokens=60)
    for _ in range(20):
        next(stream)
    stream.close()
    assert stream.answer is not None
    assert stream.answer.finish == "cancelled"
    assert check(model_node, stream.answer).check("spot-checked").status == "passed"


@pytest.mark.slow
def test_another_number_of_threads_and_micro_batch_passes(model_node: Node) -> None:
    answer = model_node.ask("Why is the sky blue?", temperature=0.9, max_tokens=40)
    assert check(model_node, answer, threads=2).check("spot-checked").status == "passed"
