"""A device that verifies what is hostile, and the processes that it starts for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from gguf import tiny
from hostile import Device
from processes import ends

import verity
from verity.engines.templates import CHATML
from verity.node import Node


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The owner of the tiny model, who is also the one who verifies."""
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "tiny.gguf"
    path.write_bytes(tiny(CHATML))
    engine = Device(path, threads=1, context_size=512)
    engine.model = {"name": "tiny", "blake3": "00" * 32, "sha256": "00" * 32, "size": 1}
    with verity.open(folder / "home", engine=engine) as node:
        node.load()
        yield node


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The processes that the verifier started; none of them, nor of theirs, may be left."""
    processes: list[int] = []
    start = subprocess.Popen

    def watched(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        child = start(*args, **options)
        processes.append(child.pid)
        return child

    monkeypatch.setattr("verity.replay_process.subprocess.Popen", watched)
    yield processes
    assert all(ends(process) for process in processes)
