"""What the crash tests share: the serving process, and each scenario's world as it is before its command."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_scenarios import MODEL, Scenario, World
from crasher import Crasher
from model_server import serving


@pytest.fixture(scope="module")
def crasher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crasher]:
    crasher = Crasher(tmp_path_factory.mktemp("said"))
    yield crasher
    crasher.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(MODEL) as address:
        yield address


@pytest.fixture(scope="module")
def prepared(crasher: Crasher, url: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Scenario], World]:
    """The scenario's world, prepared once; copy it before use."""
    worlds: dict[str, World] = {}

    def prepare(scenario: Scenario) -> World:
        if scenario.name not in worlds:
            world = World(tmp_path_factory.mktemp(scenario.name), {"url": url})
            scenario.prepare(world, crasher)
            worlds[scenario.name] = world
        return worlds[scenario.name]

    return prepare


@pytest.fixture
def world_of(prepared: Callable[[Scenario], World], quick_folder: Path) -> Callable[[Scenario], World]:
    """A copy of the scenario's world for one test."""
    return lambda scenario: prepared(scenario).copy_to(quick_folder / scenario.name)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory, where there is such a place: a process that dies loses nothing of the page cache either way, and the
    order of fsync calls is tested by itself."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="verity-test-", dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERITY_MODEL", raising=False)
