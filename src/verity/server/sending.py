"""Between routes and callers: JSON is read strictly, answers go out whole or as events, and end when a caller goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from verity.errors import FormatError
from verity.server.answering import Asking, Service
from verity.server.answers import Answers, ClientGone, unless_gone
from verity.server.failures import Failure
from verity.server.gate import MAX_VERIFY_BODY
from verity.server.shapes import Shape, events
from verity.server.traffic import RECEIPT_HEADER
from verity.statements.strict import parse_json

_LARGE = 1 << 16
_GONE = 499


class _StrictRequest(Request):
    """Its JSON is read by the same strict reader as everything else from outside."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            if len(body) < _LARGE:
                return parse_json(body, limit=MAX_VERIFY_BODY, what="request")
            return await asyncio.to_thread(parse_json, body, limit=MAX_VERIFY_BODY, what="request")
        except FormatError as error:
            raise Failure(400, str(error), code="invalid_json") from error


class StrictRoute(APIRoute):
    """A route whose body is strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


async def answered(
    request: Request, service: Service, askings: Sequence[Asking], shape: Callable[[Answers], Shape], *, stream: bool
) -> Response:
    """Answer all ``askings`` in their form. Raises what the service raises, before anything is sent."""
    if not stream:
        return await while_wanted(request, _whole(service, askings, shape))

    async def begin() -> Response:
        return _EventStream(shape(await Answers.begin(service, askings)))

    return await while_wanted(request, begin())


async def _whole(service: Service, askings: Sequence[Asking], shape: Callable[[Answers], Shape]) -> Response:
    answers = await Answers.begin(service, askings)
    try:
        made = shape(answers)
        await answers.read()
        return json_reply(made.reply(), answers.receipts)
    finally:
        await answers.cancel()


async def while_wanted(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The response that ``work`` makes, as long as somebody waits for it."""
    try:
        return await unless_gone(request.receive, work)
    except ClientGone:
        return Response(status_code=_GONE)  # nobody reads it but our log


class _EventStream(Response):
    """Sends the events as they come; cuts the answers off when the client goes."""

    def __init__(self, shape: Shape) -> None:
        names = ", ".join(shape.answers.receipts)
        super().__init__(headers={RECEIPT_HEADER: names, "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.headers["content-type"] = "text/event-stream; charset=utf-8"
        self._shape = shape

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        async def work() -> None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for event in events(self._shape):
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        try:
            await unless_gone(receive, work())
        except (ClientGone, OSError):
            pass
        finally:
            await self._shape.answers.cancel()


def json_reply(reply: BaseModel, receipts: Sequence[str]) -> Response:
    """A reply, its receipts in the header too."""
    headers = {RECEIPT_HEADER: ", ".join(receipts), "Cache-Control": "no-store"}
    return Response(reply.model_dump_json(exclude_unset=True), media_type="application/json", headers=headers)
