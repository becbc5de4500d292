"""A stranger's ZIP file, read by Python's zipfile under two bounds that it does not set itself.

The list of members stands at the end; it may be as long as the file, and costs ten times its length in memory. And a
member may be packed by methods that ask for gigabytes: wheels and backups are stored or deflated, nothing else is read.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

from verity.errors import FormatError

MOST_AT_ONCE = 4 << 20
"""Bytes: no list of members is longer."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextlib.contextmanager
def opened_archive(file: IO[bytes], what: str, hint: str) -> Iterator[zipfile.ZipFile]:
    """The archive in ``file``, for reading. Raises FormatError for a damaged one, also when that shows only inside the
    block; the message begins with ``what`` (“… is not a sound wheel”)."""
    try:
        with zipfile.ZipFile(cast(IO[bytes], _Bounded(file))) as archive:
            if any(info.compress_type not in _METHODS for info in archive.infolist()):
                raise zipfile.BadZipFile("a member is neither stored nor deflated")
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise FormatError(f"{what}: {str(error)[:200]}", hint) from error


class _Bounded:
    """A file that refuses to be read in one huge piece, or from where no file has anything."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self.tell, self.seekable = file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, MOST_AT_ONCE + 1) if size >= 0 else MOST_AT_ONCE + 1)
        if len(data) > MOST_AT_ONCE:
            raise zipfile.BadZipFile("its list of members is too long")
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and not 0 <= offset <= self._size:
            raise zipfile.BadZipFile("a member stands outside the file")
        return self._file.seek(offset, whence)

    def close(self) -> None:
        """The caller's file stays open."""
