"""Every failure in OpenAI's form, before the answer begins and on the way, and nothing of the prompt in any."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from calling import CHAT, TEXT, call, chat, post
from fake_service import MODEL, FakeService
from fastapi import FastAPI

from verity.errors import (
    Busy,
    ContextOverflow,
    EngineError,
    FormatError,
    LogError,
    SignatureError,
    StoreError,
    TimedOut,
    UsageError,
)
from verity.server.replies import ErrorReply

SECRET = "my darkest secret"


def error_of(response: Any) -> dict[str, Any]:
    ErrorReply.model_validate(response.json())
    error: dict[str, Any] = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("refusal", "status", "kind", "code"),
    [
        (Busy("too many", "later", 2.2), 429, "rate_limit_error", "rate_limit_exceeded"),
        (TimedOut("too late"), 504, "server_error", "timeout"),
        (ContextOverflow("too long"), 400, "invalid_request_error", "context_length_exceeded"),
        (UsageError("not so", "but so"), 400, "invalid_request_error", "invalid_value"),
        (EngineError(SECRET), 500, "server_error", "failed"),
        (StoreError(SECRET), 500, "server_error", "failed"),
        (LogError(SECRET), 500, "server_error", "failed"),
        (ValueError(SECRET), 500, "server_error", "internal_error"),
    ],
)
def test_what_the_device_raises(
    app: FastAPI, service: FakeService, refusal: Exception, status: int, kind: str, code: str, stream: bool
) -> None:
    service.refusal = refusal
    response = post(app, CHAT, chat(stream=stream))
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (status, kind, code)
    assert SECRET not in response.text
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)


def test_a_hint_goes_with_the_message(app: FastAPI, service: FakeService) -> None:
    service.refusal = UsageError("not so", "but so")
    assert error_of(post(app, CHAT, chat()))["message"] == "not so; but so"


def test_a_model_that_is_not_here(app: FastAPI) -> None:
    response = post(app, CHAT, {**chat(), "model": "gpt-4o"})
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (404, "model", "model_not_found")
    assert "verity pull gpt-4o" in error["message"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineError("broke"), 500, "failed"),
        (TimedOut("late"), 504, "timeout"),
        (Busy("shutting down"), 429, "rate_limit_exceeded"),
    ],
)
def test_an_answer_that_breaks_off(app: FastAPI, service: FakeService, error: Any, status: int, code: str) -> None:
    service.error = error
    response = post(app, CHAT, chat())
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert service.answers[0].cancelled.is_set()


def test_a_stream_that_breaks_off_ends_with_an_error_event(app: FastAPI, service: FakeService) -> None:
    service.error = EngineError(SECRET)
    for path, body in ((CHAT, chat(stream=True, n=2)), (TEXT, {"model": MODEL, "prompt": "x", "stream": True})):
        response = post(app, path, body)
        assert response.status_code == 200
        *_, last, end = response.text.split("\n\n")
        assert (end, last.splitlines()[0]) == ("", "event: error")
        assert json.loads(last.splitlines()[1].removeprefix("data: "))["error"]["code"] == "failed"
        assert "[DONE]" not in response.text
        assert SECRET not in response.text
    assert all(answer.cancelled.is_set() for answer in service.answers)


def test_when_one_choice_is_refused_the_others_are_cut_off(
    app: FastAPI, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = service.answer

    async def once(asking: Any) -> Any:
        if service.answers:
            raise Busy("too many")
        return await answer(asking)

    monkeypatch.setattr(service, "answer", once)
    service.hang_at = 2
    assert post(app, CHAT, chat(n=2)).status_code == 429
    assert [answer.cancelled.is_set() for answer in service.answers] == [True]


def test_addresses_and_methods_that_there_are_not(app: FastAPI) -> None:
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/", 404),
    ):
        response = call(app, method, path)
        assert (response.status_code, error_of(response)["type"] != "") == (status, True), path


@pytest.mark.parametrize("error", [FormatError("no bundle"), SignatureError("bad"), UsageError("no key")])
def test_a_bundle_that_cannot_be_read(app: FastAPI, service: FakeService, error: Exception) -> None:
    service.refusal = error
    response = post(app, "/v1/verify", {"bundle": {}})
    assert (response.status_code, error_of(response)["code"]) == (400, "unreadable")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"model": "a", "model": "b"}',
        b'{"model": NaN}',
        b'{"x": ' + b"[" * 30 + b"]" * 30 + b"}",
        b'{"model": "\\ud800", "messages": []}',
        b'{"seed": 99999999999999999999}',
    ],
)
def test_a_body_that_is_no_request(app: FastAPI, body: bytes) -> None:
    response = call(app, "POST", CHAT, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    error_of(response)


def test_the_log_has_a_line_for_each_request_and_no_prompt(
    app: FastAPI, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="verity.server")
    post(app, CHAT, chat(SECRET))
    call(app, "GET", f"/v1/receipts/{'ab' * 16}")
    call(app, "GET", f"/{SECRET}")
    post(app, CHAT, chat(SECRET, **{SECRET: SECRET}))
    service.refusal = ValueError(SECRET)
    post(app, CHAT, chat(SECRET))
    lines = [record.getMessage() for record in caplog.records if record.name == "verity.server"]
    assert lines[0].startswith("POST /v1/chat/completions 200 ")
    assert lines[0].endswith(f" ms {service.answers[0].receipt}")
    assert lines[1].startswith("GET /v1/receipts/{receipt} 200 ")
    assert lines[2].startswith("GET (no such address) 404 ")
    assert lines[3].startswith("POST /v1/chat/completions 400 ")
    assert lines[4].startswith("ValueError: fake_service.py:")
    assert SECRET not in caplog.text
