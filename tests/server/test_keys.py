"""Keys in files and in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import StoreError, UsageError
from verity.server.keys import OWNER_KEY_FILE, Keys, api_key, owner_key


def test_the_owners_key_is_made_once_and_is_his_alone(tmp_path: Path) -> None:
    key = owner_key(tmp_path)
    assert owner_key(tmp_path) == key
    assert len(key) > 40
    assert (tmp_path / OWNER_KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_an_owners_key_that_others_can_read(tmp_path: Path) -> None:
    owner_key(tmp_path)
    (tmp_path / OWNER_KEY_FILE).chmod(0o644)
    with pytest.raises(StoreError, match="other users"):
        owner_key(tmp_path)


def test_the_api_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o600)
    assert api_key(str(path), {"VERITY_API_KEY": "x" * 16}) == "0123456789abcdef"
    assert api_key(None, {"VERITY_API_KEY": "x" * 16}) == "x" * 16
    assert api_key(None, {"VERITY_API_KEY": ""}) is None
    assert api_key(None, {}) is None


@pytest.mark.parametrize(
    "key", ["short", "x" * 513, "with a space in it", "tab\tin the middle of it", "ünïcödé-ünïcödé-"]
)
def test_a_key_that_is_none(tmp_path: Path, key: str) -> None:
    path = tmp_path / "key"
    path.write_text(key)
    path.chmod(0o600)
    with pytest.raises(UsageError):
        api_key(str(path), {})
    with pytest.raises(UsageError):
        api_key(None, {"VERITY_API_KEY": key})


def test_key_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("x" * 32)
    path.chmod(0o640)
    for bad in (path, tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError):
            api_key(str(bad), {})


@given(st.none() | st.text(max_size=60))
def test_nobody_guesses_his_way_in(header: str | None) -> None:
    keys = Keys("verity-owner-key", "an-api-key-for-programs")
    assert keys.role(header) is None
    assert Keys("verity-owner-key").role(header) == "caller"


def test_roles() -> None:
    keys = Keys("verity-owner-key", "an-api-key-for-programs")
    assert keys.role("Bearer verity-owner-key") == "owner"
    assert keys.role("bearer an-api-key-for-programs") == "caller"
