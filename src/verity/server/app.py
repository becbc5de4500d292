"""The whole, put together: routes, failures, the gate before them, and an exact description at /openapi.json."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

import verity
from verity.server.answering import Service
from verity.server.failures import HANDLERS
from verity.server.gate import Gate, Rules
from verity.server.log_routes import log_router
from verity.server.public_log import PublicLog
from verity.server.routes import router
from verity.server.traffic import Counted, Traffic

_ABOUT = "OpenAI's API, answered by this device; every answer has a receipt. See docs/server.md."


def make_app(
    service: Service, rules: Rules, traffic: Traffic | None = None, public_log: PublicLog | None = None
) -> FastAPI:
    """The ASGI application. It neither starts nor stops the service, nor ``public_log``, which it has addresses for if
    there is one."""
    traffic = traffic or Traffic()
    app = FastAPI(
        title="Verity",
        version=verity.__version__,
        description=_ABOUT,
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=dict(HANDLERS),
    )
    app.state.service = service
    app.include_router(router)
    if public_log is not None:
        app.state.public_log = public_log
        app.include_router(log_router)
    app.add_middleware(Gate, rules=rules, traffic=traffic)
    app.add_middleware(Counted, traffic=traffic)  # the outermost: added last
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return app


def _description(app: FastAPI) -> dict[str, Any]:
    """The framework's own, without the 422 that it assumes: a malformed request gets 400 here."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                operation["security"] = [{"key": []}, {}]
        components = schema["components"]
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = schema
    return app.openapi_schema
