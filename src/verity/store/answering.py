"""Who is answering now: a locked file per open receipt tells work under way from what a dead process left.

home/answering/<receipt id>     locked (flock) by the process that answers, gone when it is done
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from verity.errors import StoreError
from verity.store.home import guarded

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Answering:
    """The locks of one home."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "answering"

    def hold(self, receipt_id: str, *, new: bool = False) -> Hold:
        """Take the receipt's lock. Raises StoreError when another process has it; a ``new`` receipt's is waited for,
        for only a process that looks for leftovers can have it, for a moment."""
        if not _ID.fullmatch(receipt_id):  # it names a file, and a restored database may hold anything
            raise StoreError(f"{receipt_id[:80]!r} is no receipt's id", "the database is damaged: use another backup")
        with guarded(self._folder):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            while True:
                path = self._folder / receipt_id
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if new else fcntl.LOCK_NB))
                    # Whoever held it before may have removed the file: a lock on that is nobody's.
                    with contextlib.suppress(FileNotFoundError):
                        if os.path.samestat(os.fstat(descriptor), path.stat()):
                            return Hold(path, descriptor)
                except BlockingIOError:
                    os.close(descriptor)
                    message = f"receipt {receipt_id} is being answered by another process"
                    raise StoreError(message, "wait for it to end") from None
                os.close(descriptor)

    def leftovers(self) -> Iterator[str]:
        """The receipt ids whose files are there, held or not."""
        with guarded(self._folder), contextlib.suppress(FileNotFoundError):
            yield from sorted(os.listdir(self._folder))


class Hold:
    """A lock that is held until ``release``, or until the process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Remove the file and give the lock back."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
