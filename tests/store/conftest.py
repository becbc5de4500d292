"""What the tests of the store share: a store in a temporary home, and a model-like file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from verity.store.blobs import Blobs
from verity.store.database import Database


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def blobs(home: Path) -> Iterator[Blobs]:
    database = Database.open(home)
    yield Blobs(home, database)
    database.close()


@pytest.fixture(scope="session")
def content() -> bytes:
    """3 MB that begin as a GGUF file does and differ everywhere."""
    return b"GGUF" + b"".join(n.to_bytes(4, "big") for n in range(750_000))


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERITY_MODEL", raising=False)
