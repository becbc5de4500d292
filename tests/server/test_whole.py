"""Over HTTP to the device and back: every kind of answer has a receipt that verifies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from calling import BASE, CHAT, TEXT, chat
from in_process import REPLY, in_process

import verity
from verity.engines.scripted import ScriptedEngine
from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys
from verity.server.serving import Serving, Settings

QUESTION: Any = {"messages": [{"role": "user", "content": "Why is the sky blue?"}]}
OWNER = "verity-owner-" + "k" * 32


def with_device(serving: Serving, work: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Do ``work`` with an owner's client of the device."""

    async def main() -> None:
        await serving.start()
        try:
            transport = httpx.ASGITransport(make_app(serving, Rules(Keys(OWNER))))
            headers = {"Authorization": f"Bearer {OWNER}"}
            async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers, timeout=300) as client:
                await work(client)
        finally:
            await serving.stop(0.0)

    asyncio.run(main())


async def bundle_of(client: httpx.AsyncClient, receipt: str) -> bytes:
    response = await client.get(f"/v1/receipts/{receipt}")
    assert response.status_code == 200
    return response.content


async def chosen_by(client: httpx.AsyncClient, receipt: str) -> str:
    lines = json.loads(await bundle_of(client, receipt))["disclosure"]["intent"]
    return str(next(line["value"]["chosen_by"] for line in lines if line["field"] == "nonce"))


def test_answers_of_the_scripted_engine(home: Path) -> None:
    bundles: list[bytes] = []
    nonce = "5a" * 32

    async def work(client: httpx.AsyncClient) -> None:
        asked = {**chat(n=3, temperature=0.5, stop=["zzz"]), "model": "scripted"}
        reply = (await client.post(CHAT, json=asked, headers={"x-verity-nonce": nonce})).json()
        assert reply["verity"]["nonce"] == nonce
        assert reply["verity"]["parameters"]["temperature"] == 0.5
        assert reply["verity"]["parameters"]["top_p"] == 0.95
        bundles.extend([await bundle_of(client, receipt) for receipt in reply["verity"]["receipts"]])
        assert {await chosen_by(client, receipt) for receipt in reply["verity"]["receipts"]} == {"caller"}
        reply = (await client.post(CHAT, json={**chat(n=2), "model": "scripted"})).json()
        assert {await chosen_by(client, receipt) for receipt in reply["verity"]["receipts"]} == {"device"}
        asked = {"model": "scripted", "prompt": "Once", "stream": True, "temperature": 0, "logprobs": 2}
        response = await client.post(TEXT, json=asked)
        assert response.text.endswith("data: [DONE]\n\n")
        bundles.append(await bundle_of(client, response.headers["x-verity-receipt"]))
        asked = {"bundle": json.loads(bundles[0]), "nonce": nonce, "replay": False}
        report = (await client.post("/v1/verify", json=asked)).json()
        assert [c["status"] for c in report["checks"] if c["name"] in ("signed", "logged")] == ["passed", "passed"]
        unknown = await client.post(CHAT, json={**chat(temperature=99), "model": "scripted"})
        assert (unknown.status_code, unknown.json()["error"]["type"]) == (400, "invalid_request_error")
        overlong = await client.post(CHAT, json={**chat("x" * 5000), "model": "scripted"})
        assert overlong.json()["error"]["code"] == "context_length_exceeded"

    with_device(Serving(home, Settings(parallel=4), engine=ScriptedEngine(REPLY, sequences=4)), work)
    for number, bundle in enumerate(bundles):
        report = verity.verify(bundle, home=home, replayer=in_process, nonce=nonce if number < 3 else None)
        assert [check.name for check in report.failed] == ["engine"]  # the fake says that it is one
        assert report.check("replayed-exact").status == "passed"


@pytest.mark.model
def test_answers_of_the_real_model_are_replayed(model_home: Path) -> None:
    bundles: list[bytes] = []
    colour = {"colour": {"enum": ["red", "blue"]}}
    schema = {"type": "object", "properties": colour, "required": ["colour"], "additionalProperties": False}
    city = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "weather", "parameters": {**city, "required": ["city"]}}}
    calling = {"tools": [tool], "tool_choice": "required", "parallel_tool_calls": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    async def work(client: httpx.AsyncClient) -> None:
        model = {"model": "smollm2-135m-instruct", "max_tokens": 12, "seed": 7}
        asked = [
            client.post(CHAT, json={**QUESTION, **model, "n": 2, "logprobs": True, "top_logprobs": 3}),
            client.post(CHAT, json={**QUESTION, **model, "response_format": form, "stream": True}),
            client.post(CHAT, json={**QUESTION, **model, **calling, "max_tokens": 60}),
            client.post(TEXT, json={"prompt": "The sky is", **model}),
            client.post("/v1/embeddings", json={"model": model["model"], "input": ["blue", "sky"]}),
        ]
        responses = await asyncio.gather(*asked)
        assert [response.status_code for response in responses] == [200] * 5
        chatted, typed, called, *_ = responses
        text = "".join(
            json.loads(line[6:])["choices"][0]["delta"].get("content", "")
            for line in typed.text.splitlines()
            if line.startswith("data: {")
        )
        assert json.loads(text)["colour"] in ("red", "blue")
        tokens = chatted.json()["choices"][0]["logprobs"]["content"]
        assert all(t["top_logprobs"][0]["logprob"] >= t["logprob"] for t in tokens)
        assert called.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"
        receipts = [r for response in responses for r in response.headers["x-verity-receipt"].split(", ")]
        bundles.extend([await bundle_of(client, receipt) for receipt in receipts])

    with_device(Serving(model_home, Settings(parallel=4, threads=1, context_size=1024)), work)
    assert len(bundles) == 6
    for report in verity.verify_many(bundles, home=model_home, threads=1):
        assert isinstance(report, verity.Report), str(report)
        assert report.failed == []
        assert report.check("replayed-exact").status == "passed"
