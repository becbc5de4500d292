"""Grammars that would explode: each ends in an answer or a refusal, and another caller is served meanwhile."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from attacking import SECRET, attack, chat, code
from calling import CHAT

BOMBS: dict[str, Any] = {
    "a pattern that repeats repeats": {"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"},
    "a pattern that looks ahead far": {"type": "string", "pattern": "^(.*a.{24}|.*b.{23})$"},
    "a pattern of many branches": {"type": "string", "pattern": "|".join(f"abc{n}.*x{n}" for n in range(2000))},
    "a billion items": {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    "a long string": {"type": "string", "minLength": 10**9},
    "many values": {"enum": [f"value {n}" for n in range(4000)]},
    "a long value": {"enum": ["x" * 20_000]},
    "many properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(1500)}},
    "many choices": {"anyOf": [{"type": "object", "properties": {"k": {"const": n}}} for n in range(500)]},
    "arrays of arrays": {
        "$defs": {
            f"d{n}": {"type": "array", "minItems": 1000, "items": {"$ref": f"#/$defs/d{n - 1}"} if n else {}}
            for n in range(50)
        },
        "$ref": "#/$defs/d49",
    },
    "too deep": json.loads('{"items":' * 200 + "{}" + "}" * 200),
    "a circle": {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
    "too large": {"enum": ["x" * 70_000]},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_grammars_that_explode(home: Path, bomb: str, caplog: pytest.LogCaptureFixture) -> None:
    schema = {"description": SECRET, **BOMBS[bomb]}
    form = {"type": "json_schema", "json_schema": {"name": "bomb", "schema": schema}}
    tool = {"type": "function", "function": {"name": "bomb", "parameters": {"properties": {"x": schema}}}}

    async def work(http: httpx.AsyncClient) -> None:
        bombs = [chat(response_format=form, max_tokens=6), chat(tools=[tool], tool_choice="required", max_tokens=6)]
        *got, plain = await asyncio.gather(*(http.post(CHAT, json=each) for each in (*bombs, chat())))
        assert {code(response) for response in got} <= {200, 400, 500}
        assert code(plain) == 200

    attack(home, work)
    assert SECRET not in caplog.text
