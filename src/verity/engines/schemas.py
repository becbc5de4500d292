"""JSON schemas as they come from outside: read strictly, and refused where an answer by them would have no bound."""

from __future__ import annotations

from typing import Any

from verity.errors import FormatError, UsageError
from verity.statements.strict import load

MAX_SCHEMA = 1 << 16
MAX_REFERENCES = 24
"""That lead on from one to the next: each costs a verifier stack, and JSON's own depth is bounded already."""
_HINT = "see docs/typed-output.md for what a schema may hold"
_REFUSED = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef", "x-guidance")
_BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
"""Keywords whose members are schemas under names of the author's."""
_VALUES = ("const", "enum", "default", "examples")
"""Keywords that hold values, not schemas."""


def check_schema(source: str) -> str:
    """``source``, once it is known to be a JSON object that refers to its own parts only, and in no circle.

    Raises UsageError.
    """
    try:
        schema = load(source.encode("utf-8"), dict[str, Any], limit=MAX_SCHEMA, what="schema")
    except (FormatError, UnicodeEncodeError) as error:
        raise UsageError(f"the schema cannot be read: {error}", "give a JSON object of at most 64 KiB") from error
    _References(schema).follow(schema, top=True)
    return source


class _References:
    """Walks a schema and everything that it refers to, each part once."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._open: list[str] = []
        self._done: dict[str, int] = {}

    def follow(self, node: Any, *, top: bool = False) -> int:
        """How many references ``node`` holds one inside the other."""
        if isinstance(node, list):
            return max(map(self.follow, node), default=0)
        if not isinstance(node, dict):
            return 0
        deepest = 0
        for name, value in node.items():
            if name in _REFUSED or (name == "$id" and not top):
                raise UsageError(f"the schema uses {name!r}, which is not supported", _HINT)
            if name == "$ref":
                deepest = max(deepest, self._enter(value))
            elif name in _BY_NAME and isinstance(value, dict):
                deepest = max(deepest, *map(self.follow, value.values()), 0)
            elif name not in _VALUES:
                deepest = max(deepest, self.follow(value))
        return deepest

    def _enter(self, ref: Any) -> int:
        if ref in self._open or ref == "#":
            raise UsageError(
                f"the schema is recursive ({str(ref)[:100]}): an answer by it would have no bound",
                "write out the levels that you need, one definition for each",
            )
        target = self._resolve(ref)
        if ref not in self._done:
            self._open.append(ref)
            self._check_depth(len(self._open))
            self._done[ref] = 1 + self.follow(target)
            self._open.pop()
        self._check_depth(len(self._open) + self._done[ref])
        return self._done[ref]

    def _check_depth(self, references: int) -> None:
        if references > MAX_REFERENCES:
            raise UsageError(f"the schema has more than {MAX_REFERENCES} references one inside the other", _HINT)

    def _resolve(self, ref: Any) -> Any:
        if not isinstance(ref, str) or not ref.startswith("#/"):
            raise UsageError(f"the schema refers to {str(ref)[:100]!r}, outside itself", "put it under '$defs'")
        node: Any = self._root
        for part in ref[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or name not in node:
                raise UsageError(f"the schema refers to {ref[:100]!r}, which it does not define", "put it in '$defs'")
            node = node[name]
        return node
