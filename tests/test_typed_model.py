"""Typed output of the real model: every answer parses, is valid by its schema, and replays bit for bit.

One of each schema runs always, twenty-seven of each among the slow ones.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import msgspec
import pytest
from in_process import on
from schemas import CASES, Case

import verity
from verity.node import Node
from verity.replayer import ProcessReplayer
from verity.verify.verifier import Replayer

pytestmark = pytest.mark.model

CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
WAYS: list[dict[str, Any]] = [{"temperature": 0.0}, {"temperature": 1.0, "top_k": 0, "top_p": 1.0}]


def sound(node: Node, case: Case, replayer: Replayer, **sampling: Any) -> None:
    answer = node.ask(case.prompt, returns=case.schema, max_tokens=case.max_tokens, **sampling)
    value = answer.value
    assert answer.finish == "end", answer.text
    assert json.loads(answer.text) == value
    jsonschema.validate(value, case.schema, cls=jsonschema.Draft202012Validator)
    report = verity.verify(answer.bundle, home=node.home, replayer=replayer)
    assert report.check("replayed-exact").status == "passed", str(report)
    assert report.passed


@CASE
def test_one_of_each_schema(case: Case, model_node: Node) -> None:
    number = CASES.index(case) % len(WAYS)
    sound(model_node, case, on(model_node.load().engine), nonce=bytes([number]) * 32, **WAYS[number])


@pytest.mark.slow
@CASE
def test_two_of_each_schema(case: Case, model_node: Node) -> None:
    for number, way in enumerate(WAYS):
        sound(model_node, case, on(model_node.load().engine), nonce=bytes([number]) * 32, **way)


@pytest.mark.slow
@CASE
def test_twenty_five_of_each_schema(case: Case, model_node: Node) -> None:
    replayer = on(model_node.load().engine)
    for number in range(25):
        nonce, temperature = b"many" * 7 + number.to_bytes(4, "big"), 0.1 * (number + 1)
        sound(model_node, case, replayer, nonce=nonce, temperature=temperature, top_k=0, top_p=1.0)


@pytest.mark.parametrize("case", [CASES[1], CASES[12], CASES[18]], ids=lambda case: case.name)
def test_some_replay_in_a_process_of_their_own(case: Case, model_node: Node) -> None:
    sound(model_node, case, ProcessReplayer(model_node.blobs, model_node.numerics, threads=1), nonce=b"p" * 32)


def test_a_tool_is_called_and_its_result_is_read(model_node: Node, tmp_path: Path) -> None:
    seen: list[str] = []

    def find_capital(country: Annotated[str, msgspec.Meta(max_length=12)]) -> str:
        """The capital of a country."""
        seen.append(country)
        return "Rome"

    prompt = "Use the function find_capital for the country Italy."
    with model_node.conversation(tools=[find_capital], max_rounds=2, temperature=0.0, max_tokens=60) as chat:
        with contextlib.suppress(verity.AnswerError):  # a model of this size may call for ever
            chat.ask(prompt)
        files = chat.save(tmp_path)
    assert len(seen) in (0, 1)
    assert len(files) == len(seen) + 1
    replayer = on(model_node.load().engine)
    for before, file in zip([None, *files], files, strict=False):
        report = verity.verify(file, home=model_node.home, replayer=replayer, previous=before)
        assert report.passed, str(report)
