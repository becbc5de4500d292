"""Schemas for tests of typed output: a prompt that fits each, how many tokens suffice, and those that are refused.

A number without a step has no end: a small model goes on with zeros. A half, a quarter and so on are exact in binary.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    name: str
    prompt: str
    schema: dict[str, Any]
    max_tokens: int = 160


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(longest: int = 16, **more: Any) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest, **more}


def _list(items: dict[str, Any], most: int = 3, least: int = 1) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _whole(least: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


_POINT = _object(x=_whole(-9, 9), y=_whole(-9, 9))

CASES = [
    Case("flat object", "Describe a person.", _object(name=_text(), age=_whole(0, 120))),
    Case("nested object", "Describe a house.", _object(owner=_object(name=_text()), at=_object(on=_POINT))),
    Case("array of strings", "Name three planets.", _list(_text(12))),
    Case("array of objects", "Name two friends.", _list(_object(name=_text(12), old={"type": "boolean"}), 2)),
    Case("array in array", "Draw a small matrix.", _list(_list(_whole(0, 9)), 3)),
    Case("enumeration", "Which colour has the sky?", {"enum": ["red", "green", "blue"]}),
    Case("enumeration of kinds", "Yes, no, or nothing?", {"enum": ["yes", 0, 1.5, None, True]}),
    Case("integer range", "How many legs has a cat?", _whole(1, 8)),
    Case("number range", "What is half of one?", {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.25}),
    Case(
        "exclusive range",
        "Give a number.",
        {"type": "number", "exclusiveMinimum": 10, "exclusiveMaximum": 11, "multipleOf": 0.125},
    ),
    Case("multiple", "Give a multiple of five.", {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100}),
    Case("union", "Answer with a word or a number.", {"anyOf": [_text(12), _whole(0, 99)]}),
    Case(
        "tagged union",
        "Draw a shape.",
        {"anyOf": [_object(kind={"const": "circle"}, r={"enum": [1, 2]}), _object(kind={"const": "line"}, to=_POINT)]},
    ),
    Case("pattern", "Give a licence plate.", {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}),
    Case("lengths", "Say something short.", {"type": "string", "minLength": 3, "maxLength": 24}),
    Case("format", "When did it happen?", _object(day={"type": "string", "format": "date"}), 64),
    Case("nullable", "Who is it, if you know?", _object(name={"type": ["string", "null"], "maxLength": 12})),
    Case("constant", "Which version?", _object(version={"const": 3}, name={"const": "verity \u2713"})),
    Case(
        "references",
        "Give a line from one point to another.",
        {
            "$defs": {"point": _POINT, "line": _object(start={"$ref": "#/$defs/point"}, end={"$ref": "#/$defs/point"})},
            "$ref": "#/$defs/line",
        },
    ),
    Case(
        "optional fields",
        "Describe a book.",
        {**_object(title=_text(20), year=_whole(1400, 2100)), "required": ["title"]},
    ),
]  # fmt: skip

_NODE = _object(name=_text(), next={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]})

REFUSED: list[tuple[str, Any]] = [
    ("recursion", {"$defs": {"node": _NODE}, "$ref": "#/$defs/node"}),
    ("recursion at the root", {"type": "array", "items": {"$ref": "#"}}),
    ("remote reference", {"$ref": "https://example.org/schema.json"}),
    ("reference to a file", {"$ref": "other.json#/a"}),
    ("missing definition", {"$ref": "#/$defs/none"}),
    ("not", {"not": {"type": "string"}}),
    ("unique items", {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    ("look-ahead", {"type": "string", "pattern": "(?=a)a"}),
    ("overlapping oneOf", {"oneOf": [_object(a={"type": "integer"}), _object(a={"type": "number"})]}),
    ("unknown type", {"type": "word"}),
    ("impossible", {"type": "integer", "minimum": 2, "maximum": 1}),
    ("not an object", []),
    ("not JSON", "{"),
]
"""What is refused before a model runs."""
