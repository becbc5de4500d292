"""Who may come in. Every request passes these steps, in this order, before anything of it is believed.

1. open    a server that is shutting down takes nothing new
2. host    the Host header names this machine: that of a web page whose name was re-bound to this address does not
3. origin  a web page (a request with an Origin) is one that the owner allowed
4. key     the API key or the owner's key, where one is set; /health needs none
5. form    what is posted is JSON: other forms a web page could send unasked
6. size    a body ends within its limit and its time; it is counted as it comes, with those of all other requests

A published log (``Rules.public_log``) is for everybody: GET and HEAD below /log/ pass steps 3 and 4, and web pages may
read what comes back.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from verity.server.failures import Failure, shutting_down
from verity.server.keys import Keys
from verity.server.traffic import Traffic
from verity.statements.bundle import MAX_BUNDLE_BYTES

MAX_BODY = 4 << 20
MAX_VERIFY_BODY = MAX_BUNDLE_BYTES + (2 << 20)
MAX_HELD = 256 << 20
"""Bytes of all requests under way."""
BODY_TIME_S = 60.0
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OWNER = "verity.owner"
"""In a request's scope: whether it came with the owner's key."""
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]+))(?::[0-9]{1,5})?", re.ASCII)
_JSON = re.compile(r'application/json\s*(;\s*charset="?utf-?8"?\s*)?', re.ASCII | re.IGNORECASE)


class Rules(msgspec.Struct, frozen=True):
    """``hosts`` are names that this machine has besides the loopback ones, ``origins`` web pages that may come in;
    ``public_log`` says that the log is published here."""

    keys: Keys
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    public_log: bool = False


class Gate:
    """Middleware that makes the steps."""

    def __init__(self, app: ASGIApp, rules: Rules, traffic: Traffic) -> None:
        self._app = app
        self._rules = rules
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self._is_public(scope):
            send = _readable_by_pages(send)
        try:
            self._admit(scope)
            body = _Body(scope, receive, self._traffic)
        except Failure as failure:
            await failure.response()(scope, receive, send)
            return
        try:
            await self._app(scope, body, send)
        finally:
            body.forget()

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._traffic.closing:
            raise shutting_down()
        if not self._is_here(headers.getlist("host"), scope):
            message = "the Host header names another machine; `verity serve --allow-host` adds a name"
            raise Failure(403, message, code="host_not_allowed")
        public = self._is_public(scope)
        if not public and not self._rules.origins.issuperset(headers.getlist("origin")):
            message = "requests of web pages are not taken; `verity serve --allow-origin` adds one"
            raise Failure(403, message, code="origin_not_allowed")
        role = self._rules.keys.role(headers.get("authorization"))
        if role is None and scope["path"] != "/health" and not public:
            message = "no API key, or a wrong one: send it as `Authorization: Bearer KEY`"
            raise Failure(401, message, code="invalid_api_key")
        scope[OWNER] = role == "owner"
        if scope["method"] == "POST" and not _JSON.fullmatch(headers.get("content-type", "")):
            raise Failure(415, "send JSON, with the header `Content-Type: application/json`")

    def _is_public(self, scope: Scope) -> bool:
        return self._rules.public_log and scope["method"] in ("GET", "HEAD") and scope["path"].startswith("/log/")

    def _is_here(self, given: list[str], scope: Scope) -> bool:
        match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if match is None:
            return False
        name = (match[1] or match[2]).lower()
        return name in LOOPBACK_NAMES or name in self._rules.hosts or name == _address(scope)


def _readable_by_pages(send: Send) -> Send:
    async def with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Access-Control-Allow-Origin"] = "*"
        await send(message)

    return with_header


def _address(scope: Scope) -> str | None:
    """The address that the connection arrived at: a number, so that no name can be re-bound to it."""
    server = scope.get("server")
    try:
        return str(ipaddress.ip_address(server[0])) if server else None
    except ValueError:
        return None


class _Body:
    """``receive`` within size and time, and within what the bodies of all requests may take together. Raises Failure,
    at once when the headers tell, else as it is read."""

    def __init__(self, scope: Scope, receive: Receive, traffic: Traffic) -> None:
        self._receive = receive
        self._traffic = traffic
        self._limit = MAX_VERIFY_BODY if scope["path"] == "/v1/verify" else MAX_BODY
        self._complete = False
        self._deadline = asyncio.get_running_loop().time() + BODY_TIME_S
        self._count = 0
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal():
            self._check(int(announced[:20]))

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise Failure(408, "the request took too long to come", code="request_timeout") from error
        size = len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        self._check(self._count + size)
        self._count += size
        self._traffic.held += size
        if self._traffic.held > MAX_HELD:
            raise Failure(429, "the server is reading too much at once; try again later", retry_after_s=5)
        return message

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise Failure(413, f"a request to this address has at most {self._limit:,} bytes")

    def forget(self) -> None:
        """The request is over."""
        self._traffic.held -= self._count
