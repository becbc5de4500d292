"""Anything at all may come: no body, header or path makes the server fail, and what it answers is what it describes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from calling import CHAT, TEXT, call, chat
from fake_service import MODEL, FakePublicLog, FakeService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys
from verity.server.wire import ChatRequest, CompletionRequest

RULES = Rules(Keys("verity-owner-" + "k" * 32), frozenset({"testserver"}), public_log=True)
APP = make_app(FakeService(), RULES, public_log=FakePublicLog())
SCHEMA: Any = schemathesis.openapi.from_asgi("/openapi.json", APP)
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations()]
CHECKS: Any = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
POSTED = (CHAT, TEXT, "/v1/embeddings", "/v1/verify")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = sorted({*ChatRequest.model_fields, *CompletionRequest.model_fields, "input", "bundle", "x"})


def post(path: str, body: bytes, **headers: str) -> None:
    response = call(APP, "POST", path, content=body, headers={"Content-Type": "application/json", **headers})
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


@given(st.sampled_from(POSTED), st.binary(max_size=200))
def test_any_bytes(path: str, body: bytes) -> None:
    post(path, body)


@given(st.sampled_from(POSTED), st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=8))
def test_any_json(path: str, body: dict[str, Any]) -> None:
    post(path, json.dumps(body).encode())


@given(st.sampled_from(MEMBERS), VALUES)
def test_any_value_of_a_member_of_a_good_request(member: str, value: Any) -> None:
    post(CHAT, json.dumps({**chat(), member: value}).encode())
    post(TEXT, json.dumps({"model": MODEL, "prompt": "x", member: value}).encode())


@given(st.dictionaries(st.text(max_size=10), VALUES, max_size=4), VALUES)
def test_any_schema_and_tool(schema: dict[str, Any], parameters: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    post(CHAT, json.dumps(chat(response_format=form)).encode())
    tool = {"type": "function", "function": {"name": "x", "parameters": parameters}}
    post(CHAT, json.dumps(chat(tools=[tool])).encode())


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=80))
def test_any_header(value: str) -> None:
    for name in ("Host", "Origin", "Authorization", "x-verity-nonce", "Content-Type", "Content-Length"):
        headers = [(b"content-type", b"application/json"), (name.lower().encode(), value.encode("latin-1"))]
        response = call(APP, "POST", CHAT, content=json.dumps(chat()).encode(), headers=headers)
        assert response.status_code < 500, response.text


@pytest.mark.parametrize("operation", OPERATIONS, ids=[operation.label for operation in OPERATIONS])
@given(st.data())
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_what_is_described_is_what_is_done(operation: Any, data: st.DataObject) -> None:
    case = data.draw(operation.as_strategy())
    case.validate_response(case.call(), checks=CHECKS)
