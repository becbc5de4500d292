"""Who may change the blobs: one lock on their folder, shared by those who store, alone for whoever removes.

Between the moment that a file is in its place and the moment that a name means it, it looks like what nobody needs; and
a file that was just found is gone if somebody removes it before it gets its name. So ``pull`` holds the lock, shared,
from finding or adopting a blob until it is named, and ``remove`` and ``collect`` (gc.py) hold it alone. What is still
being fetched has a lock of its own, so that a download of hours holds nobody up.

The locks are flock(2): they go with the process, however it ends. On network file systems they may bind one computer
only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from verity.errors import StoreError
from verity.store.home import guarded


@contextlib.contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Nothing is removed from ``folder`` (made if missing) during the block. Waits for a removal under way."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def removing(folder: Path) -> Iterator[None]:
    """Nobody stores in ``folder`` (made if missing) during the block. Raises StoreError when somebody is doing so."""
    with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    with guarded(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with guarded(folder):
            try:
                fcntl.flock(descriptor, how)
            except BlockingIOError:
                hint = "nothing was removed: try again when it is over"
                raise StoreError("another command is storing or removing a model", hint) from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Whoever else asks for the same folder waits until the block is over. Raises OSError."""
    descriptor = hold(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def hold(path: Path) -> int:
    """Lock a file or folder; waits for who has it. Returns the descriptor to close afterwards. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@contextlib.contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether nobody is filling the file or folder at ``path``; if so, nobody will during the block either.

    Raises OSError when it is gone or cannot be opened (a symbolic link counts as that).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held the lock until now may have moved the file away: the lock is then one on something else.
        free = os.path.samestat(os.fstat(descriptor), path.lstat())
    except BlockingIOError:
        free = False
    except BaseException:
        os.close(descriptor)
        raise
    try:
        yield free
    finally:
        os.close(descriptor)
