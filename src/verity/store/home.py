"""The folder where a device keeps what is its own: key, database, blobs.

``$VERITY_HOME`` names it; otherwise it is the per-user data folder of the platform (platformdirs). It is made with mode
0700, because the database holds prompts and outputs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from verity.errors import StoreError


def find(path: str | os.PathLike[str] | None = None) -> Path:
    """Where the home folder is or would be; nothing is made. Raises StoreError for what cannot name a folder."""
    if path is None:
        path = os.environ.get("VERITY_HOME") or None
    if path is None:
        import platformdirs

        path = platformdirs.user_data_path("verity")
    if not str(path):
        raise StoreError("the home folder has no name", _HINT)
    try:
        home = Path(path).expanduser().absolute()
        home.exists()
    except (RuntimeError, ValueError) as error:  # an unknown ~user, a NUL
        raise StoreError(f"{str(path)!r} is not the name of a folder: {error}", _HINT) from error
    return home


def locate(path: str | os.PathLike[str] | None = None) -> Path:
    """Return the home folder, made if missing. Raises StoreError when it cannot be made or written to."""
    home = find(path)
    with guarded(home):
        missing = [folder for folder in (home, *home.parents) if not folder.exists()]
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in missing:
            with contextlib.suppress(PermissionError):  # one may make a folder where one may not read
                sync_folder(folder.parent)
    if not os.access(home, os.W_OK | os.X_OK):
        raise StoreError(f"the home folder {home} cannot be written to", _HINT)
    return home


_HINT = "make it writable, or point VERITY_HOME (or --home) at a folder that is"
_NO_ROOM = "make room on the disk and try again: what was there before is as it was"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn an operating-system error about ``path`` into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        hint = _NO_ROOM if error.errno in _FULL else _HINT
        raise StoreError(f"{path}: {error.strerror or error}", hint) from error


def write_atomically(path: Path, data: bytes, mode: int = 0o600, *, replace: bool = True) -> None:
    """Write a file that is there whole or not at all: temporary file, fsync, rename, fsync of the folder.

    With ``replace=False`` an existing file is kept and FileExistsError is raised; of two processes one wins.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
