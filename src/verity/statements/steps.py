"""Steps: what a network was given and what it gave, in the bytes that a receipt commits to. Specified in
spec/inference.md.

    step     = u16 inputs ‖ tensor … ‖ u16 outputs ‖ tensor … ‖ u32 length ‖ note (JCS, or nothing)
    tensor   = u16 length ‖ name ‖ u8 length ‖ dtype ‖ u8 rank ‖ u64 dimension … ‖ elements, little-endian

A receipt of a session covers many: each is a leaf of a Merkle tree, with a salt of its own, so that any can be shown
alone.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from verity.errors import FormatError
from verity.statements.commitments import commit_element
from verity.statements.strict import canonical, parse_json

DTYPES = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "float16": 2, "float32": 4, "float64": 8,
}  # fmt: skip
"""What an element may be, with its size in bytes. A bool is one byte, 0 or 1."""

STEP_FIELD = "output/steps"
MAX_STEPS = 1 << 20
MAX_TENSORS = 64
"""Inputs, and outputs, of one step."""
MAX_RANK = 16
MAX_NAME = 256
MAX_STEP_BYTES = 16 << 20
"""Elements of one step's inputs and outputs together, in bytes: a bundle can hold them."""
MAX_NOTE = 1 << 16
MAX_BODY_BYTES = MAX_STEP_BYTES + MAX_NOTE + (1 << 16)
_LARGEST = 1 << 48


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a network takes or gives under a name. A dimension that may be any is null or a word."""

    name: str
    dtype: str
    shape: list[int | str | None]
    type: str = "tensor"


class Tensor(msgspec.Struct, frozen=True, array_like=True):
    """A typed array: ``data`` are its elements in C order, little-endian."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One run of a network. ``note`` is what the caller put on record with it, any JSON value; None for nothing."""

    index: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    note: Any = None


def check_tensors(tensors: Sequence[Tensor]) -> int:
    """That each is what its type and shape say. Returns their elements' bytes. Raises FormatError."""
    if len(tensors) > MAX_TENSORS or len({tensor.name for tensor in tensors}) != len(tensors):
        raise FormatError(f"a step has at most {MAX_TENSORS} inputs and {MAX_TENSORS} outputs, each of another name")
    for tensor in tensors:
        size = DTYPES.get(tensor.dtype)
        if size is None:
            raise FormatError(f"there is no type {tensor.dtype[:40]!r} of elements")
        if len(tensor.shape) > MAX_RANK or not all(0 <= d < _LARGEST for d in tensor.shape):
            raise FormatError(f"the shape of {tensor.name[:80]!r} is not possible")
        if math.prod(tensor.shape) * size != len(tensor.data):
            raise FormatError(f"{tensor.name[:80]!r} has other bytes than its shape and type need")
        if tensor.dtype == "bool" and tensor.data.strip(b"\x00\x01"):
            raise FormatError(f"{tensor.name[:80]!r} has a truth value that is neither 0 nor 1")
    return sum(len(tensor.data) for tensor in tensors)


def check_step(step: Step) -> None:
    """That a step is possible, and no larger than it may be. Raises FormatError."""
    if check_tensors(step.inputs) + check_tensors(step.outputs) > MAX_STEP_BYTES:
        raise FormatError(f"a step has at most {MAX_STEP_BYTES:,} bytes of elements")


def encode_step(step: Step) -> bytes:
    """The step's bytes, without its index. Raises FormatError for what cannot be written."""
    check_step(step)
    return join_step(
        [(tensor_head(t.name, t.dtype, t.shape), t.data) for t in step.inputs],
        [(tensor_head(t.name, t.dtype, t.shape), t.data) for t in step.outputs],
        encode_note(step.note),
    )


def join_step(
    inputs: Sequence[tuple[bytes, bytes]], outputs: Sequence[tuple[bytes, bytes]], note: bytes = b""
) -> bytes:
    """The same from parts that are known to be sound: heads (``tensor_head``) with elements, and ``encode_note``."""
    parts = [struct.pack(">H", len(inputs))]
    for pair in inputs:
        parts += pair
    parts.append(struct.pack(">H", len(outputs)))
    for pair in outputs:
        parts += pair
    parts += (struct.pack(">I", len(note)), note)
    return b"".join(parts)


