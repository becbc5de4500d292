"""The recovery key's file: what is asked for is what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from verity.errors import FormatError, StoreError, UsageError
from verity.identity.recovery_key import load_recovery_key, make_recovery_key


def test_a_file_that_is_there_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recovery.key"
    key = make_recovery_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert make_recovery_key(path).id == load_recovery_key(path).id == key.id
    path.chmod(0o644)
    with pytest.raises(StoreError, match="other users"):
        load_recovery_key(path)


def test_who_asks_for_a_passphrase_is_not_left_without_one(tmp_path: Path) -> None:
    path = tmp_path / "recovery.key"
    make_recovery_key(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="not encrypted"):
        make_recovery_key(path, "a passphrase")
    assert path.read_bytes() == before


def test_with_a_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "recovery.key"
    key = make_recovery_key(path, "a passphrase")
    assert b"PRIVATE KEY" not in path.read_bytes()
    assert make_recovery_key(path, "a passphrase").id == key.id
    with pytest.raises(FormatError):
        make_recovery_key(path, "another")
    with pytest.raises(UsageError):
        load_recovery_key(path)
