"""Plain completions, embeddings, models, receipts, verify, health."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from calling import TEXT, call, chunks, post
from fake_service import DIGEST, MODEL, REPLY, FakeService
from fastapi import FastAPI

from verity.server.replies import TextReply
from verity.statements.receipt import Message


def text(prompt: Any = "Once", **members: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, **members}


def test_a_completion_is_raw(app: FastAPI, service: FakeService) -> None:
    response = post(app, TEXT, text(logprobs=1, max_tokens=8))
    reply = TextReply.model_validate(response.json())
    assert service.asked[0].messages == [Message("user", "Once")]
    assert (service.asked[0].raw, service.asked[0].top_logprobs) == (True, 1)
    choice = reply.choices[0]
    assert (choice.text, choice.finish_reason) == (REPLY, "length")
    assert choice.logprobs is not None
    assert choice.logprobs.text_offset[:3] == [0, 4, 10]
    assert choice.logprobs.top_logprobs[0] == {"Blue": -0.5}
    assert response.headers["x-verity-receipt"] == service.answers[0].receipt
    assert reply.verity is not None
    assert reply.verity.receipt == service.answers[0].receipt


def test_a_streamed_completion(app: FastAPI, service: FakeService) -> None:
    events = chunks(post(app, TEXT, text(stream=True, stream_options={"include_usage": True}, logprobs=0)))
    assert "".join(e["choices"][0]["text"] for e in events[:-1]) == REPLY
    assert events[1]["choices"][0]["logprobs"]["text_offset"] == [4]
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["completion_tokens"] == 8
    assert events[-1]["verity"]["receipt"] == service.answers[0].receipt


def test_several_prompts_have_their_choices_one_after_another(app: FastAPI, service: FakeService) -> None:
    reply = TextReply.model_validate(post(app, TEXT, text(["a", "b"], n=2)).json())
    assert [a.messages[0].content for a in service.asked] == ["a", "a", "b", "b"]
    assert [a.choice for a in service.asked] == [0, 1, 0, 1]
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (14, 32)


@pytest.mark.parametrize(
    "body",
    [
        text([1, 2, 3]),
        text([[1, 2]]),
        text([]),
        text(None),
        text(["x"] * 17),
        text(["x"] * 4, n=5),
        text(logprobs=6),
        text(logprobs=True),
        text(echo=True),
        text(best_of=2),
        text(suffix="end"),
    ],
)
def test_what_cannot_be_done_is_refused(app: FastAPI, service: FakeService, body: Any) -> None:
    response = post(app, TEXT, body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert service.asked == []


def test_embeddings(app: FastAPI) -> None:
    body = {"model": MODEL, "input": ["a", "bcd"]}
    reply = post(app, "/v1/embeddings", body).json()
    assert [item["embedding"] for item in reply["data"]] == [[0.5, 1.0], [0.5, 3.0]]
    assert [item["index"] for item in reply["data"]] == [0, 1]
    assert reply["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert reply["verity"]["receipt"] == "ee" * 16
    spelled = post(app, "/v1/embeddings", {**body, "encoding_format": "base64"}).json()
    assert struct.unpack("<2f", base64.b64decode(spelled["data"][1]["embedding"])) == (0.5, 3.0)


@pytest.mark.parametrize("bad", [{"input": []}, {"input": [1, 2]}, {"input": "x", "dimensions": 64}, {}])
def test_embeddings_that_cannot_be_made(app: FastAPI, bad: dict[str, Any]) -> None:
    assert post(app, "/v1/embeddings", {"model": MODEL, **bad}).status_code == 400


def test_models(app: FastAPI) -> None:
    listed = call(app, "GET", "/v1/models").json()["data"]
    assert [(m["id"], m["object"], m["verity"]) for m in listed] == [
        (MODEL, "model", {"blake3": DIGEST, "loaded": True})
    ]
    assert call(app, "GET", f"/v1/models/{MODEL}").json() == listed[0]
    for other in ("gpt-4o", "meta/llama"):
        response = call(app, "GET", f"/v1/models/{other}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_only_the_owners_key_opens_a_disclosure(app: FastAPI, owner_key: str) -> None:
    path = f"/v1/receipts/{'ab' * 16}"
    assert "disclosure" not in call(app, "GET", path).json()
    assert "disclosure" not in call(app, "GET", path, headers={"Authorization": f"Bearer {owner_key}x"}).json()
    opened = call(app, "GET", path, headers={"Authorization": f"Bearer {owner_key}"})
    assert opened.json()["disclosure"] == {"intent": []}
    assert opened.headers["cache-control"] == "no-store"


def test_a_receipt_that_there_is_not(app: FastAPI) -> None:
    response = call(app, "GET", f"/v1/receipts/{'cd' * 16}")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "receipt_not_found")
    assert call(app, "GET", "/v1/receipts/x").status_code == 400


def test_verify_hands_on_the_bundle_and_what_is_expected(app: FastAPI, service: FakeService) -> None:
    body = {"bundle": {"receipt": {"é": 1.5}}, "key": "aa" * 32, "prompt": "p", "replay": False}
    report = post(app, "/v1/verify", body).json()
    assert report["passed"] is True
    assert service.verified == [({"receipt": {"é": 1.5}}, {"key": "aa" * 32, "prompt": "p", "replay": False})]
    post(app, "/v1/verify", {"bundle": {}})
    assert service.verified[1] == ({}, {"replay": True})


def test_health(app: FastAPI) -> None:
    assert call(app, "GET", "/health").json() == {"status": "ok"}
