"""Chat completions: what reaches the device, and what comes back, whole and as a stream."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from calling import CHAT, chat, chunks, post
from fake_service import CALLING, DEVICE, DIGEST, MODEL, REPLY, WEATHER, FakeService
from fastapi import FastAPI

from verity.server.replies import ChatChunk, ChatReply
from verity.statements.receipt import Message
from verity.tools import grammar_for


def test_an_answer_names_its_receipt_and_what_was_in_effect(app: FastAPI, service: FakeService) -> None:
    response = post(app, CHAT, chat(temperature=0.5, max_tokens=20))
    reply = ChatReply.model_validate(response.json())
    assert reply.choices[0].message.content == REPLY
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == MODEL
    receipt = service.answers[0].receipt
    assert (reply.verity.receipt, reply.verity.receipts) == (receipt, [receipt])
    assert response.headers["x-verity-receipt"] == receipt
    assert (reply.verity.device, reply.verity.model) == (DEVICE, DIGEST)
    assert reply.verity.parameters == {"temperature": 0.5, "max_tokens": 20}
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (7, 8, 15)
    assert reply.usage.prompt_tokens_details.cached_tokens == 3


def test_what_is_asked_reaches_the_device(app: FastAPI, service: FakeService) -> None:
    sampling: dict[str, Any] = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 3,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
    }
    post(app, CHAT, chat(**sampling, max_completion_tokens=9, stop="\n", adapters=["a", {"name": "b", "scale": 0.5}]))
    asking = service.asked[0]
    assert asking.sampling == sampling
    assert (asking.max_tokens, asking.stops, asking.raw, asking.nonce) == (9, ["\n"], False, None)
    assert asking.adapters == [("a", 1.0), ("b", 0.5)]
    assert (asking.grammar, asking.tools, asking.top_logprobs) == (None, [], None)


def test_roles_and_parts_become_plain_messages(app: FastAPI, service: FakeService) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "three", "name": "ada"},
    ]
    assert post(app, CHAT, {"model": MODEL, "messages": messages}).status_code == 200
    assert service.asked[0].messages == [
        Message("system", "Be brief."),
        Message("user", "one\ntwo"),
        Message("assistant", "yes"),
        Message("user", "three"),
    ]


def test_a_stream_has_role_content_end_usage(app: FastAPI, service: FakeService) -> None:
    response = post(app, CHAT, chat(stream=True, stream_options={"include_usage": True}))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-verity-receipt"] == service.answers[0].receipt
    events = chunks(response)
    found = [ChatChunk.model_validate(event) for event in events]
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(c.choices[0].delta.content or "" for c in found[:-2]) == REPLY
    assert [c.choices[0].finish_reason for c in found[:-1]] == [None] * (len(found) - 2) + ["stop"]
    assert all(event["usage"] is None for event in events[:-1])
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["total_tokens"] == 15
    assert events[-1]["verity"]["receipt"] == service.answers[0].receipt
    assert {c.id for c in found} == {f"chatcmpl-{service.answers[0].receipt}"}


def test_a_stream_without_usage_ends_with_the_receipt(app: FastAPI, service: FakeService) -> None:
    events = chunks(post(app, CHAT, chat(stream=True)))
    assert [event for event in events if "usage" in event] == []
    assert [("verity" in event) for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["verity"]["receipts"] == [service.answers[0].receipt]


@pytest.mark.parametrize("stream", [False, True])
def test_each_choice_has_its_receipt_and_all_one_nonce(app: FastAPI, service: FakeService, stream: bool) -> None:
    response = post(app, CHAT, chat(n=3, stream=stream))
    receipts = [answer.receipt for answer in service.answers]
    assert len(set(receipts)) == 3
    assert response.headers["x-verity-receipt"] == ", ".join(receipts)
    assert [(a.choice, a.choices, a.nonce_from) for a in service.asked] == [(n, 3, "device") for n in range(3)]
    assert len({asking.nonce for asking in service.asked}) == 1
    if stream:
        events = chunks(response)
        assert events[-1]["verity"]["receipts"] == receipts
        for number in range(3):
            mine = [e["choices"][0]["delta"].get("content") for e in events if e["choices"][0]["index"] == number]
            assert "".join(filter(None, mine)) == REPLY
    else:
        reply = ChatReply.model_validate(response.json())
        assert [choice.index for choice in reply.choices] == [0, 1, 2]
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (7, 24)


def test_a_seed_is_a_nonce(app: FastAPI, service: FakeService) -> None:
    post(app, CHAT, chat(seed=42))
    post(app, CHAT, chat(seed=-42, n=2))
    expected = [hashlib.sha256(b"verity/openai-seed/v1" + text).digest() for text in (b"42", b"-42", b"-42")]
    assert [asking.nonce for asking in service.asked] == expected
    assert {asking.nonce_from for asking in service.asked} == {"caller"}


def test_the_callers_nonce_wins_over_a_seed(app: FastAPI, service: FakeService) -> None:
    response = post(app, CHAT, chat(seed=42), **{"x-verity-nonce": "AB" * 32})
    assert response.json()["verity"]["nonce"] == "ab" * 32
    assert (service.asked[0].nonce, service.asked[0].seed) == (bytes.fromhex("ab" * 32), None)


@pytest.mark.parametrize("nonce", ["ab" * 15, "ab" * 65, "a" * 33, "zz" * 16, "", "0x" + "ab" * 16])
def test_a_malformed_nonce_is_refused(app: FastAPI, service: FakeService, nonce: str) -> None:
    response = post(app, CHAT, chat(), **{"x-verity-nonce": nonce})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-verity-nonce"
    assert service.asked == []


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(app: FastAPI, service: FakeService, stream: bool) -> None:
    response = post(app, CHAT, chat(logprobs=True, top_logprobs=2, stream=stream))
    assert service.asked[0].top_logprobs == 2
    if stream:
        told = [e["choices"][0]["logprobs"] for e in chunks(response)]
        tokens = [token for part in told if part for token in part["content"]]
    else:
        tokens = response.json()["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == REPLY
    assert tokens[0]["bytes"] == list(b"Blue")
    assert [top["logprob"] for top in tokens[0]["top_logprobs"]] == [-0.5, -9999.0]  # JSON has no infinity


def test_logprobs_without_alternatives(app: FastAPI, service: FakeService) -> None:
    token = post(app, CHAT, chat(logprobs=True)).json()["choices"][0]["logprobs"]["content"][0]
    assert (token["top_logprobs"], service.asked[0].top_logprobs) == ([], 0)


def test_a_schema_becomes_a_grammar_in_its_order(app: FastAPI, service: FakeService) -> None:
    schema = {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}
    assert post(app, CHAT, chat(response_format=form)).status_code == 200
    post(app, CHAT, chat(response_format={"type": "json_object"}))
    post(app, CHAT, chat(response_format={"type": "text"}))
    grammars = [asking.grammar for asking in service.asked]
    assert grammars[0] is not None
    assert grammars[1] is not None
    assert grammars[0].kind == grammars[1].kind == "json_schema"
    assert grammars[0].source.index('"z"') < grammars[0].source.index('"a"')
    assert grammars[1].source == '{"type":"object"}'
    assert grammars[2] is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_a_tool(app: FastAPI, service: FakeService, stream: bool) -> None:
    service.text = f"{CALLING}\n{CALLING}"
    response = post(app, CHAT, chat(tools=[WEATHER], stream=stream))
    assert service.asked[0].grammar is not None
    assert "<tools>" in service.asked[0].messages[0].content
    if stream:
        events = chunks(response)
        assert [
            e["choices"][0]["delta"].get("content") for e in events if e["choices"][0]["delta"].get("content")
        ] == []
        calls = [call for e in events for call in e["choices"][0]["delta"].get("tool_calls", [])]
        assert [call.pop("index") for call in calls] == [0, 1]
        finish = events[-1]["choices"][0]["finish_reason"]
    else:
        choice = response.json()["choices"][0]
        assert choice["message"]["content"] is None
        calls, finish = choice["message"]["tool_calls"], choice["finish_reason"]
    assert finish == "tool_calls"
    assert [call["function"] for call in calls] == [{"name": "weather", "arguments": '{"city": "Oslo"}'}] * 2
    assert all(call["id"].startswith("call_") and call["type"] == "function" for call in calls)
    assert len({call["id"] for call in calls}) == 2


@pytest.mark.parametrize("text", [REPLY, "<tool", "<tool_call>\nnot a call", ""])
def test_text_that_is_no_call_is_streamed_whole(app: FastAPI, service: FakeService, text: str) -> None:
    service.text = text
    events = chunks(post(app, CHAT, chat(tools=[WEATHER], stream=True, logprobs=True)))
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == text
    told = [token for e in events if (part := e["choices"][0]["logprobs"]) for token in part["content"]]
    assert "".join(token["token"] for token in told) == text
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_calls_and_results_are_told_to_the_model(app: FastAPI, service: FakeService) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    assert post(app, CHAT, {"model": MODEL, "messages": turns, "tools": [WEATHER]}).status_code == 200
    told = service.asked[0].messages
    assert [message.role for message in told] == ["system", "user", "assistant", "user"]
    assert told[2].content == CALLING
    assert told[3].content == "<tool_response>\nrain\n</tool_response>"


def test_the_choice_of_tools(app: FastAPI, service: FakeService) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ("auto", "required", named, "none"):
        assert post(app, CHAT, chat(tools=[WEATHER], tool_choice=choice)).status_code == 200
    post(app, CHAT, chat(tools=[WEATHER], tool_choice="required", parallel_tool_calls=False))
    offered = service.asked[0].tools
    wanted = [grammar_for(offered, choice) for choice in ("auto", "required", "weather", "none")]
    assert [asking.grammar for asking in service.asked[:4]] == wanted
    assert service.asked[4].grammar == grammar_for(offered, "required", parallel=False)
    sources = [asking.grammar.source if asking.grammar else None for asking in service.asked]
    assert sources[3] is None
    assert service.asked[3].tools == []
    assert len(set(sources)) == 4  # of one tool, required and named are the same
    assert sources[1] == sources[2]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"n": 17}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 99}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_logprobs": 2}, "body"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "body"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "body"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_object"}, "tools": [WEATHER]}, "response_format"),
        ({"tool_choice": "required"}, "body"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"mirostat": 2}, "mirostat"),
    ],
)
def test_what_cannot_be_done_is_refused(
    app: FastAPI, service: FakeService, members: dict[str, Any], param: str
) -> None:
    response = post(app, CHAT, {**chat(), **members})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["error"]["param"] == param
    assert service.asked == []


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "input_audio"}])
def test_pictures_and_sound_are_refused(app: FastAPI, part: dict[str, Any]) -> None:
    response = post(app, CHAT, {"model": MODEL, "messages": [{"role": "user", "content": [part]}]})
    assert response.status_code == 400


def test_a_recursive_schema_is_refused_by_name(app: FastAPI) -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    error = post(app, CHAT, chat(response_format=form)).json()["error"]
    assert error["param"] == "response_format"
    assert "recursive" in error["message"]


def test_what_speaks_to_a_provider_is_ignored(app: FastAPI) -> None:
    ignored: dict[str, Any] = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "logit_bias": {},
    }
    assert post(app, CHAT, chat(**ignored, stop=None, tools=[], tool_choice="none")).status_code == 200
