"""The application on a fake service; and a real server on the real model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_service import FakeService
from fastapi import FastAPI
from serve_command import MODEL, Served, served

from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys


@pytest.fixture
def owner_key() -> str:
    return "verity-owner-" + "k" * 32


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def app(service: FakeService, owner_key: str) -> FastAPI:
    return make_app(service, Rules(Keys(owner_key)))


@pytest.fixture(scope="module")
def server(model_home: Path) -> Iterator[Served]:
    with served(model_home, "--parallel", "4", "--model", MODEL) as server:
        yield server
