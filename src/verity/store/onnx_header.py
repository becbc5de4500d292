"""What an ONNX file holds, looked at before any library reads it: a stranger's file says where a library looks next.

The layout is that of onnx.proto (ONNX 1.x), in the wire format of Protocol Buffers. The whole file is walked, wherever
tensors may stand, and refused if one of them keeps its elements elsewhere: a model's digest would not say what is
computed, and a path of the stranger's choice would be read. Elements themselves are passed over.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from verity.errors import FormatError
from verity.store.home import guarded

MAX_BYTES = (1 << 31) - 1
"""Protocol Buffers' own limit."""
MAX_FIELDS = 2_000_000
MAX_DEPTH = 60

FIRST_BYTE = 0x08
"""Field 1, ``ir_version``, as a number: what every known exporter writes first."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH_FIELD, _OPERATORS_FIELD = 7, 8
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""By the kind of a message, the fields in which others stand that lead to a tensor."""

Data = bytes | mmap.mmap


def require_onnx(path: Path) -> None:
    """That the file at ``path`` is a model in ONNX that is whole. Raises FormatError, StoreError if unreadable."""
    with guarded(path), path.open("rb") as file:
        if path.stat().st_size == 0:
            raise FormatError("this is not an ONNX model file: it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            check_onnx(data)


def check_onnx(data: Data) -> None:
    """The same of a file's bytes. Raises FormatError."""
    if len(data) > MAX_BYTES:
        raise FormatError("this ONNX file is larger than 2 GiB", "no runtime reads it whole; use a smaller model")
    walk = _Walk(data)
    waiting: list[tuple[str, int, int, int]] = [("model", 0, len(data), 0)]
    top: set[tuple[int, int]] = set()
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise FormatError(f"this ONNX file is nested more than {MAX_DEPTH} levels deep")
        for number, wire, at, value in walk.fields(start, end):
            if kind == "model":
                top.add((number, wire))
            if kind == "tensor" and _elsewhere(number, wire, value):
                raise FormatError(
                    "this ONNX file keeps elements of a tensor in another file",
                    "write the model as one file: onnx.save(model, path, save_as_external_data=False)",
                )
            if wire == _BYTES and (child := _CHILDREN[kind].get(number)) is not None:
                waiting.append((child, at, at + value, depth + 1))
    if not {(1, _VARINT), (_GRAPH_FIELD, _BYTES), (_OPERATORS_FIELD, _BYTES)} <= top:
        raise FormatError("this is not an ONNX model file: it has no graph", "pull a file in the ONNX format")


def _elsewhere(number: int, wire: int, value: int) -> bool:
    # A number is cut to 32 bits by whoever reads it as an enumeration: any but 0 could be EXTERNAL.
    return (number, wire) == (_EXTERNAL_DATA, _BYTES) or ((number, wire) == (_DATA_LOCATION, _VARINT) and value != 0)


class _Walk:
    def __init__(self, data: Data) -> None:
        self._data = data
        self._left = MAX_FIELDS

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """The fields between two offsets: number, wire type, where its bytes begin, and its value or their length."""
        at = start
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise FormatError(f"this ONNX file has more than {MAX_FIELDS:,} parts")
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            value, size = 0, 0
            if wire == _VARINT:
                value, at = self._varint(at, end)
            elif wire == _BYTES:
                size, at = self._varint(at, end)
                value = size
            elif wire in (_FIXED64, _FIXED32):
                size = 8 if wire == _FIXED64 else 4
            else:
                raise _broken()
            if number == 0 or size > end - at:
                raise _broken()
            yield number, wire, at, value
            at += size

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise _broken()


def _broken() -> FormatError:
    return FormatError("this is not an ONNX model file, or it is damaged or cut short", "pull it again")
