"""Typed output on record: the grammar is committed, and a replay follows it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from in_process import REPLY, in_process

import verity
from verity.engines import grammar as grammars
from verity.engines.grammar import Grammar, json_schema
from verity.engines.scripted import ScriptedEngine
from verity.engines.tool_calls import MAX_TOOL_BYTES, parse_calls, spell_call
from verity.errors import UsageError
from verity.node import Node
from verity.statements.receipt import Message, ToolCall
from verity.tools import Turn, fold, grammar_for
from verity.verify.replay import Claim, Replayed, replay

WEATHER = json.dumps({
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
})  # fmt: skip
CHOICE = json_schema({"enum": ["red", "blue", "Blue light is scattered"]})


@pytest.fixture
def node(home: Path) -> Any:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as opened:
        yield opened


def _status(node: Node, answer: verity.Answer, replayer: Any = in_process) -> str:
    report = verity.verify(answer.bundle, home=node.home, replayer=replayer)
    return next(check.status for check in report.checks if check.name == "replayed-exact")


def test_a_constrained_answer_replays(node: Node) -> None:
    answer = node.ask("Which colour?", grammar=CHOICE)
    assert json.loads(answer.text) in ("red", "blue", "Blue light is scattered")
    assert answer.finish == "end"
    assert _status(node, answer) == "passed"


def _changed(**changes: Any) -> Any:
    def replayer(claim: Claim) -> Replayed:
        return in_process(msgspec.structs.replace(claim, **changes))

    return replayer


def test_a_replay_under_another_grammar_differs(node: Node) -> None:
    answer = node.ask("Which colour?", grammar=CHOICE)
    other = json_schema({"enum": ["green", "black"]})
    assert _status(node, answer, _changed(grammar=other)) == "failed"
    assert _status(node, answer, _changed(grammar=None)) == "failed"
    free = node.ask("Why?", temperature=0.0)
    assert _status(node, free) == "passed"
    assert _status(node, free, _changed(grammar=CHOICE)) == "failed"


def test_another_compiler_is_no_verdict(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = node.ask("Which colour?", grammar=CHOICE)
    foreign = Grammar("llguidance 0.1", "json_schema", CHOICE.source)
    assert _status(node, answer, _changed(grammar=foreign)) == "passed"
    for source in ('{"enum": ["green"]}', '{"type": "no such type"}'):
        changed = msgspec.structs.replace(foreign, source=source)
        assert _status(node, answer, _changed(grammar=changed)) == "not made"


def test_without_the_compiler(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammars, "COMPILER", "no-such-package")
    with pytest.raises(verity.VerityError, match="not installed"):
        node.ask("Which colour?", grammar=CHOICE)


def test_a_raw_prompt_has_no_template(node: Node) -> None:
    answer = node.ask("Once upon a time", raw=True, max_tokens=5)
    opened = {line.field: line.value for line in answer.bundle.disclosure.intent}  # type: ignore[union-attr]
    assert opened["template"] is None
    assert opened["prompt_tokens"] == node.load().engine.tokenize("Once upon a time")
    assert _status(node, answer) == "passed"
    assert _status(node, answer, _changed(messages=[Message("user", "Twice")])) == "failed"
    with pytest.raises(UsageError, match="raw prompt"):
        node.ask("Once", system="Be brief", raw=True)


def test_a_call_of_a_tool_is_on_record(home: Path) -> None:
    call = ToolCall("weather", '{"city": "Oslo", "days": 3}')
    engine = ScriptedEngine(spell_call(call))
    with verity.open(home, engine=engine) as node:
        messages = fold([Turn(role="user", content="Weather?")], [WEATHER])
        answer = node.ask(messages, tools=[WEATHER], grammar=grammar_for([WEATHER], "required"), temperature=0.0)
        assert answer.tool_calls == [call]
        result = {line.field: line.value for line in answer.bundle.disclosure.result}  # type: ignore[union-attr]
        assert result["output/tool_calls"] == [{"name": "weather", "arguments": call.arguments}]

        def replayer(claim: Claim) -> Replayed:
            return Replayed(claim.numerics, engine.description, replay(engine, claim))

        assert _status(node, answer, replayer) == "passed"
        lied = lambda claim: replayer(msgspec.structs.replace(claim, tool_calls=[]))  # noqa: E731
        assert _status(node, answer, lied) == "failed"
        hidden = lambda claim: replayer(msgspec.structs.replace(claim, tools=[]))  # noqa: E731
        assert _status(node, answer, hidden) == "failed"


@pytest.mark.parametrize("choice", ["auto", "required", "weather"])
def test_what_a_model_may_answer(choice: str) -> None:
    from tests.engines.test_grammar import _allows

    grammar = grammar_for([WEATHER], choice)
    assert grammar is not None
    call = spell_call(ToolCall("weather", '{"city": "Oslo"}'))
    assert _allows(grammar, call)
    assert _allows(grammar, f"{call}\n{call}")
    assert not _allows(grammar, f"{call} and more")
    assert not _allows(grammar, spell_call(ToolCall("weather", '{"city": "Paris"}')))
    assert not _allows(grammar, spell_call(ToolCall("other", "{}")))
    assert _allows(grammar, "It is <b>sunny</b>.") is (choice == "auto")
    one = grammar_for([WEATHER], choice, parallel=False)
    assert one is not None
    assert _allows(one, call)
    assert not _allows(one, f"{call}\n{call}")


def test_tools_that_are_refused() -> None:
    assert grammar_for([], "auto") is grammar_for([WEATHER], "none") is None
    for texts, choice in (
        (["{}"], "auto"), ([WEATHER, WEATHER], "auto"), ([WEATHER], "other"), ([WEATHER] * 129, "auto"),
        (['{"type": "function", "function": {"name": "a b"}}'], "auto"), (["x" * (MAX_TOOL_BYTES + 1)], "auto"),
        (['{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}'], "auto"),
        (['{"type": "function", "function": {"name": "a", "parameters": {"type": "object", "not": {}}}}'], "auto"),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            grammar_for(texts, choice)


def test_folding() -> None:
    call = ToolCall("weather", '{"city": "Oslo"}')
    turns = [
        Turn(role="system", content="Be brief."), Turn(role="user", content="Weather?"),
        Turn(role="assistant", calls=[call, call]), Turn(role="tool", content="rain"), Turn(role="tool", content="sun"),
    ]  # fmt: skip
    told = fold(turns, [WEATHER])
    assert [m.role for m in told] == ["system", "user", "assistant", "user"]
    assert told[0].content.startswith("Be brief.\n\n")
    assert WEATHER in told[0].content
    assert parse_calls(told[2].content) == [call, call]
    assert told[3].content == "<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response>"
    assert fold(turns[:2]) == [Message("system", "Be brief."), Message("user", "Weather?")]
    assert fold(turns[1:2], [WEATHER])[0].role == "system"


@pytest.mark.parametrize("text", ["", "It rains.", "<tool_call>\n{}\n</tool_call>", "a <tool_call>\n{}\n</tool_call>",
    '<tool_call>\n{"name": "a", "arguments": []}\n</tool_call>', '<tool_call>\n{"name": "a", "arguments": {}}',
    '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>x'])  # fmt: skip
def test_text_without_calls(text: str) -> None:
    assert parse_calls(text) == []


@pytest.mark.model
def test_the_real_model_under_a_grammar(model_node: Node) -> None:
    properties = {"colour": {"enum": ["red", "blue"]}, "n": {"type": "integer", "minimum": 1, "maximum": 9}}
    schema = json_schema({"type": "object", "properties": properties, "required": [*properties]})
    answer = model_node.ask("A colour and a number, as JSON.", grammar=schema, max_tokens=40)
    value = json.loads(answer.text)
    assert value["colour"] in ("red", "blue")
    assert 1 <= value["n"] <= 9
    report = verity.verify(answer.bundle, home=model_node.home, threads=1)
    assert next(c.status for c in report.checks if c.name == "replayed-exact") == "passed", str(report)
