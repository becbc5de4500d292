"""Every failure in the form that OpenAI's clients read, and nothing of the prompt in any of them."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from verity.errors import (
    Busy,
    FormatError,
    ModelNotFound,
    ReleaseRefused,
    SignatureError,
    TimedOut,
    UsageError,
    VerityError,
)

_log = logging.getLogger("verity.server")
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_STATUS_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
}
_MAX_MESSAGE = 1000
_MEMBER = re.compile(r"(?!str$)[a-z0-9_-]+", re.ASCII)


class Failure(HTTPException):
    """An answer that is an error: HTTP status, sentence, the parameter at fault, a code for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        headers = {"Retry-After": str(max(1, math.ceil(retry_after_s)))} if retry_after_s is not None else {}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, message, headers)
        self.param = param
        self.code = code or _STATUS_CODES.get(status)

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = _TYPES.get(self.status_code, "invalid_request_error" if self.status_code < 500 else "server_error")
        error = {"message": self.detail[:_MAX_MESSAGE], "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status_code, self.headers)


def shutting_down() -> Failure:
    return Failure(503, "the server is shutting down", code="shutting_down", retry_after_s=5)


def failure_of(error: BaseException) -> Failure:
    """What a caller is told of ``error``. Of our own faults little is told; the log has the place, not the text."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, Busy):
        return Failure(429, _words(error), code="rate_limit_exceeded", retry_after_s=error.retry_after_s)
    if isinstance(error, TimedOut):
        return Failure(504, _words(error), code="timeout")
    if isinstance(error, ModelNotFound):
        return Failure(404, _words(error), param="model", code="model_not_found")
    if isinstance(error, ReleaseRefused):
        return Failure(403, _words(error), param="model", code="model_refused")
    if isinstance(error, UsageError | FormatError):
        overflow = type(error).__name__ == "ContextOverflow"
        return Failure(400, _words(error), code="context_length_exceeded" if overflow else "invalid_value")
    _log.error("%s: %s", type(error).__name__, _place(error))
    if isinstance(error, VerityError):
        return Failure(500, f"the device could not do it ({type(error).__name__}); its log says where", code="failed")
    return Failure(500, "something went wrong in the server; its log says where", code="internal_error")


@contextlib.contextmanager
def blaming(param: str) -> Iterator[None]:
    """Name the parameter that a UsageError in the block is about."""
    try:
        yield
    except UsageError as error:
        raise Failure(400, _words(error), param=param, code="invalid_value") from error


@contextlib.contextmanager
def unreadable(status: int, code: str) -> Iterator[None]:
    """In the block, what was handed in or named is at fault."""
    try:
        yield
    except (UsageError, FormatError, SignatureError) as error:
        raise Failure(status, _words(error), code=code) from error


def _words(error: VerityError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)


def _place(error: BaseException) -> str:
    """Where it happened. Its text may hold a caller's words, and so may the values in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


async def on_http_error(_: Request, error: Exception) -> JSONResponse:
    """For ``Failure``, and for what the framework raises: no such address, no such method."""
    assert isinstance(error, HTTPException)
    if isinstance(error, Failure):
        return error.response()
    failure = Failure(error.status_code, f"{error.detail}: see /openapi.json for what there is")
    response = failure.response()
    response.headers.update(error.headers or {})
    return response


async def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """For a body or parameter of another form: 400, the place and the rule, not the value."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    first = max(errors, key=lambda e: len(e.get("loc", ())))  # of several forms, the one that fitted furthest
    param = _param(first.get("loc", ()))
    if first["type"] == "extra_forbidden":
        reason = f"there is no parameter {param!r}"
    else:  # of a member that may have one of several forms, each says why it is not
        reasons = dict.fromkeys(str(e["msg"]) for e in errors if _param(e.get("loc", ())) == param)
        reason = f"{param}: {'; or '.join(reasons)}"
    return Failure(400, reason, param=param, code="invalid_value").response()


def _param(location: Sequence[Any]) -> str:
    """The member's place, without the names that pydantic gives to the forms that it may have."""
    parts = [str(part) for part in location[1:] if isinstance(part, int) or _MEMBER.fullmatch(part)]
    return ".".join(parts)[:100] or "body"


async def on_error(_: Request, error: Exception) -> JSONResponse:
    """For every VerityError."""
    return failure_of(error).response()


HANDLERS: Mapping[Any, Any] = {
    HTTPException: on_http_error,
    RequestValidationError: on_invalid,
    VerityError: on_error,
}
