"""Functions as tools: what the model is told of them, and that no call of its own making does harm."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from verity.errors import UsageError
from verity.functions import MAX_RESULT_BYTES, Function, Functions
from verity.statements.receipt import ToolCall
from verity.tools import grammar_for


@dataclasses.dataclass
class Place:
    town: str
    country: str = "IT"


def weather(
    place: Place, days: Annotated[int, Meta(ge=1, le=7, description="how many")] = 3, *, unit: Literal["c", "f"] = "c"
) -> dict[str, Any]:
    """The weather of a place.

    In the days to come.
    """
    if place.town == "Atlantis":
        raise LookupError("it sank")
    return {"town": place.town, "days": days, "unit": unit}


def test_the_text_says_what_the_model_must_know() -> None:
    assert json.loads(Function(weather).text) == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a place.\n\nIn the days to come.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {
                        "type": "object",
                        "properties": {"town": {"type": "string"}, "country": {"type": "string"}},
                        "required": ["town"],
                        "additionalProperties": False,
                    },
                    "days": {"type": "integer", "minimum": 1, "maximum": 7, "description": "how many"},
                    "unit": {"enum": ["c", "f"]},
                },
                "required": ["place"],
                "additionalProperties": False,
            },
        },
    }
    assert grammar_for([Function(weather).text]) is not None


def test_a_call_is_made_with_values_of_the_types() -> None:
    result = Function(weather)('{"place": {"town": "Rome"}, "unit": "f"}')
    assert json.loads(result) == {"town": "Rome", "days": 3, "unit": "f"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ('{"place": {"town": "Atlantis"}}', "LookupError: it sank"),
        ("{}", "BadArguments: Object missing required field `place`"),
        ('{"place": {"town": 1}}', "BadArguments: Expected `str`, got `int` - at `$.place.town`"),
        ('{"place": {"town": "Rome"}, "days": 8}', "BadArguments: Expected `int` <= 7 - at `$.days`"),
        ('{"place": {"town": "Rome"}, "more": 8}', "BadArguments: Object contains unknown field `more`"),
        ("[]", "BadArguments: Expected `object`, got `array`"),
        ("{", "BadArguments: Input data was truncated"),
    ],
)
def test_what_goes_wrong_is_the_result(arguments: str, error: str) -> None:
    assert json.loads(Function(weather)(arguments)) == {"error": error}


@given(st.text() | st.dictionaries(st.sampled_from(["place", "days", "x"]), st.integers() | st.text()).map(json.dumps))
def test_any_arguments_give_a_result(arguments: str) -> None:
    assert isinstance(json.loads(Function(weather)(arguments)), dict)


def _giving(result: Any) -> Function:
    def give() -> Any:
        return result

    return Function(give)


class Record:
    """As pydantic's models do it."""

    def model_dump_json(self) -> str:
        return '{"kept":true}'


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("sunny", "sunny"),
        (None, "null"),
        ([1, 2.5], "[1,2.5]"),
        (Place("Rome"), '{"town":"Rome","country":"IT"}'),
        (Record(), '{"kept":true}'),
        ("x" * MAX_RESULT_BYTES, "x" * MAX_RESULT_BYTES),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_result_is_json_and_a_text_stays(result: Any, text: str) -> None:
    assert _giving(result)("{}") == text


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("x" * (MAX_RESULT_BYTES + 1), "ResultTooLarge"),
        ("\u20ac" * (MAX_RESULT_BYTES // 2), "ResultTooLarge"),
        (object(), "TypeError"),
        ("\ud800", "UnicodeEncodeError"),
    ],
    ids=["large", "large in bytes", "no JSON", "no Unicode"],
)
def test_a_result_that_cannot_be_told_is_an_error(result: Any, error: str) -> None:
    assert json.loads(_giving(result)("{}"))["error"].startswith(f"{error}: ")


def test_an_error_of_many_words_is_cut() -> None:
    def shout() -> None:
        raise ValueError("x" * 100_000)

    assert len(Function(shout)("{}")) < 1100


def test_an_interrupt_is_not_a_result() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Function(stop)("{}")


def test_a_tool_that_there_is_not() -> None:
    said = json.loads(Functions([weather]).run(ToolCall("wether", "{}")))
    assert said == {"error": "UnknownTool: there is no tool 'wether'; there are weather"}


def untyped(x):  # type: ignore[no-untyped-def]
    return x


def many(*values: int) -> None: ...


def named(**values: int) -> None: ...


def positional(x: int, /) -> None: ...


def unreadable(x: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def a_set(x: set[int]) -> None: ...


async def later() -> None:
    await asyncio.sleep(0)


def piecemeal() -> Iterator[int]:
    yield 1


async def both() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("tool", [untyped, many, named, positional, unreadable, a_set, later, piecemeal, both, 7, int])
def test_what_cannot_be_offered_is_refused(tool: Callable[..., Any]) -> None:
    with pytest.raises(UsageError) as caught:
        grammar_for(Functions([tool]).texts)
    assert caught.value.hint


@pytest.mark.parametrize("tools", [[lambda: 1], [weather, weather]], ids=["no name", "one name twice"])
def test_names_are_names(tools: list[Callable[..., Any]]) -> None:
    with pytest.raises(UsageError):
        grammar_for(Functions(tools).texts)
