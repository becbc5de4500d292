"""The device's key: made once, kept to its owner, refused when it is not safe."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from verity.errors import SignatureError, StoreError
from verity.identity.device_key import KEY_FILE, DeviceKey
from verity.statements.keys import check_signature
from verity.store.home import locate


def test_made_on_first_use_and_kept(home: Path) -> None:
    folder = locate(home)
    key = DeviceKey.load(folder)
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert DeviceKey.load(folder).id == key.id
    assert len(key.id) == 64
    assert key.public.hex() == key.id


def test_signs(home: Path) -> None:
    key = DeviceKey.load(locate(home))
    check_signature(key.public, b"message", key.sign(b"message"))
    with pytest.raises(SignatureError):
        check_signature(key.public, b"another", key.sign(b"message"))


def test_two_first_commands_at_once_get_one_key(home: Path) -> None:
    folder = locate(home)
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: DeviceKey.load(folder).id, range(8)))
    assert len(keys) == 1
    assert [p.name for p in folder.iterdir()] == [KEY_FILE]


def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    folder = locate(home)
    DeviceKey.load(folder)
    (folder / KEY_FILE).chmod(0o644)
    with pytest.raises(StoreError, match="read by other users") as caught:
        DeviceKey.load(folder)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_never_replaced(home: Path, content: bytes) -> None:
    path = locate(home) / KEY_FILE
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="not a device key"):
        DeviceKey.load(path.parent)
    assert path.read_bytes() == content
