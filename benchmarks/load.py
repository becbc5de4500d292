"""Callers of an OpenAI-compatible server, many at once, and what became of each request."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

SYSTEM = "You are a careful assistant in a clinic. Answer in as few words as you can and never invent a fact. " * 5
"""The prefix that all requests share."""
SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.0}


class Reply(msgspec.Struct, frozen=True):
    """One answer: when it was asked for (seconds), how long it took, its tokens, and its receipt if it has one."""

    asked_at: float
    took_s: float
    tokens: int
    receipt: str


class Load(msgspec.Struct, frozen=True):
    """What came of a number of requests. ``lost`` had no answer, or one of another length than was asked for."""

    replies: list[Reply]
    lost: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        return sum(reply.tokens for reply in self.replies) / self.seconds

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(reply.took_s for reply in self.replies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def body(number: int, tokens: int) -> dict[str, Any]:
    """The request of this number. Its answer is cut off at ``tokens``; an earlier end is unlikely, and counts."""
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Patient {number} asks for a long story about a lighthouse."},
    ]
    return {"model": "smollm2-135m-instruct", "messages": messages, "max_tokens": tokens, **SAMPLING}


def load(
    url: str,
    requests: int,
    *,
    at_once: int,
    tokens: int,
    first: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Load:
    """Ask ``requests`` times, ``at_once`` at a time, over connections that stay open."""
    return asyncio.run(_load(url, requests, at_once, tokens, first, progress))


async def _load(
    url: str, requests: int, at_once: int, tokens: int, first: int, progress: Callable[[int], None]
) -> Load:
    numbers = itertools.islice(itertools.count(first), requests)
    replies: list[Reply] = []
    lost = 0
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False) as client:

        async def caller() -> None:
            nonlocal lost
            for number in numbers:
                reply = await _ask(client, number, tokens)
                if reply is None:
                    lost += 1
                else:
                    replies.append(reply)
                progress(len(replies) + lost)

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(at_once)))
        return Load(replies, lost, time.perf_counter() - started)


async def _ask(client: httpx.AsyncClient, number: int, tokens: int) -> Reply | None:
    started = time.perf_counter()
    try:
        response = await client.post("/v1/chat/completions", json=body(number, tokens))
        if response.status_code != 200:
            return None
        answer = response.json()
        count = int(answer["usage"]["completion_tokens"])
        finish = answer["choices"][0]["finish_reason"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    if count != tokens and finish != "stop":
        return None
    receipt = str(answer.get("verity", {}).get("receipt", ""))
    return Reply(started, time.perf_counter() - started, count, receipt)