@functools.lru_cache(1024)
def tensor_head(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """What stands before a tensor's elements. Raises FormatError for a name that is none."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError("a tensor's name is not valid Unicode") from error
    if not 0 < len(encoded) <= MAX_NAME:
        raise FormatError(f"a tensor's name has 1 to {MAX_NAME} bytes")
    kind = dtype.encode("ascii")
    return struct.pack(
        f">H{len(encoded)}sB{len(kind)}sB{len(shape)}Q", len(encoded), encoded, len(kind), kind, len(shape), *shape
    )


def encode_note(note: Any) -> bytes:
    """A note's canonical JSON; nothing for None. Raises FormatError."""
    if note is None:
        return b""
    data = canonical(note)
    if len(data) > MAX_NOTE:
        raise FormatError(f"a note has at most {MAX_NOTE:,} bytes", "put a digest of what is larger on record")
    parse_json(data, limit=MAX_NOTE, what="note")  # what no reader would accept is not put on record
    return data


def decode_step(index: int, data: bytes) -> Step:
    """Read what ``encode_step`` wrote. Raises FormatError for anything else."""
    reader = _Reader(data)
    inputs = [reader.tensor() for _ in range(reader.number(">H"))]
    outputs = [reader.tensor() for _ in range(reader.number(">H"))]
    note = reader.take(reader.number(">I"))
    step = Step(index, inputs, outputs, parse_json(note, limit=MAX_NOTE, what="note") if note else None)
    if not reader.ended or encode_step(step) != data:
        raise FormatError("a step is not written as it must be")
    return step


def commit_step(receipt_id: bytes, index: int, salt: bytes, body: bytes) -> bytes:
    """The leaf data of the step that has these bytes (32 bytes)."""
    return commit_element(receipt_id, STEP_FIELD, salt, struct.pack(">Q", index) + body)


def same_forms(tensors: Sequence[Tensor], forms: Sequence[Form], *, shapes: bool) -> str | None:
    """What is wrong with a step's tensors for a network of these forms, in words; None if nothing is.

    With ``shapes`` fixed dimensions must agree too: runtimes hold a network's inputs to them, and its outputs not.
    """
    if [tensor.name for tensor in tensors] != [form.name for form in forms]:
        return "has other inputs or outputs than the network"
    for tensor, form in zip(tensors, forms, strict=True):
        if tensor.dtype != form.dtype:
            return f"has {tensor.dtype} in {tensor.name[:80]!r}, where the network has {form.dtype}"
        if shapes and form.shape and not _fits(tensor.shape, form.shape):
            return f"has another shape in {tensor.name[:80]!r} than the network"
    return None


def check_forms(forms: Iterable[Form]) -> None:
    """That these can be a network's inputs or outputs. Raises FormatError."""
    names = []
    for form in forms:
        tensor_head(form.name, "bool", ())
        if form.type != "tensor" or form.dtype not in DTYPES or len(form.shape) > MAX_RANK:
            raise FormatError(f"{form.name[:80]!r} is no tensor of a known type and a possible shape")
        if any(isinstance(d, int) and not 0 <= d < _LARGEST for d in form.shape):
            raise FormatError(f"the shape of {form.name[:80]!r} is not possible")
        names.append(form.name)
    if not 0 < len(names) <= MAX_TENSORS or len(set(names)) != len(names):
        raise FormatError(f"a network has 1 to {MAX_TENSORS} inputs and outputs, each of another name")


def _fits(shape: Sequence[int], form: Sequence[int | str | None]) -> bool:
    return len(shape) == len(form) and all(
        said == wanted for said, wanted in zip(shape, form, strict=True) if isinstance(wanted, int)
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise FormatError("a step ends early")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def tensor(self) -> Tensor:
        try:
            name = self.take(self.number(">H")).decode("utf-8")
            dtype = self.take(self.number(">B")).decode("ascii")
        except UnicodeDecodeError as error:
            raise FormatError("a step holds a name that is no text") from error
        shape = tuple(self.number(">Q") for _ in range(self.number(">B")))
        return Tensor(name, dtype, shape, self.take(math.prod(shape) * DTYPES.get(dtype, 0)))
