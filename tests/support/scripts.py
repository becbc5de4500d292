"""A scripted engine that goes on: what it says depends on how many results of tools it was told."""

from __future__ import annotations

import json
from typing import Any

from verity.engines.engine import Logits
from verity.engines.scripted import END, TURN, ScriptedEngine
from verity.engines.tool_calls import spell_call
from verity.statements.receipt import ToolCall


def call(name: str, **arguments: Any) -> str:
    """The text of a call."""
    return spell_call(ToolCall(name, json.dumps(arguments)))


class Scripts(ScriptedEngine):
    """Says the first of ``replies``, then the one for each result it was told, and the last for ever."""

    def __init__(self, *replies: str) -> None:
        super().__init__(replies[0], context_size=1 << 15)
        self._replies = [[*reply.encode(), END] for reply in replies]

    def _logits(self, sequence: int) -> Logits:
        tokens = self._tokens[sequence]
        told = bytes(tokens[: tokens.index(TURN)]) if TURN in tokens else b""
        self._reply = self._replies[min(told.count(b"<tool_response>\n"), len(self._replies) - 1)]
        return super()._logits(sequence)
