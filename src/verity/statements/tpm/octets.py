"""A cursor over bytes from outside: every read is within bounds or a FormatError, and nothing may be left over."""

from __future__ import annotations

from typing import Literal

from verity.errors import FormatError


class Octets:
    """Reads ``data`` from its start; a TPM writes its numbers big-endian, a firmware's event log little-endian."""

    def __init__(self, data: bytes, what: str, order: Literal["big", "little"] = "big") -> None:
        self._data = data
        self._what = what
        self._order: Literal["big", "little"] = order
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes were not read yet."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises FormatError."""
        if size > self.left:
            raise FormatError(f"the {self._what} ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        """The next unsigned number of ``size`` bytes. Raises FormatError."""
        return int.from_bytes(self.take(size), self._order)

    def sized(self, most: int) -> bytes:
        """A TPM2B: two bytes of size, then that many, at most ``most``. Raises FormatError."""
        size = self.number(2)
        if size > most:
            raise FormatError(f"the {self._what} has a part of {size} bytes where at most {most} are allowed")
        return self.take(size)

    def must(self, size: int, value: int, what: str) -> None:
        """The next number is ``value``. Raises FormatError."""
        if (found := self.number(size)) != value:
            raise FormatError(f"the {self._what} has {what} {found:#x}, not {value:#x}")

    def end(self) -> None:
        """Nothing is left. Raises FormatError."""
        if self.left:
            raise FormatError(f"the {self._what} has {self.left} bytes too many")


def sized(data: bytes) -> bytes:
    """``data`` as a TPM2B."""
    return len(data).to_bytes(2, "big") + data
