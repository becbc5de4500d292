"""What a grammar lets through, and which grammars are refused before anything is asked."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.engines.grammar import MAX_SOURCE, Grammar, compiler, json_schema, lark
from verity.engines.scripted import END, ScriptedEngine
from verity.errors import UsageError

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def _allows(grammar: Grammar, text: str) -> bool:
    """Whether ``text``, byte by byte, is a whole answer under the grammar."""
    engine = ScriptedEngine()
    constraint = engine.constrain(grammar)
    logits = np.zeros(engine.vocabulary, dtype=np.float32)
    for token in (*text.encode(), END):
        if not np.isfinite(constraint.apply(logits)[token]):
            return False
        constraint.push(token)
    return True


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ('{"name": "Ada", "age": 36}', True),
        ('{"name": "Ada", "age": 0}', False),
        ('{"name": "Ada", "age": 100}', False),
        ('{"age": 36, "name": "Ada"}', False),
        ('{"name": "Ada Lovelace", "age": 36}', False),
        ('{"name": "Ada", "age": 36, "x": 1}', False),
        ('{"name": "Ada"}', False),
        ('{"name": "Ada", "age": 36} ', False),
        ("", False),
    ],
)
def test_a_schema_allows_its_texts_and_no_others(text: str, allowed: bool) -> None:
    assert _allows(json_schema(PERSON), text) is allowed


def test_the_order_of_properties_is_that_of_the_text() -> None:
    turned = {**PERSON, "properties": dict(reversed(PERSON["properties"].items()))}
    assert _allows(json_schema(turned), '{"age": 36, "name": "Ada"}')
    assert json_schema(turned).source != json_schema(PERSON).source
    assert json_schema(PERSON).compiler == compiler()


CIRCLE = {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]}, "b": {"items": {"$ref": "#/$defs/a"}}}
RECURSIVE: list[dict[str, Any]] = [
    {"$ref": "#"},
    {"type": "object", "properties": {"default": {"$ref": "#"}}},
    {"$ref": "#/$defs/a", "$defs": CIRCLE},
    {"properties": {"a": {"$ref": "#/properties/a"}}},
]
KEYWORDS = ["type", "properties", "items", "anyOf", "$ref", "enum", "const", "pattern", "minimum", "maxItems"]
VALUES = st.none() | st.booleans() | st.integers() | st.text()


@pytest.mark.parametrize("schema", RECURSIVE, ids=json.dumps)
def test_recursion_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="recursive"):
        json_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "[]",
        '{"type": "object", "type": "string"}',
        '{"a": ' * 200 + "1" + "}" * 200,
        json.dumps({"enum": ["x" * MAX_SOURCE]}),
        '{"$ref": "http://example.com/schema"}',
        '{"$ref": "#/$defs/none"}',
        '{"properties": {"a": {"$id": "b", "$ref": "#/x"}}}',
        '{"x-guidance": {"lenient": true}}',
        '{"type": "no such type"}',
        '{"not": {"type": "string"}}',
        '{"type": "string", "pattern": "(?=a)b"}',
        '{"type": "string", "pattern": "("}',
        '"\ud800"',
    ],
    ids=lambda text: text[:40],
)
def test_what_cannot_be_enforced_is_refused(schema: str) -> None:
    with pytest.raises(UsageError) as caught:
        json_schema(schema)
    assert caught.value.hint


def test_many_references_to_one_part_are_followed_once() -> None:
    defs: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 8} for n in range(30)}
    with pytest.raises(UsageError, match="does not define"):
        json_schema({"$ref": "#/$defs/d0", "$defs": defs})


@given(st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYWORDS), inner)))
def test_any_schema_is_compiled_or_refused(schema: Any) -> None:
    try:
        grammar = json_schema(json.dumps(schema))
    except UsageError:
        return
    assert grammar.kind == "json_schema"


@given(st.text(max_size=60))
def test_any_lark_is_compiled_or_refused(source: str) -> None:
    try:
        assert lark(f"start: {source}").kind == "lark"
    except UsageError:
        return
