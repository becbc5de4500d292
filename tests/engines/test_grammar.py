"""What a grammar lets through, and which grammars are refused before anything is asked."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.engines.grammar import MAX_SOURCE, Grammar, _Spelled, compiler, json_schema, lark
from verity.engines.scripted import END, ScriptedEngine
from verity.engines.tool_calls import parse_calls
from verity.errors import UsageError

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/grammar.json").read_text())
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


@pytest.mark.parametrize("case", VECTORS["texts"], ids=lambda case: case["desc"])
def test_what_a_grammar_allows(case: dict[str, Any]) -> None:
    """The vectors were written by hand: what the specification says, not what the compiler does."""
    assert _allows(Grammar(compiler(), case["kind"], case["source"]), case["text"]) is case["allowed"]


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["desc"])
def test_what_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ScriptedEngine().constrain(Grammar(compiler(), case["kind"], case["source"]))


@pytest.mark.parametrize("case", VECTORS["calls"], ids=lambda case: case["desc"])
def test_calls_in_a_text(case: dict[str, Any]) -> None:
    assert msgspec.to_builtins(parse_calls(case["text"])) == case["calls"]


def test_the_vectors_are_of_the_compiler_that_is_installed() -> None:
    assert VECTORS["compiler"] == compiler()


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
    defs: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 8} for n in range(20)}
    with pytest.raises(UsageError, match="does not define"):
        json_schema({"$ref": "#/$defs/d0", "$defs": defs})


@pytest.mark.parametrize("order", [1, -1], ids=["from the first", "from the last"])
def test_a_chain_of_references_has_a_bound(order: int) -> None:
    def chain(length: int) -> dict[str, Any]:
        defs = [(f"d{n}", {"$ref": f"#/$defs/d{n + 1}"}) for n in range(1, length)]
        defs.append((f"d{length}", {"type": "string"}))
        return {"$defs": dict(defs[::order]), "$ref": "#/$defs/d1"}

    assert json_schema(chain(24)).kind == "json_schema"
    for length in (25, 1500):
        with pytest.raises(UsageError, match="more than 24 references"):
            json_schema(chain(length))


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


class _FewPieces:
    """A vocabulary of some letters and pairs of them, and one byte that no token has."""

    pieces = (b"", b"a", b"b", b"ab", b"ba", b"aab", b"abba")
    vocabulary = len(pieces)

    def piece(self, token: int) -> bytes:
        return self.pieces[token]

    def is_end(self, token: int) -> bool:
        return token == 0


@given(st.lists(st.text("abc", min_size=60, max_size=150), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_forced_text_is_spelled_the_same_however_it_is_reached(texts: list[str], draw: random.Random) -> None:
    spelled, left = _Spelled(_FewPieces(), [0]), [text.encode() for text in texts]
    while left:  # several answers in turn, each by one token a time
        at = draw.randrange(len(left))
        found = spelled(left[at])
        assert found == _Spelled(_FewPieces(), [0])(left[at])
        skipped = left[at].lstrip(b"c")
        left[at] = skipped[len(spelled.tokens[found[0]]) :] if found else b""
        left = [text for text in left if text]
    assert len(spelled._ahead) <= 16


def test_a_long_forced_text_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = _Spelled._read
    sizes: list[int] = []

    def counted(self: _Spelled, text: bytes) -> list[int]:
        sizes.append(len(text))
        return read(self, text)

    monkeypatch.setattr(_Spelled, "_read", counted)
    engine = ScriptedEngine()
    constraint = engine.constrain(json_schema({"const": "x" * 5000}))
    for token in b'"' + b"x" * 200:
        assert np.isfinite(constraint.apply(np.zeros(engine.vocabulary, dtype=np.float32))[token])
        constraint.push(token)
    assert max(sizes) >= 5000
    assert sum(sizes) <= 3 * max(sizes)
