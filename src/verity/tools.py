"""Tools that a model may call, folded into plain messages and a grammar: one way for all models (spec/grammar.md).

The receipt's inputs are then exactly what the model was told, and its grammar is what it could answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from verity.engines.grammar import COMPACT, Grammar, json_schema, lark
from verity.engines.tool_calls import BEGIN, END, MAX_CALLS, MAX_TOOLS, Function, read_tool, spell_call
from verity.errors import FormatError, UsageError
from verity.statements.receipt import Message, ToolCall

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_CALLING = (
    "You can call these functions:\n<tools>\n{tools}\n</tools>\n"
    "To call one, answer with its name and arguments as JSON, in this form and with nothing else:\n"
    '<tool_call>\n{{"name": "function", "arguments": {{}}}}\n</tool_call>\n'
    "The result comes back in <tool_response></tool_response>."
)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a conversation with tools. ``role`` is ``system``, ``user``, ``assistant`` (with the ``calls`` that
    it made) or ``tool`` (the result of a call)."""

    role: str
    content: str = ""
    calls: Sequence[ToolCall] = ()


def fold(turns: Sequence[Turn], tools: Sequence[str] = ()) -> list[Message]:
    """The plain messages that tell a model the same: which tools there are, what it called, and what came back."""
    told: list[Message] = []
    for turn in turns:
        if turn.role == "tool":
            response = f"<tool_response>\n{turn.content}\n</tool_response>"
            if told and told[-1].role == "user" and told[-1].content.startswith("<tool_response>"):
                response = f"{told.pop().content}\n{response}"
            told.append(Message("user", response))
        else:
            parts = [*filter(None, [turn.content]), *map(spell_call, turn.calls)]
            told.append(Message(turn.role, "\n".join(parts)))
    if tools:
        calling = _CALLING.format(tools="\n".join(tools))
        if told and told[0].role == "system":
            calling = f"{told.pop(0).content}\n\n{calling}"
        told.insert(0, Message("system", calling))
    return told


def grammar_for(
    tools: Sequence[str], choice: str = "auto", *, parallel: bool = True, schema: str | None = None
) -> Grammar | None:
    """What the model may answer: ``auto`` text or calls, ``required`` calls, ``none`` text, or calls of the tool of
    this name. Text is JSON by ``schema`` if one is given, else any.

    Raises UsageError for tools that are malformed, or whose parameters no grammar can hold.
    """
    functions = _read(tools)
    if choice == "none" or not functions:
        return None if schema is None else json_schema(schema)
    if choice not in ("auto", "required"):
        functions = [f for f in functions if f.name == choice]
        if not functions:
            raise UsageError(f"there is no tool {choice[:64]!r} to choose", "name one of the tools that are offered")
    rules = [f"start: {'text | ' if choice == 'auto' else ''}calls"]
    rules.append("calls: call" + (f' ("\\n" call){{0,{MAX_CALLS - 1}}}' if parallel else ""))
    rules.append("call: " + " | ".join(f"call_{i}" for i in range(len(functions))))
    for index, function in enumerate(functions):
        opening = json.dumps(f'{BEGIN}{{"name": {json.dumps(function.name)}, "arguments": ')
        arguments = {**(function.parameters or _NO_PARAMETERS), "x-guidance": COMPACT}
        rules.append(f"call_{index}: {opening} args_{index} {json.dumps('}' + END)}")
        rules.append(f"args_{index}: %json {json.dumps(arguments)}")
    if choice == "auto":
        rules.append(_text(schema))
    return lark("\n".join(rules) + "\n")


def _text(schema: str | None) -> str:
    """The rule of an answer that is no call."""
    if schema is None:
        return "text: TEXT\nTEXT: /(.|\\n)*/ & ~/<tool_call>(.|\\n)*/"
    whole = {**json.loads(json_schema(schema).source), "x-guidance": COMPACT}
    return f"text: %json {json.dumps(whole)}"


def _read(tools: Sequence[str]) -> list[Function]:
    if len(tools) > MAX_TOOLS:
        raise UsageError(f"at most {MAX_TOOLS} tools can be offered", "offer fewer")
    functions = []
    for text in tools:
        try:
            function = read_tool(text)
        except FormatError as error:
            raise UsageError(f"a tool cannot be read: {error}", "see docs/typed-output.md for the form") from error
        if function.parameters:
            if function.parameters.get("type") != "object":
                raise UsageError(f"the parameters of {function.name} are no object", "give a schema of type 'object'")
            json_schema(function.parameters)
        functions.append(function)
    if len({f.name for f in functions}) < len(functions):
        raise UsageError("two tools have one name", "give each its own")
    return functions
