"""The device's Ed25519 key: made on first use, kept in ``$VERITY_HOME/device.key`` (PEM PKCS #8, mode 0600).

While a key is exchanged for another (verity/rotation.py), the new one lies beside it as ``device.key.next``.
"""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from verity.errors import StoreError
from verity.store.home import guarded, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE = "device.key"
NEXT_KEY_FILE = "device.key.next"
_MAX_KEY_FILE = 4096


class DeviceKey:
    """Signs as this device. ``id`` (64 hex digits of the public key) is the device's name everywhere."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def load(cls, home: Path, name: str = KEY_FILE) -> DeviceKey:
        """The key of the device whose home this is, or its next one; made if there is none. Raises StoreError."""
        path = home / name
        with guarded(path):
            if not path.exists():
                # Of two first commands at once, one key wins and both use it.
                with contextlib.suppress(FileExistsError):
                    write_atomically(path, new_private_key(), 0o600, replace=False)
            if path.stat().st_mode & 0o077:
                raise StoreError(
                    f"{path} can be read by other users of this machine, so it may not be yours alone",
                    f"run `chmod 600 {path}`; if others could have copied it, move it away to get a new device key",
                )
            with path.open("rb") as file:
                data = file.read(_MAX_KEY_FILE)
        return cls(_parse(data, path))

    @cached_property
    def public(self) -> bytes:
        """32 bytes."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def id(self) -> str:
        return self.public.hex()

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature (RFC 8032)."""
        return self._private.sign(message)


def new_private_key() -> bytes:
    """A new Ed25519 key as PEM PKCS #8."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_private_key(data: bytes) -> Ed25519PrivateKey | None:
    """The Ed25519 key that these bytes are, as PEM without a passphrase; None for anything else."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None


def _parse(data: bytes, path: Path) -> Ed25519PrivateKey:
    key = read_private_key(data)
    if key is None:
        hint = "restore it from a backup, or move it away: the device then gets a new key and a new log"
        raise StoreError(f"{path} is not a device key (Ed25519)", hint)
    return key
