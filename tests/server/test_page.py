"""docs/server.md names what there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from fake_service import FakePublicLog, FakeService

from verity.cli.serve import serve
from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys
from verity.server.wire import ChatRequest, CompletionRequest, EmbeddingRequest, VerifyRequest

PAGE = (Path(__file__).parents[2] / "docs/server.md").read_text()


def test_every_address_and_no_other() -> None:
    app = make_app(FakeService(), Rules(Keys("k" * 40), public_log=True), public_log=FakePublicLog())
    described = app.openapi()["paths"]
    there = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    assert set(re.findall(r"`((?:GET|HEAD|POST) /[^`]*)`", PAGE)) == there | {"GET /openapi.json"}


def test_every_option() -> None:
    options = {name for option in serve.params for name in option.opts}
    assert {name for name in options if f"`{name}`" not in PAGE} == set()


def test_every_member_of_a_request() -> None:
    words = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`[^`]*`", PAGE))))
    named = words | {"messages", "input", "encoding_format", "modalities"}  # their form is OpenAI's
    for request in (ChatRequest, CompletionRequest, EmbeddingRequest, VerifyRequest):
        assert set(request.model_fields) - named == set()
