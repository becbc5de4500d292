"""Who may use the server: an API key for programs, and the owner's key, which alone opens disclosures.

The owner's key is made by ``verity serve`` and kept in ``$VERITY_HOME/owner-key`` (mode 0600).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from verity.errors import StoreError, UsageError
from verity.store.home import guarded, write_atomically

OWNER_KEY_FILE = "owner-key"
API_KEY_VARIABLE = "VERITY_API_KEY"
_LEAST = 16
_MOST = 512

Role = Literal["owner", "caller"]


class Keys:
    """The keys that open this server; without ``api_key`` everybody who reaches it is a caller."""

    def __init__(self, owner_key: str, api_key: str | None = None) -> None:
        self._owner = _digest(owner_key)
        self._api = _digest(api_key) if api_key is not None else None

    def role(self, authorization: str | None) -> Role | None:
        """Who comes with this ``Authorization`` header; None: nobody that may enter."""
        scheme, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip() if scheme.lower() == "bearer" else "")
        # Digests are compared, and both always: the time tells nothing of a key, nor of its length.
        owner = hmac.compare_digest(given, self._owner)
        caller = hmac.compare_digest(given, self._api or b"")
        return "owner" if owner else "caller" if caller or self._api is None else None


def owner_key(home: Path) -> str:
    """The owner's key of the device whose home this is, made if there is none. Raises StoreError."""
    path = home / OWNER_KEY_FILE
    with guarded(path), contextlib.suppress(FileExistsError):  # of two first starts at once, one key wins
        if not path.exists():
            write_atomically(path, f"verity-owner-{secrets.token_urlsafe(32)}\n".encode(), 0o600, replace=False)
    try:
        return read_key_file(path)
    except UsageError as error:
        raise StoreError(str(error), f"{error.hint}, or remove it: a new one is made") from error


def api_key(path: str | None, environment: Mapping[str, str]) -> str | None:
    """The API key from a file, else from VERITY_API_KEY, else None. Raises UsageError."""
    if path is not None:
        return read_key_file(Path(path))
    value = environment.get(API_KEY_VARIABLE)
    return _checked(value, API_KEY_VARIABLE) if value else None


def read_key_file(path: Path) -> str:
    """A key from a file that only its owner can read. Raises UsageError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MOST + 2)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a key: {error}", "put the key alone into a text file") from error
    if mode & 0o077:
        raise UsageError(f"{path} can be read by other users of this machine", f"run `chmod 600 {path}`")
    return _checked(data.decode("utf-8", "replace").rstrip("\r\n"), str(path))


def _checked(key: str, where: str) -> str:
    if not _LEAST <= len(key) <= _MOST or not all("!" <= character <= "~" for character in key):
        raise UsageError(
            f"the key in {where} is not {_LEAST} to {_MOST} printable ASCII characters without spaces",
            "make one with `openssl rand -hex 32`",
        )
    return key


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
