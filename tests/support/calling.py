"""Calls of the HTTP layer without a network, and a server of it in a thread with one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import uvicorn
from fake_service import MODEL
from fastapi import FastAPI

BASE = "http://127.0.0.1:8737"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@contextlib.asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
        yield client


def call(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """One request, its response read to the end; options as in httpx."""

    async def calling() -> httpx.Response:
        async with connected(app) as client:
            return await client.request(method, path, **options)

    return asyncio.run(calling())


def post(app: FastAPI, path: str, body: Any, **headers: str) -> httpx.Response:
    return call(app, "POST", path, json=body, headers=headers)


def chat(content: str = "Why is the sky blue?", **members: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **members}


def chunks(response: httpx.Response) -> list[Any]:
    """The data of a stream's events, which must have ended well."""
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of a real server while the block runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", http="h11", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
