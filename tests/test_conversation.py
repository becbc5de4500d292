"""Conversations: receipts that name each other, tools that are run and recorded, and what is kept of an accident."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from in_process import on
from scripts import Scripts, call

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import AnswerError, ContextOverflow, TypedOutputError, UsageError
from verity.functions import MAX_RESULT_BYTES
from verity.node import Node
from verity.statements.receipt import Message

GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 400}


class Report(msgspec.Struct):
    town: Annotated[str, msgspec.Meta(max_length=8)]
    sunny: bool


def weather(town: str) -> str:
    """The weather in a town."""
    if town == "Atlantis":
        raise LookupError("it sank")
    return f"It is sunny in {town}."


@contextlib.contextmanager
def talking(home: Path, *replies: str) -> Iterator[Node]:
    with verity.open(home, engine=Scripts(*replies)) as node:
        yield node


def linked(node: Node, answers: list[Any]) -> bool:
    """Whether each receipt goes on from the one before, replays, and fails for the fake engine alone."""
    replayer = on(node.load().engine)
    for before, answer in zip([None, *answers], answers, strict=False):
        bundle = before.bundle if before is not None else None
        report = verity.verify(answer.bundle, previous=bundle, home=node.home, replayer=replayer)
        if [check.name for check in report.failed] != ["engine"] or report.unmade:
            return False
    return True


# --- turns ------------------------------------------------------------------------------------------------------------


def test_each_turn_goes_on_from_the_one_before(home: Path, tmp_path: Path) -> None:
    with talking(home, "Because.") as node, node.conversation(system="Be brief.", **GREEDY) as chat:
        for question in ("Why?", "Why so?", "Really?"):
            assert chat.ask(question).text == "Because."
        assert [message.role for message in chat.messages] == ["system", *["user", "assistant"] * 3]
        assert [answer.text for answer in chat.answers] == ["Because."] * 3
        assert linked(node, chat.answers)
        assert not linked(node, [chat.answers[0], chat.answers[2]])
        files = chat.save(tmp_path / "kept")
        assert [file.name for file in files] == ["001.verity.json", "002.verity.json", "003.verity.json"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        report = verity.verify(files[2], previous=files[1], home=home, replay=False)
        assert report.check("previous-turn").status == "passed"


def test_options_of_a_turn_stand_over_those_of_the_conversation(home: Path) -> None:
    with talking(home, "Because it is so.") as node, node.conversation(**GREEDY) as chat:
        assert chat.ask("Why?", max_tokens=7).text == "Because"
        assert chat.ask("Why?").text == "Because it is so."


def test_a_turn_that_was_left_stays_in_the_conversation(home: Path) -> None:
    with talking(home, "Because it is so.") as node, node.conversation(**GREEDY) as chat:
        with contextlib.closing(chat.stream("Why?")) as stream:
            first = next(stream)
        assert chat.answers[0].finish == "cancelled"
        assert chat.messages[-1] == Message("assistant", first)
        chat.ask("Go on.")
        assert linked(node, chat.answers)


def test_leaving_the_block_cuts_the_turn_off(home: Path) -> None:
    with talking(home, "Because it is so.") as node:
        with node.conversation(**GREEDY) as chat:
            next(chat.stream("Why?"))
        assert [answer.finish for answer in chat.answers] == ["cancelled"]


def test_another_question_to_the_node_cuts_the_turn_off(home: Path) -> None:
    with talking(home, "Because it is so.") as node, node.conversation(**GREEDY) as chat:
        stream = chat.stream("Why?")
        next(stream)
        assert node.ask("And you?", **GREEDY).finish == "end"
        assert list(stream) == []
        assert stream.answer is not None
        assert (stream.answer.finish, len(chat.answers)) == ("cancelled", 1)


def test_a_turn_that_was_never_begun_is_none(home: Path) -> None:
    with talking(home, "Because it is so.") as node, node.conversation(**GREEDY) as chat:
        forgotten = chat.stream("Why?")
        answer = chat.ask("Why so?")
        assert (list(forgotten), forgotten.answer, chat.answers) == ([], None, [answer])
        assert chat.messages[0] == Message("user", "Why so?")


def test_what_cannot_be_asked_leaves_the_conversation_as_it_was(home: Path) -> None:
    with talking(home, "Because.") as node, node.conversation(**GREEDY) as chat:
        chat.ask("Why?")
        before = chat.messages
        for prompt, max_tokens, error in (("What?", 0, UsageError), ("x" * (1 << 15), 1, ContextOverflow)):
            with pytest.raises(error):
                chat.ask(prompt, max_tokens=max_tokens)
        assert (chat.messages, len(chat.answers)) == (before, 1)


# --- types ------------------------------------------------------------------------------------------------------------


def test_a_turn_has_a_value(home: Path) -> None:
    with talking(home, '{"town": "Rome", "sunny": true}') as node, node.conversation(**GREEDY) as chat:
        assert chat.ask("Where?", returns=Report).value == Report("Rome", True)
        assert chat.ask("Where?", returns={"enum": ["a", "b"]}).value in ("a", "b")
        assert not hasattr(chat.ask("Where?"), "value")
        assert linked(node, chat.answers)


def test_the_value_so_far(home: Path) -> None:
    with talking(home, '{"town": "Rome", "sunny": true}') as node:
        stream = node.stream("Where?", returns=Report, **GREEDY)
        seen = list(stream.partial())
        towns = [value["town"] for value in seen if value]
        assert towns == sorted(towns)
        assert {"", "Ro", "Rome"} <= set(towns)
        assert seen[-1] == {"town": "Rome", "sunny": True}
        assert isinstance(stream.answer, verity.TypedAnswer)
        assert stream.answer.value == Report("Rome", True)


def test_a_value_that_was_cut_off_stays_in_the_conversation(home: Path) -> None:
    with talking(home, '{"town": "Rome", "sunny": true}') as node, node.conversation(**GREEDY) as chat:
        with pytest.raises(TypedOutputError) as caught:
            chat.ask("Where?", returns=Report, max_tokens=5)
        assert caught.value.answer.receipt == chat.answers[-1].receipt
        assert chat.ask("Once more.", returns=Report).value == Report("Rome", True)
        assert linked(node, chat.answers)


# --- tools ------------------------------------------------------------------------------------------------------------


def test_a_tool_is_run_and_every_round_is_on_record(home: Path) -> None:
    replies = call("weather", town="Rome"), "Sunny."
    with talking(home, *replies) as node, node.conversation(tools=[weather], **GREEDY) as chat:
        stream = chat.stream("How is the weather in Rome?")
        assert "".join(stream) == "Sunny."
        assert stream.answer is not None
        assert [c.name for r in stream.answer.rounds for c in r.tool_calls] == ["weather"]
        assert chat.messages[-2] == Message("user", "<tool_response>\nIt is sunny in Rome.\n</tool_response>")
        assert stream.answer.text == "Sunny."
        assert len(chat.answers) == 2
        assert linked(node, chat.answers)


def test_a_node_runs_tools_without_a_conversation(home: Path) -> None:
    with talking(home, call("weather", town="Rome"), '{"town": "Rome", "sunny": true}') as node:
        answer = node.ask("How is it in Rome?", tools=[weather], returns=Report, system="Be brief.", **GREEDY)
        assert answer.value == Report("Rome", True)
        assert len(answer.rounds) == 1
        assert linked(node, [*answer.rounds, answer])


def test_several_calls_in_one_round(home: Path) -> None:
    calls = "\n".join(call("weather", town=town) for town in ("Rome", "Oslo"))
    with talking(home, calls, "x", "Both sunny.") as node, node.conversation(tools=[weather], **GREEDY) as chat:
        assert chat.ask("Rome and Oslo?").text == "Both sunny."
        results = [f"<tool_response>\nIt is sunny in {town}.\n</tool_response>" for town in ("Rome", "Oslo")]
        assert chat.messages[-2].content == "\n".join(results)
        assert linked(node, chat.answers)


def large(town: str) -> str:
    return town * MAX_RESULT_BYTES


@pytest.mark.parametrize(
    ("tool", "town", "error"),
    [(weather, "Atlantis", "LookupError: it sank"), (large, "Rome", "ResultTooLarge")],
)
def test_what_a_tool_raises_is_told_to_the_model(home: Path, tool: Any, town: str, error: str) -> None:
    replies = call(tool.__name__, town=town), "Pity."
    with talking(home, *replies) as node, node.conversation(tools=[tool], **GREEDY) as chat:
        assert chat.ask("How is it there?").text == "Pity."
        told = chat.messages[-2].content.removeprefix("<tool_response>\n").removesuffix("\n</tool_response>")
        assert json.loads(told)["error"].startswith(error)
        assert linked(node, chat.answers)


def test_a_tool_may_ask_the_node_itself(home: Path) -> None:
    with talking(home, call("ponder", on="it"), "Done.") as node:

        def ponder(on: str) -> str:
            """Think."""
            return str(node.ask(f"<tool_response>\n {on}", **GREEDY).text)

        answer = node.ask("Think.", tools=[ponder], **GREEDY)
        assert (answer.text, len(answer.rounds)) == ("Done.", 1)


def test_a_model_that_calls_for_ever_is_stopped(home: Path) -> None:
    ran = []

    def again(n: int) -> int:
        ran.append(n)
        return n

    with talking(home, call("again", n=1)) as node, node.conversation(tools=[again], max_rounds=3, **GREEDY) as chat:
        with pytest.raises(AnswerError, match="3 rounds") as caught:
            chat.ask("Go.")
        assert ran == [1, 1]
        assert len(caught.value.answer.rounds) == 2
        assert len(chat.answers) == 3
        assert linked(node, chat.answers)
        with pytest.raises(AnswerError):
            chat.ask("And now?")
        assert linked(node, chat.answers)


def test_a_call_that_was_cut_off_is_not_run(home: Path) -> None:
    ran = []

    def once(n: int) -> None:
        ran.append(n)

    text = call("once", n=1)
    with talking(home, text) as node, node.conversation(tools=[once], temperature=0.0) as chat:
        for length in (len(text) // 2, len(text)):
            answer = chat.ask("Go.", max_tokens=length)
            assert (answer.finish, answer.rounds) == ("length", [])
    assert ran == []


def test_an_interrupt_in_a_tool_leaves_the_round_on_record(home: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with talking(home, call("stop")) as node, node.conversation(tools=[stop], **GREEDY) as chat:
        with pytest.raises(KeyboardInterrupt):
            chat.ask("Go.")
        assert [answer.finish for answer in chat.answers] == ["end"]


@pytest.mark.parametrize("text", ["<", "<tool", "<tool_cal", "a <tool_call>\n", "<tools>"])
def test_text_that_looks_like_a_call_is_shown(home: Path, text: str) -> None:
    with talking(home, text) as node:
        stream = node.stream("Say it.", tools=[weather], **GREEDY)
        assert "".join(stream) == text


def test_what_cannot_be_offered_is_refused_when_the_conversation_is_opened(scripted: Node) -> None:
    for tools in ([lambda: 1], [weather, weather], [7]):
        with pytest.raises(UsageError):
            scripted.conversation(tools=tools)
    with pytest.raises(UsageError):
        scripted.conversation(max_rounds=0)


def test_a_conversation_can_go_on_from_a_receipt(home: Path) -> None:
    with verity.open(home, engine=ScriptedEngine("Because.")) as node:
        first = node.ask("Why?", **GREEDY)
        said = [Message("user", "Why?"), Message("assistant", first.text), Message("user", "Really?")]
        second = node.ask(said, previous=first.turn, **GREEDY)
        typed = node.ask(
            [*said, Message("assistant", second.text), Message("user", "?")], previous=second.turn, returns=bool
        )
        for before, after in ((first, second), (second, typed)):
            report = verity.verify(after.bundle, previous=before.bundle, home=home, replay=False)
            assert report.check("previous-turn").status == "passed"
