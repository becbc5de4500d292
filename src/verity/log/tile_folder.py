"""A folder of tiles: each file is there whole or not at all, and one that is there is never changed.

``checkpoint`` and ``index.json`` alone are replaced. Whoever writes holds the folder's lock; what a writer that died
left behind is removed by the next. The files are public: mode 0644.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verity.errors import LogError, StoreError
from verity.store import locks
from verity.store.home import guarded, sync_folder, write_atomically

CHECKPOINT = "checkpoint"
INDEX = "index.json"
EVIDENCE_HINT = "nothing was overwritten: keep both as evidence; `verity log fsck` says which is the signed one"

_MODE = 0o644
_LEFT = re.compile(r"\..+\.tmp")


class TileFolder:
    """Paths are relative, with slashes. Every method raises StoreError when the folder cannot be used."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nobody else writes during the block. The folder is made if it is missing."""
        with guarded(self.root):
            self._make(self.root)
            lock = locks.hold(self.root)
        try:
            with guarded(self.root):
                for path in self._files():
                    if _LEFT.fullmatch(path.name):
                        path.unlink(missing_ok=True)
            yield
        finally:
            os.close(lock)

    def read(self, path: str, limit: int) -> bytes | None:
        """The file's bytes, None where there is none. Raises StoreError above ``limit`` bytes, or for a link."""
        place = self.root / path
        with guarded(place):
            try:
                # Non-blocking: a pipe in the file's place is refused, not waited for.
                descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                return None
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise StoreError(f"{place} is no regular file", EVIDENCE_HINT)
                data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"{place} has more than {limit:,} bytes", EVIDENCE_HINT)
        return data

    def size(self, path: str) -> int | None:
        """The file's length in bytes, None where there is none."""
        with guarded(self.root / path):
            try:
                return (self.root / path).lstat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def add(self, path: str, data: bytes) -> bool:
        """Write a file that will never change; whether it was missing. Raises LogError when another is there."""
        there = self.read(path, max(len(data), 1))
        if there is None:
            self.replace(path, data)
        elif there != data:
            raise LogError(f"{self.root / path} holds something else than what belongs there", EVIDENCE_HINT)
        return there is None

    def replace(self, path: str, data: bytes) -> None:
        """Write a file, in the place of the one that is there."""
        place = self.root / path
        with guarded(place):
            self._make(place.parent)
            write_atomically(place, data, _MODE)

    def remove(self, path: str) -> None:
        """Take a file away, if it is there. For notes of the writer's own; a tile stays."""
        with guarded(self.root / path):
            (self.root / path).unlink(missing_ok=True)

    def paths(self) -> Iterator[str]:
        """All files, links included."""
        with guarded(self.root):
            for path in self._files():
                yield path.relative_to(self.root).as_posix()

    def _files(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.root, onerror=_refuse):
            folders.sort()
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            yield from (Path(folder) / name for name in sorted([*names, *links]))

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def _refuse(error: OSError) -> None:
    raise error
