"""The calls of tools in an answer's text. Generation and replay read them by the same rules (spec/grammar.md).

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from verity.errors import FormatError
from verity.statements.receipt import Message, ToolCall
from verity.statements.strict import load

MAX_TOOLS = 128
MAX_TOOL_BYTES = 1 << 16
"""How many tools are offered, and of one its text."""
MAX_CALLS = 8
BEGIN, END = "<tool_call>\n", "\n</tool_call>"
_CALL = re.compile(re.escape(BEGIN) + r"(.*?)" + re.escape(END), re.DOTALL)
_MAX_CALL = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class Function(msgspec.Struct):
    """What a tool's text says of it; ``parameters`` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str
    function: Function


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any]


class _AsWritten(msgspec.Struct):
    arguments: msgspec.Raw


def parse_calls(text: str) -> list[ToolCall]:
    """The calls that an answer begins with and consists of; none when any part of it is something else.

    Arguments are the very characters of the answer: JSON written anew would depend on who writes it.
    """
    calls, at = [], 0
    while (match := _CALL.match(text, at)) is not None:
        data = match[1].encode("utf-8", "surrogatepass")
        try:
            written = load(data, _Written, limit=_MAX_CALL, what="tool call")
        except FormatError:
            return []
        arguments = bytes(msgspec.json.decode(data, type=_AsWritten).arguments).decode()
        calls.append(ToolCall(name=written.name, arguments=arguments))
        at = match.end() + (text[match.end() : match.end() + 1] == "\n")
    return calls if at == len(text) and len(calls) <= MAX_CALLS else []


def read_tool(text: str) -> Function:
    """The function that a tool's text describes. Raises FormatError."""
    tool = load(text.encode("utf-8", "surrogatepass"), _Tool, limit=MAX_TOOL_BYTES, what="tool")
    if tool.type != "function" or not _NAME.fullmatch(tool.function.name):
        hint = "a function's name has 1 to 64 of A-Z a-z 0-9 _ -"
        raise FormatError(f"{tool.function.name[:64]!r} is no tool", hint)
    return tool.function


def check_tools(tools: Sequence[str], messages: Sequence[Message]) -> None:
    """That these may stand as the tools offered: the messages tell the model of each. Raises FormatError."""
    if len(tools) > MAX_TOOLS:
        raise FormatError(f"at most {MAX_TOOLS} tools can be offered", "offer fewer")
    for tool in tools:
        read_tool(tool)
        if not any(tool in message.content for message in messages):
            raise FormatError(
                f"no message tells the model of the tool {tool[:80]!r}", "verity.tools.fold writes the messages"
            )


def spell_call(call: ToolCall) -> str:
    """A call as it stands in an answer."""
    return f'{BEGIN}{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}{END}'
