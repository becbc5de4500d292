"""Python functions as tools: a text that tells the model of each, and a call whose arguments are checked first.

A model's call is a stranger's word. Arguments that do not fit, a name that there is not, and whatever the function
raises become results that say so: the model may try again, and the receipts record what happened.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from verity.errors import TypedOutputError, UsageError
from verity.statements.receipt import ToolCall
from verity.typed import Schema, document

MAX_RESULT_BYTES = 64 << 10
_MAX_WORDS = 4096
_NOT_PLAIN = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class Function:
    """One function, offered to a model. Raises UsageError for one that cannot be."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = getattr(function, "__name__", "")
        if any(is_one(function) for is_one in _NOT_PLAIN):
            raise UsageError(f"the tool {self.name} is asynchronous or a generator", "wrap it in a plain function")
        self._function = function
        self._arguments = Schema(struct := _struct(self.name, function))
        self._fields = struct.__struct_fields__
        described = {"name": self.name, "description": _words(function), "parameters": document(struct, words=True)}
        self.text = json.dumps({"type": "function", "function": described}, ensure_ascii=False)

    def __call__(self, arguments: str) -> str:
        """Call it with arguments as a model wrote them (a JSON object), and return the result's text."""
        try:
            values = self._arguments.read(arguments)
        except TypedOutputError as error:
            return failure("BadArguments", str(error.__cause__ or error))
        try:
            result = self._function(**{name: getattr(values, name) for name in self._fields})
            text = result if isinstance(result, str) else _encode(result)
            size = len(text.encode())
        except Exception as error:  # whatever it is, the model is told and the receipt records it
            return failure(type(error).__name__, str(error))
        if size > MAX_RESULT_BYTES:
            return failure("ResultTooLarge", f"{size:,} bytes, and a result has at most {MAX_RESULT_BYTES:,}")
        return text


class Functions:
    """What a conversation offers: ``texts`` for the model, ``run`` for its calls. Raises UsageError."""

    def __init__(self, tools: Sequence[Callable[..., Any]] = ()) -> None:
        made = [Function(tool) for tool in tools]
        self.texts = [tool.text for tool in made]
        self._functions = {tool.name: tool for tool in made}

    def __bool__(self) -> bool:
        return bool(self._functions)

    def run(self, call: ToolCall) -> str:
        """The text of the call's result; also when it went wrong."""
        if call.name not in self._functions:
            known = ", ".join(self._functions)
            return failure("UnknownTool", f"there is no tool {call.name[:64]!r}; there are {known}")
        return self._functions[call.name](call.arguments)


def failure(kind: str, message: str) -> str:
    """The result of a call that went wrong."""
    return json.dumps({"error": f"{kind}: {message[:1000]}"}, ensure_ascii=True)


def _struct(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    """The function's parameters as a Struct, which checks a call's arguments."""
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = typing.get_type_hints(function, include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        raise UsageError(f"the type hints of the tool {name} cannot be read: {error}", _HINTS) from error
    fields: list[Any] = []
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"the tool {name} has a parameter without a name of its own: {parameter}", _HINTS)
        if parameter.name not in hints:
            raise UsageError(f"the parameter {parameter.name} of the tool {name} has no type hint", _HINTS)
        default = () if parameter.default is parameter.empty else (_default(parameter.default),)
        fields.append((parameter.name, hints[parameter.name], *default))
    try:
        return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the tool {name} cannot be offered: {error}", _HINTS) from error


_HINTS = "a tool is a function whose parameters have names and type hints, such as def weather(city: str) -> str"


def _default(value: Any) -> Any:
    """The function's own default; a factory, for msgspec refuses lists and dicts themselves."""
    return msgspec.field(default_factory=lambda: value)


def _words(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "")[:_MAX_WORDS]


def _encode(result: Any) -> str:
    """A result as JSON. Raises TypeError for what has none."""
    if callable(to_json := getattr(result, "model_dump_json", None)):
        return str(to_json())
    return msgspec.json.encode(result).decode()
