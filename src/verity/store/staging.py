"""A folder aside, in which something is built that must be there wholly or not at all.

A process that dies leaves its folder behind, with a device's key and prompts in it. So each is locked while it is used
(flock(2), which goes with the process), and whoever makes the next one in the same place removes those that nobody
holds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from verity.store import locks


@contextlib.contextmanager
def staging(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder (0700) two levels below ``parent``; afterwards it is gone, unless the block moved it.

    Raises OSError. The lock is on the folder around it, for a database that is opened in it locks its own folder.
    """
    with locks.one_at_a_time(parent):  # a folder is never seen before it is locked
        for left in parent.glob(f"{prefix}*"):
            _remove_abandoned(left)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = locks.hold(folder)
    try:
        inner = folder / "new"
        inner.mkdir(mode=0o700)
        yield inner
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it is no folder, somebody else's, or gone meanwhile
        if folder.is_symlink() or not folder.is_dir():
            return
        with locks.abandoned(folder) as free:
            if free:
                shutil.rmtree(folder, ignore_errors=True)
