"""The published log's addresses: C2SP tlog-tiles below ``/log/<epoch>/``. For everybody, and read-only: see gate.py."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request
from starlette.responses import Response

from verity.server.failures import Failure
from verity.server.public_log import PublicLog
from verity.server.replies import ErrorReply

_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_JSON = "application/json"
_LASTING = "public, max-age=31536000, immutable"
_CHANGING = "no-cache"

_FAILURES = {
    400: "this is no number of an epoch",
    403: "the Host header names another machine",
    404: "it is not published",
    405: "the log is only read here",
    429: "too much at once: see Retry-After",
    500: "a fault of the device",
    503: "shutting down: see Retry-After",
}


def _responses(media_type: str, about: str, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    failures: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorReply, "description": words} for status, words in _FAILURES.items()
    }
    return {
        200: {"description": about, "content": {media_type: {"schema": schema}}},
        304: {"description": "As If-None-Match names it"},
        **failures,
    }


def _given(request: Request) -> PublicLog:
    log: PublicLog = request.app.state.public_log
    return log


log_router = APIRouter(prefix="/log")
Given = Annotated[PublicLog, Depends(_given)]
Epoch = Annotated[str, Path(pattern=r"^(0|[1-9][0-9]{0,14})$", description="An epoch of the device's log")]
Held = Annotated[str | None, Header(alias="if-none-match", max_length=1000)]
_STRING = {"type": "string"}
_INDEX = _responses(_JSON, "Which epochs are published; see spec/tiles.md", {"type": "object"})
_CHECKPOINT = _responses("text/plain", "The published head; C2SP tlog-checkpoint", _STRING)
_TILE = _responses(_BYTES, "A tile, or a bundle of entries; C2SP tlog-tiles", {**_STRING, "format": "binary"})


@log_router.get("/index.json", response_class=Response, responses=_INDEX)
@log_router.head("/index.json", response_class=Response, responses=_INDEX)
async def index(request: Request, log: Given, held: Held = None) -> Response:
    """The epochs of this device's log."""
    return _reply(request, await log.index(), held, _JSON, _CHANGING)


@log_router.get("/{epoch}/checkpoint", response_class=Response, responses=_CHECKPOINT)
@log_router.head("/{epoch}/checkpoint", response_class=Response, responses=_CHECKPOINT)
async def checkpoint(request: Request, epoch: Epoch, log: Given, held: Held = None) -> Response:
    """The published head of an epoch."""
    return _reply(request, await log.checkpoint(int(epoch)), held, _TEXT, _CHANGING)


@log_router.get("/{epoch}/tile/{path:path}", response_class=Response, responses=_TILE)
@log_router.head("/{epoch}/tile/{path:path}", response_class=Response, responses=_TILE)
async def tile(request: Request, epoch: Epoch, path: str, log: Given, held: Held = None) -> Response:
    """Hashes or entries below the published head: `tile/0/x001/x234/067`, `tile/entries/000.p/17`."""
    return _reply(request, await log.tile(int(epoch), f"tile/{path}"), held, _BYTES, _LASTING)


def _reply(request: Request, data: bytes | None, held: str | None, media_type: str, caching: str) -> Response:
    if data is None:
        raise Failure(404, "this is not published; GET /log/index.json says what is")
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": caching, "Content-Type": media_type}
    if held is not None and (
        held.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in held.split(","))
    ):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": caching})
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(len(data))})
    return Response(data, headers=headers)
