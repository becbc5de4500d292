"""From types to schemas and back: what a model is held to, what is refused, and what is made of what it wrote."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import json
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta
from schemas import CASES, REFUSED, Case

import verity
from verity.engines.grammar import json_schema
from verity.engines.scripted import END, ScriptedEngine
from verity.errors import TypedOutputError, UsageError
from verity.node import Node
from verity.typed import Schema, partial

Short = Annotated[str, Meta(max_length=6)]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Person:
    title: Annotated[str, Meta(max_length=6, description="how to address them")]
    age: Annotated[int, Meta(ge=0, le=120)]
    colour: Colour = Colour.RED


class Point(NamedTuple):
    x: int
    y: int


class Place(TypedDict):
    at: Point
    name: NotRequired[str]


class Circle(msgspec.Struct, tag="circle"):
    r: Annotated[int, Meta(ge=1, le=9)]


class Line(msgspec.Struct, tag="line"):
    ends: Annotated[list[Annotated[int, Meta(ge=0, le=9)]], Meta(min_length=2, max_length=2)]


class Tree(msgspec.Struct):
    branches: list[Tree]


class Even(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        if self.value % 2:
            raise ValueError("odd")


# --- to a schema ------------------------------------------------------------------------------------------------------


def test_an_object_is_closed_in_the_order_of_the_type_and_without_words() -> None:
    assert json.loads(Schema(Person).text) == {
        "type": "object",
        "properties": {
            "title": {"type": "string", "maxLength": 6},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "colour": {"enum": ["blue", "red"]},
        },
        "required": ["title", "age"],
        "additionalProperties": False,
    }
    assert list(json.loads(Schema(Person).text)["properties"]) == ["title", "age", "colour"]


TYPES: list[tuple[Any, str, Any]] = [
    (Person, '{"title": "Dr", "age": 3}', Person("Dr", 3)),
    (Place, '{"at": [1, 2], "name": "x"}', {"at": Point(1, 2), "name": "x"}),
    (Circle | Line, '{"type": "line", "ends": [1, 2]}', Line([1, 2])),
    (list[Circle], '[{"type": "circle", "r": 2}]', [Circle(2)]),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (Colour, '"red"', Colour.RED),
    (Literal["a", 1], "1", 1),
    (int | str | None, "null", None),
    (bool, "true", True),
    (float, "2.5", 2.5),
    (datetime.date, '"2024-02-29"', datetime.date(2024, 2, 29)),
    (uuid.UUID, f'"{uuid.UUID(int=5)}"', uuid.UUID(int=5)),
]


@pytest.mark.parametrize(("kind", "text", "value"), TYPES, ids=lambda part: str(part)[:40])
def test_a_type_is_held_to_and_read(kind: Any, text: str, value: Any) -> None:
    schema = Schema(kind)
    assert json_schema(schema.text).source == schema.text
    jsonschema.validate(json.loads(text), json.loads(schema.text), cls=jsonschema.Draft202012Validator)
    assert schema.read(text) == value


def test_the_same_type_has_the_same_text() -> None:
    assert Schema(list[Person]).text == Schema(list[Person]).text


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Tree, "contains itself"),
        (list[Tree], "contains itself"),
        (set[int], "SetType"),
        (frozenset[str], "FrozenSetType"),
        (list[Any], "AnyType"),
        (dict[str, Any], "AnyType"),
        (dict, "AnyType"),
        (bytes, "BytesType"),
        (decimal.Decimal, "DecimalType"),
        (datetime.datetime, "DateTimeType"),
        (datetime.timedelta, "TimeDeltaType"),
        (Circle | Person, "Type unions"),
        (list[int] | list[str], "Type unions"),
        (complex, "CustomType"),
        (lambda: 1, "not supported"),
        (7, "not supported"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_what_has_no_grammar_is_refused_and_the_hint_says_what_to_do(kind: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        Schema(kind)
    assert caught.value.hint


def test_a_type_that_doubles_at_every_level_is_refused() -> None:
    kind: Any = int
    for level in range(16):
        kind = msgspec.defstruct(f"Level{level}", [("a", kind), ("b", kind)])
    with pytest.raises(UsageError, match="more than 10,000 parts"):
        Schema(kind)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_schema_is_taken_as_it_is(case: Case) -> None:
    text = json.dumps(case.schema)
    assert Schema(text).text == text
    assert json.loads(Schema(case.schema).text) == case.schema
    assert json_schema(Schema(case.schema).text)


@pytest.mark.parametrize(("name", "schema"), REFUSED, ids=[name for name, _ in REFUSED])
def test_a_schema_that_cannot_be_held_to_is_refused_before_anything_is_logged(
    name: str, schema: Any, scripted: Node
) -> None:
    scripted.load()
    before = scripted.log.size()
    given = schema if isinstance(schema, (str, dict)) else json.dumps(schema)
    with pytest.raises(UsageError) as caught:
        scripted.ask("Why?", returns=given)
    assert caught.value.hint
    assert scripted.log.size() == before


# --- pydantic, which Verity does not import ---------------------------------------------------------------------------


def test_a_pydantic_model() -> None:
    pydantic = pytest.importorskip("pydantic")
    cat = pydantic.create_model(
        "Cat", kind=(Literal["cat"], ...), lives=(Annotated[int, pydantic.Field(ge=1, le=9)], 9)
    )
    dog = pydantic.create_model("Dog", kind=(Literal["dog"], ...))
    pet = Annotated[cat | dog, pydantic.Field(discriminator="kind")]  # type: ignore[valid-type]
    home = pydantic.create_model("Home", pet=(pet, ...), street=(str | None, None))
    schema = Schema(home)
    assert json_schema(schema.text)
    assert "$ref" not in schema.text
    read = schema.read('{"pet": {"kind": "cat", "lives": 7}}')
    assert isinstance(read, home)
    assert read.pet.lives == 7
    with pytest.raises(TypedOutputError):
        schema.read('{"pet": {"kind": "cow"}}')
    for field in (set[int], dict[str, Any], Any):
        with pytest.raises(UsageError):
            Schema(pydantic.create_model("Odd", field=(field, ...)))


# --- and back ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "finish", "says", "hint"),
    [
        (Person, '{"title": "D', "length", "cut off before it was whole", "max_tokens"),
        (Person, "", "cancelled", "cut off before it was whole", "on record"),
        (int, "12", "length", "cut off in a number", "max_tokens"),
        (Person, '{"title": "Dr"', "stop", "not what was asked for", "on record"),
        (Person, '{"title": "Dr", "age": 121}', "end", "not what was asked for", "on record"),
        (Even, '{"value": 3}', "end", "odd", "on record"),
    ],
)
def test_what_is_no_value_says_so(kind: Any, text: str, finish: str, says: str, hint: str) -> None:
    with pytest.raises(TypedOutputError, match=says) as caught:
        Schema(kind).read(text, finish=finish)
    assert hint in caught.value.hint


def test_what_is_whole_is_read_though_it_was_cut_off_there() -> None:
    assert Schema(Person).read('{"title": "Dr", "age": 3}', finish="length") == Person("Dr", 3)


@given(st.text() | st.sampled_from(["1", "[1]", '"\\ud800"', "1e999", "9" * 5000, "[" * 5000, '{"title": 1}']))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    for kind in (Person, list[int], int | None, {"type": "object"}):
        try:
            Schema(kind).read(text)
        except TypedOutputError:
            continue


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_beginning_is_a_partial_value_or_none(text: str) -> None:
    for end in range(len(text)):
        partial(text[:end])


def test_a_partial_value_grows() -> None:
    whole = '{"title": "Dr", "tags": ["a", "b"]}'
    seen = [partial(whole[:end]) for end in range(len(whole) + 1)]
    assert seen[0] is None
    assert {"title": "D"} in seen
    assert seen[-1] == json.loads(whole)


# --- under a grammar --------------------------------------------------------------------------------------------------

_FIELDS = st.sampled_from([Short, bool, Colour, Literal["a", "b"], Annotated[int, Meta(ge=-5, le=5)], Circle, Person])
_NUMBERS = itertools.count()
_TYPES = st.recursive(
    _FIELDS,
    lambda inner: (
        inner.map(lambda kind: Annotated[list[kind], Meta(max_length=2)])  # type: ignore[valid-type]
        | st.dictionaries(st.sampled_from(["a", "title", "type", "$ref"]), inner, min_size=1, max_size=3).map(
            lambda fields: TypedDict(f"Made{next(_NUMBERS)}", fields)  # type: ignore[operator]
        )
    ),
    max_leaves=5,
)


LONGEST = 1 << 16
"""Bytes: far more than any of these types needs."""


def written(schema: Schema, seed: int) -> str:
    """A text that the grammar allows, drawn without regard to sense."""
    engine, noise = ScriptedEngine(), np.random.default_rng(seed)
    constraint, text = engine.constrain(json_schema(schema.text)), bytearray()
    while len(text) < LONGEST:
        token = int(np.argmax(constraint.apply(noise.normal(size=engine.vocabulary).astype(np.float32))))
        if token == END:
            return text.decode()
        text.append(token)
        constraint.push(token)
    raise AssertionError("the grammar lets an answer go on")


@settings(max_examples=60)
@given(_TYPES, st.integers(0, 1 << 32))
def test_whatever_a_grammar_lets_through_is_a_value_of_the_type(kind: Any, seed: int) -> None:
    schema = Schema(kind)
    text = written(schema, seed)
    jsonschema.validate(json.loads(text), json.loads(schema.text), cls=jsonschema.Draft202012Validator)
    schema.read(text)
    assert partial(text) == json.loads(text)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A device whose fake writes at random, for as long as an answer may be."""
    with verity.open(tmp_path_factory.mktemp("roomy"), engine=ScriptedEngine(context_size=1 << 17)) as node:
        yield node


@settings(max_examples=10)
@given(_TYPES, st.binary(min_size=16, max_size=16))
def test_an_answer_has_a_value_of_the_type(roomy: Node, kind: Any, nonce: bytes) -> None:
    answer = roomy.ask("Anything?", returns=kind, nonce=nonce, temperature=1.0, top_k=0, max_tokens=LONGEST)
    assert answer.finish == "end"
    assert answer.value == Schema(kind).read(answer.text)


def test_an_answer_that_was_cut_off_keeps_its_receipt(scripted: Node) -> None:
    with pytest.raises(TypedOutputError) as caught:
        scripted.ask("Who?", returns=Person, max_tokens=3)
    answer = caught.value.answer
    assert answer.finish == "length"
    report = verity.verify(answer.bundle, home=scripted.home, replay=False)
    assert [check.name for check in report.failed] == ["engine"]


def test_a_grammar_and_a_type_are_not_both_taken(scripted: Node) -> None:
    with pytest.raises(UsageError, match="twice"):
        scripted.ask("Who?", returns=Person, grammar=json_schema({"type": "integer"}))
