"""A server on a real socket to be attacked, which must serve others as before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from calling import CHAT
from in_process import REPLY
from served import over_http, settled

from verity.engines.scripted import ScriptedEngine

SECRET = "xyzzy-plugh"


def attack(home: Path, work: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Do ``work`` against a server, which then serves as before and holds nothing."""

    async def main() -> None:
        async with over_http(home, ScriptedEngine(REPLY, sequences=4), queue=40) as (serving, address):
            async with httpx.AsyncClient(base_url=address, timeout=120) as http:
                await work(http)
                response = await http.post(CHAT, json=chat("And now?"))
            assert response.json()["choices"][0]["message"]["content"] == REPLY
            await settled(serving)

    asyncio.run(main())


def chat(content: str = SECRET, **members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"model": "scripted", "messages": messages, "temperature": 0, **members}


def code(response: httpx.Response) -> Any:
    """The status, once it is sure that a failure has OpenAI's form."""
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response.status_code
