"""A sequence's memory in llama.cpp, in an encoding of our own. Specified in spec/segments.md.

llama.cpp writes a sequence (``llama_state_seq_get_data``) as headers, which hold sizes and positions, and for each
layer the rows of K, then for each layer those of V. Here only the rows are taken, by position, and the headers are
made again from what this engine knows of itself: nothing that a stranger sends is parsed by llama.cpp.

    chunk of positions [start, end)     for each layer: K rows start … end-1, V rows start … end-1
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from verity.engines.library import explain
from verity.errors import EngineError

Bytes = npt.NDArray[np.uint8]
_CELL = struct.Struct("<iIi")  # position, number of sequences (1), sequence
_TENSOR = struct.Struct("<iQ")  # ggml type, bytes of a row


class Layout(NamedTuple):
    """What is the same for every state of an engine: its header (magic), the layers, and for K and V the ggml type and
    the bytes of a row."""

    magic: bytes
    layers: int
    k: tuple[int, int]
    v: tuple[int, int]

    @property
    def row(self) -> int:
        """Bytes of all layers at one position."""
        return self.layers * (self.k[1] + self.v[1])

    @property
    def encoding(self) -> dict[str, Any]:
        """As it stands in field ``output/segments``."""
        return {"kind": "kv", "layers": self.layers, "k": list(self.k), "v": list(self.v)}


class Rows(NamedTuple):
    """A state that was read: for each layer the K rows and the V rows, (positions, bytes of a row)."""

    layout: Layout
    k: list[Bytes]
    v: list[Bytes]

    def chunk(self, start: int, end: int) -> bytes:
        """The encoding of these positions."""
        return b"".join(part[start:end].tobytes() for pair in zip(self.k, self.v, strict=True) for part in pair)


def save(lib: Any, context: Any, sequence: int) -> Bytes:
    """A sequence as llama.cpp writes it."""
    data = np.empty(lib.llama_state_seq_get_size(context, sequence), dtype=np.uint8)
    return data[: lib.llama_state_seq_get_data(context, _pointer(data), len(data), sequence)]


def load(lib: Any, context: Any, sequence: int, data: Bytes) -> None:
    """Make a sequence what ``save`` or ``write_rows`` gave. Raises EngineError."""
    if not len(data) or not lib.llama_state_seq_set_data(context, _pointer(data), len(data), sequence):
        raise EngineError(explain("llama.cpp could not take a sequence's state"))


def _pointer(data: Bytes) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


class _Reader:
    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> Bytes:
        if self._at + size > len(self._data):
            raise ValueError("cut short")
        self._at += size
        return self._data[self._at - size : self._at]

    def u32(self) -> int:
        return int.from_bytes(self.take(4).tobytes(), "little")

    @property
    def over(self) -> bool:
        return self._at == len(self._data)


def read_rows(data: Bytes, length: int) -> Rows | None:
    """The rows of a sequence of ``length`` tokens, as llama.cpp wrote it; None if this model's memory is no plain list
    of rows, one for each position (sliding windows, recurrent models)."""
    reader = _Reader(data)
    try:
        magic, _ = reader.take(4).tobytes(), reader.take(4)
        counts = 0
        for _ in range(reader.u32()):
            cells = reader.u32()
            if cells:
                counts += 1
                rows = _stream(reader, magic, cells, length)
    except ValueError:
        return None
    return rows if counts == 1 and reader.over else None


def _stream(reader: _Reader, magic: bytes, cells: int, length: int) -> Rows:
    if cells != length:
        raise ValueError("not one row for each position")
    table = reader.take(cells * _CELL.size).tobytes()
    if any(cell[:2] != (position, 1) for position, cell in enumerate(_CELL.iter_unpack(table))):
        raise ValueError("cells are not in the order of positions")
    transposed, layers = reader.u32(), reader.u32()
    if transposed or not layers:
        raise ValueError("the values are stored in another way")
    k, v = (_tensors(reader, layers, cells) for _ in range(2))
    return Rows(Layout(magic, layers, k[0], v[0]), k[1], v[1])


def _tensors(reader: _Reader, layers: int, cells: int) -> tuple[tuple[int, int], list[Bytes]]:
    kinds, found = set(), []
    for _ in range(layers):
        kind, size = _TENSOR.unpack(reader.take(_TENSOR.size).tobytes())
        kinds.add((kind, size))
        found.append(reader.take(cells * size).reshape(cells, size))
    if len(kinds) != 1:
        raise ValueError("layers differ")
    return kinds.pop(), found


def write_rows(layout: Layout, chunks: Sequence[bytes], *, streams: int, sequence: int) -> Bytes:
    """What llama.cpp reads as a sequence with these rows from position 0 on, in an engine of ``streams`` sequences.

    Raises EngineError for chunks that are not whole rows.
    """
    cells, k, v = _by_layer(layout, chunks)
    out = [layout.magic, struct.pack("<iII", sequence, streams, cells)]
    out += [_CELL.pack(position, 1, sequence) for position in range(cells)]
    out.append(struct.pack("<II", 0, layout.layers))
    for kind, layers in ((layout.k, k), (layout.v, v)):
        for rows in layers:
            out += [_TENSOR.pack(*kind), *rows]
    out.append(struct.pack("<I", 0) * (streams - 1))
    return np.frombuffer(b"".join(out), dtype=np.uint8)


def _by_layer(layout: Layout, chunks: Sequence[bytes]) -> tuple[int, list[list[bytes]], list[list[bytes]]]:
    """How many positions the chunks hold, and for each layer the pieces of K and of V, in order."""
    if any(len(chunk) % layout.row or not chunk for chunk in chunks):
        raise EngineError("this state is not made of rows of this model", "it is another model's")
    k, v = [list[bytes]() for _ in range(layout.layers)], [list[bytes]() for _ in range(layout.layers)]
    for chunk in chunks:
        at, count = 0, len(chunk) // layout.row
        for layer in range(layout.layers):
            for pieces, (_, size) in ((k, layout.k), (v, layout.v)):
                pieces[layer].append(chunk[at : at + count * size])
                at += count * size
    return sum(map(len, chunks)) // layout.row, k, v
