"""From a type to a JSON Schema that a model is held to, and from the model's text back to a value of the type.

The schema's text is what the receipt commits to, so it is one text for one type: references are put in place, objects
closed, words for human readers left out. Fields stand in the order of the type; those with defaults may be missing.
What a grammar cannot hold (recursion, sets, anything without a form of its own) is refused here, before a model runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from verity.errors import TypedOutputError, UsageError

MAX_NODES = 10_000
"""Parts of a schema once its references are put in place: they may double at every level."""

_WORDS = ("title", "default", "examples", "deprecated", "readOnly", "writeOnly")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_INSTEAD: dict[type[Any], str] = {
    msgspec.inspect.SetType: "a set has no grammar: use list[…] with msgspec.Meta(max_length=…)",
    msgspec.inspect.FrozenSetType: "a frozenset has no grammar: use list[…] with msgspec.Meta(max_length=…)",
    msgspec.inspect.AnyType: "Any has no form to hold a model to: name the type",
    msgspec.inspect.RawType: "msgspec.Raw has no form to hold a model to: name the type",
    msgspec.inspect.BytesType: "bytes have no JSON form that a model writes: use str",
    msgspec.inspect.ByteArrayType: "bytes have no JSON form that a model writes: use str",
    msgspec.inspect.MemoryViewType: "bytes have no JSON form that a model writes: use str",
    msgspec.inspect.DecimalType: "use str with a pattern, or float",
    msgspec.inspect.DateTimeType: "use datetime.date, or str with a pattern",
    msgspec.inspect.TimeType: "use str with a pattern",
    msgspec.inspect.TimeDeltaType: "use a number and say its unit in the field's name",
    msgspec.inspect.CustomType: "a pydantic model stands alone or in another; classes are dataclasses or Structs",
}


class Schema:
    """What an answer must look like. ``text`` is the JSON Schema, ``read`` gives the value.

    ``returns`` is a pydantic model, a dataclass, TypedDict, msgspec.Struct, NamedTuple, Enum, Literal, Union, list,
    tuple, dict, str, int, float, bool, date or UUID, with ranges and patterns in Annotated[…, msgspec.Meta(…)]; or a
    JSON Schema itself, as a dict or a text, and the value is then plain. Raises UsageError for what cannot be held to.
    """

    def __init__(self, returns: Any) -> None:
        self._decode: Callable[[str], Any] = msgspec.json.decode
        if isinstance(returns, str):
            self.text = returns
        elif isinstance(returns, dict):
            self.text = _dump(returns)
        else:
            self.text = _dump(document(returns))
            self._decode = getattr(returns, "model_validate_json", msgspec.json.Decoder(returns).decode)

    def read(self, text: str, *, finish: str = "end") -> Any:
        """The value that ``text`` spells, of an answer that ended by ``finish``. Raises TypedOutputError."""
        whole = finish in ("end", "stop")
        if not whole and text.rstrip()[-1:].isdigit():  # a number has no end of its own
            raise TypedOutputError("the answer was cut off in a number", _hint(finish))
        try:
            return self._decode(text)
        except (ValueError, RecursionError) as error:  # msgspec's and pydantic's are the first
            said = f"the answer is not what was asked for: {str(error)[:300]}"
            raise TypedOutputError(
                said if whole else "the answer was cut off before it was whole", _hint(finish)
            ) from error


def _hint(finish: str) -> str:
    if finish == "length":
        return "raise max_tokens; what was written is on record (the error's `answer`)"
    return "the answer is on record (the error's `answer`)"


def partial(text: str) -> Any:
    """The value that ``text`` begins, as plain values: strings as far as they go. None while there is nothing yet."""
    import jiter

    try:
        return jiter.from_json(text.encode(), partial_mode="trailing-strings")
    except ValueError:
        return None


def document(kind: Any, *, words: bool = False) -> dict[str, Any]:
    """The JSON Schema of a type, references put in place; with the descriptions if ``words``. Raises UsageError."""
    by_pydantic = getattr(kind, "model_json_schema", None)
    schema = by_pydantic() if callable(by_pydantic) else _by_msgspec(kind)
    found: dict[str, Any] = _Expansion(schema.get("$defs", {}), _name(kind), words).expand(schema)
    return found


def _by_msgspec(kind: Any) -> dict[str, Any]:
    try:
        for part in _parts(msgspec.inspect.type_info(kind), set()):
            if (hint := _INSTEAD.get(type(part))) is not None:
                raise UsageError(f"{_name(kind)} cannot be held to: it has a {type(part).__name__}", hint)
        return msgspec.json.schema(kind)
    except (TypeError, NotImplementedError, NameError, KeyError, RecursionError) as error:  # KeyError: two of one name
        raise UsageError(f"{_name(kind)} is no type that an answer can have: {str(error)[:300]}", _HOW) from error


_HOW = "see docs/typed-output.md for the types; a function's or a class's type hints must be importable"


def _parts(info: Any, seen: set[int]) -> Iterator[Any]:
    """Every type inside a type, once."""
    if isinstance(info, (tuple, list)):
        for member in info:
            yield from _parts(member, seen)
    elif isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(info) not in seen:
        seen.add(id(info))
        if isinstance(info, msgspec.inspect.Type):
            yield info
        for name in info.__struct_fields__:
            yield from _parts(getattr(info, name), seen)


class _Expansion:
    """Writes one schema out: references in place, objects closed, words dropped."""

    def __init__(self, definitions: dict[str, Any], name: str, words: bool) -> None:
        self._definitions = definitions
        self._name = name
        self._dropped = _WORDS if words else (*_WORDS, "description")
        self._open: list[str] = []
        self._nodes = 0

    def expand(self, node: Any) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise UsageError(f"the schema of {self._name} has more than {MAX_NODES:,} parts", "use a smaller type")
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return self._expand_reference(node)
        kept = {key: value for key, value in node.items() if key not in (*self._dropped, "$defs", "discriminator")}
        if "discriminator" in node and "oneOf" in kept:  # the tags keep the alternatives apart
            kept["anyOf"] = kept.pop("oneOf")
        for key, value in kept.items():
            if key == "properties":
                kept[key] = {name: self.expand(member) for name, member in value.items()}
            elif key in _LISTS:
                kept[key] = [self.expand(member) for member in value]
            elif key in ("items", "additionalProperties"):
                kept[key] = self.expand(value)
        if not kept or "uniqueItems" in kept:
            what = "a set" if kept else "a value of any form"
            raise UsageError(f"{self._name} has {what}, which no grammar holds", "use list[…], or name the type")
        return self._close(kept) if kept.get("type") == "object" else kept

    def _expand_reference(self, node: dict[str, Any]) -> Any:
        name = str(node["$ref"]).rpartition("/")[2]
        if name in self._open:
            raise UsageError(
                f"{self._name} contains itself, through {name}: an answer of that type has no bound",
                "write the levels out, or use a flat list that refers by number",
            )
        if name not in self._definitions:
            raise UsageError(f"{self._name} refers to {name!r}, which is not defined in it", "define it there")
        self._open.append(name)
        found = self.expand(self._definitions[name])
        self._open.pop()
        said = "description" in node and "description" not in self._dropped
        return {**found, "description": node["description"]} if said else found

    def _close(self, node: dict[str, Any]) -> dict[str, Any]:
        others = node.get("additionalProperties")
        if isinstance(others, dict) and others:
            return node
        if "properties" not in node:
            raise UsageError(f"{self._name} has an object of any form", "name the type of its values: dict[str, int]")
        return {**node, "additionalProperties": False}


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)


def _dump(schema: dict[str, Any]) -> str:
    try:
        return json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"this JSON Schema is not JSON: {error}", "give plain values") from error
