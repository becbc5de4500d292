"""The recovery key: kept away from the device, it speaks for the device's key when that is gone (spec/keys.md).

A file like ``device.key``, PEM PKCS #8 with mode 0600, or the same encrypted with a passphrase in the age format. One
may serve several devices of one owner.
"""

from __future__ import annotations

import os
from pathlib import Path

from verity.errors import FormatError, StoreError, UsageError
from verity.identity.device_key import DeviceKey, new_private_key, read_private_key
from verity.store.home import guarded, write_atomically
from verity.store.passphrases import HEADER_BYTES, decrypt, encrypt, is_encrypted

MAX_BYTES = 1 << 14
_HINT = "give the file that `verity device recovery-key --out FILE` wrote"


def make_recovery_key(path: Path, passphrase: str | None = None) -> DeviceKey:
    """Write a new recovery key to ``path``; one that is there is read, never overwritten. Raises as
    ``load_recovery_key``, and UsageError for one that is there without the passphrase that is asked for."""
    with guarded(path):
        if not path.exists():
            data = new_private_key()
            write_atomically(path, encrypt(data, passphrase) if passphrase is not None else data, replace=False)
        elif passphrase is not None and not is_encrypted(_head(path)):
            raise UsageError(f"{path} is there already, and is not encrypted", "choose another file, or no passphrase")
    return load_recovery_key(path, passphrase)


def load_recovery_key(path: Path, passphrase: str | None = None) -> DeviceKey:
    """Read a recovery key. Raises FormatError for what is none or opens with another passphrase, UsageError without a
    passphrase where one is needed, StoreError for a file that others can read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", _HINT) from error
    if len(data) > MAX_BYTES:
        raise FormatError(f"{path} is too large for a recovery key", _HINT)
    if is_encrypted(data):
        data = decrypt(data, passphrase, str(path))
    elif mode & 0o077:
        raise StoreError(f"{path} can be read by other users of this machine", f"run `chmod 600 {path}`")
    key = read_private_key(data)
    if key is None:
        raise FormatError(f"{path} is not a recovery key (Ed25519)", _HINT)
    return DeviceKey(key)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)
