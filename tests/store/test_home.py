"""The home folder: where it is, who may read it, and files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from verity.errors import StoreError
from verity.store import home as homes


def test_an_argument_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERITY_HOME", str(tmp_path / "environment"))
    assert homes.locate(tmp_path / "argument") == tmp_path / "argument"
    assert homes.locate() == tmp_path / "environment"


def test_the_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    folder = homes.locate(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert homes.locate(folder) == folder


def test_without_any_setting_it_is_the_platforms_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERITY_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert homes.locate().is_relative_to(tmp_path)


@pytest.mark.parametrize("kind", ["is a file", "under a file", "kernel"])
def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    place = {"is a file": file, "under a file": file / "x", "kernel": Path("/proc/verity-home")}[kind]
    with pytest.raises(StoreError, match=str(place)) as caught:
        homes.locate(place)
    assert "VERITY_HOME" in caught.value.hint


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The answer is put in os.access's mouth: for root every folder is writable.
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(StoreError, match="cannot be written to"):
        homes.locate(tmp_path)


def test_an_atomic_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    homes.write_atomically(path, b"one")
    homes.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_atomic_write_can_refuse_to_replace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    homes.write_atomically(path, b"first", replace=False)
    with pytest.raises(FileExistsError):
        homes.write_atomically(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    homes.write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StoreError, match="disk full"), homes.guarded(path):
        homes.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
