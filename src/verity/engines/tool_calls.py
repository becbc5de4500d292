"""The calls of tools in an answer's text. Generation and replay read them by the same rules (spec/grammar.md).

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from verity.errors import FormatError
from verity.statements.receipt import ToolCall
from verity.statements.strict import load

MAX_CALLS = 8
BEGIN, END = "<tool_call>\n", "\n</tool_call>"
_CALL = re.compile(re.escape(BEGIN) + r"(.*?)" + re.escape(END), re.DOTALL)
_MAX_CALL = 1 << 20


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any]


def parse_calls(text: str) -> list[ToolCall]:
    """The calls that an answer begins with and consists of; none when any part of it is something else."""
    calls, at = [], 0
    while (match := _CALL.match(text, at)) is not None:
        try:
            written = load(match[1].encode("utf-8", "surrogatepass"), _Written, limit=_MAX_CALL, what="tool call")
        except FormatError:
            return []
        calls.append(ToolCall(name=written.name, arguments=json.dumps(written.arguments, ensure_ascii=False)))
        at = match.end() + (text[match.end() : match.end() + 1] == "\n")
    return calls if at == len(text) and len(calls) <= MAX_CALLS else []


def spell_call(call: ToolCall) -> str:
    """A call as it stands in an answer."""
    return f'{BEGIN}{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}{END}'
