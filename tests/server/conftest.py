"""The application on a fake service."""

from __future__ import annotations

import pytest
from fake_service import FakeService
from fastapi import FastAPI

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
