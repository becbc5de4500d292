"""Folders aside: gone after use, and those of dead processes gone with the next one; never one that is in use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from verity.store.database import Database
from verity.store.staging import staging


def test_it_is_gone_afterwards(tmp_path: Path) -> None:
    with staging(tmp_path, ".new-") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "secret").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_moved_into_place(tmp_path: Path) -> None:
    with staging(tmp_path, ".new-") as folder:
        (folder / "file").write_text("x")
        os.replace(folder, tmp_path / "place")
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert (tmp_path / "place/file").read_text() == "x"


def test_an_error_takes_it_away(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no"), staging(tmp_path, ".new-"):
        raise RuntimeError("no")
    assert list(tmp_path.iterdir()) == []


def test_only_what_nobody_holds_is_removed_with_the_next(tmp_path: Path) -> None:
    (tmp_path / ".new-dead").mkdir()
    (tmp_path / ".new-dead/device.key").write_text("secret")
    (tmp_path / ".new-file").write_text("somebody's")
    (tmp_path / "other").mkdir()
    (tmp_path / ".new-link").symlink_to(tmp_path / "other")
    with staging(tmp_path, ".new-") as held, staging(tmp_path, ".new-") as second:
        assert held.is_dir()
        assert second.is_dir()
        assert not (tmp_path / ".new-dead").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new-file", ".new-link", "other"]


def test_a_database_can_be_opened_in_it(tmp_path: Path) -> None:
    """Which locks its own folder: the two locks must not be on one folder."""
    with staging(tmp_path, ".new-") as folder, Database.open(folder) as database:
        assert database.path.is_file()
