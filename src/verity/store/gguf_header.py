"""What a GGUF file says of itself, read by nobody's library: a stranger's file is looked at before anything else is.

    "GGUF" ‖ version u32 ‖ tensors u64 ‖ keys u64 ‖ (key ‖ type u32 ‖ value) …      little-endian, version 2 or 3

The layout is that of ggml's docs/gguf.md. At most MAX_HEADER bytes are read, once; nothing that the file announces
decides how much memory is taken.
"""

from __future__ import annotations

import struct
from pathlib import Path

from verity.errors import FormatError
from verity.store.home import guarded

MAX_HEADER = 1 << 20
"""Bytes of keys and values: an adapter has a few kilobytes of them, a model with its vocabulary has more than this."""
Value = str | int | float | bool | None
"""Of a key; None stands for an array, whose items are not kept."""

_VERSIONS = (2, 3)
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9


def read_metadata(path: Path) -> dict[str, Value]:
    """All keys of the GGUF file at ``path`` with their values. Raises FormatError, StoreError if unreadable."""
    with guarded(path), path.open("rb") as file:
        data = file.read(MAX_HEADER + 1)
    return parse_metadata(data)


def parse_metadata(data: bytes) -> dict[str, Value]:
    """The same of the file's first bytes, MAX_HEADER of which count. Raises FormatError."""
    reader = _Reader(data[:MAX_HEADER], cut=len(data) > MAX_HEADER)
    if data[:4] != b"GGUF":
        raise FormatError(f"this is not a GGUF file: it {f'begins {data[:4]!r}' if data else 'is empty'}")
    reader.take(4)
    version = reader.number("<I")
    if version not in _VERSIONS:
        raise FormatError(f"this GGUF file is of version {version}", "convert it anew: versions 2 and 3 can be read")
    reader.number("<Q")
    metadata: dict[str, Value] = {}
    for _ in range(int(reader.number("<Q"))):  # each takes bytes: a count that is a lie ends with the data
        key = reader.text()
        if key in metadata:
            raise FormatError(f"the GGUF file has the key {key[:80]!r} twice")
        metadata[key] = reader.value(int(reader.number("<I")))
    return metadata


class _Reader:
    def __init__(self, data: bytes, *, cut: bool) -> None:
        self._data = data
        self._cut = cut
        self._at = 0

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            if self._cut:
                raise FormatError(f"the GGUF file says more of itself than {MAX_HEADER:,} bytes")
            raise FormatError("the GGUF file ends in the middle of what it says of itself")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, form: str) -> int | float:
        number: int | float = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return number

    def text(self) -> str:
        try:
            return self.take(int(self.number("<Q"))).decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError("a text in the GGUF file is not UTF-8") from error

    def value(self, kind: int) -> Value:
        if kind == _ARRAY:
            self._skip_array(int(self.number("<I")), int(self.number("<Q")))
            return None
        if kind == _STRING:
            return self.text()
        if kind not in _SCALARS:
            raise FormatError(f"a value in the GGUF file is of an unknown type, {kind}")
        number = self.number(_SCALARS[kind])
        if kind == _BOOL and number not in (0, 1):
            raise FormatError("a truth value in the GGUF file is neither 0 nor 1")
        return bool(number) if kind == _BOOL else number

    def _skip_array(self, kind: int, count: int) -> None:
        if kind == _STRING:
            for _ in range(count):
                self.take(int(self.number("<Q")))
        elif kind in _SCALARS:
            self.take(count * struct.calcsize(_SCALARS[kind]))
        else:  # ggml reads no arrays of arrays either
            raise FormatError(f"an array in the GGUF file has items of an unknown type, {kind}")
