"""Arrays from a stranger's file, for a network's inputs: NumPy's formats without their pickles, and JSON.

A file says how large its arrays are: nothing is taken at its word before the bytes are there. A pickle in it would be a
program, and is refused (numpy.lib.format).
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verity.engines.network import Array
from verity.errors import FormatError
from verity.statements.steps import DTYPES, MAX_RANK, MAX_STEP_BYTES, MAX_TENSORS, Form
from verity.statements.strict import parse_json
from verity.store.archives import opened_archive

MAX_FILE = 2 * MAX_STEP_BYTES
_MAX_HEADER = 10_000
_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '(?P<kind>[<>|=][a-z][0-9]{1,2})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,12}+(?:, ?|(?=\)))){0,32}+)\), \} *+\n"
)
# Possessive, and numbers are kept apart: a stranger's header can be matched in one way only.
_TAKEN = {"b": "b", "i": "iu", "u": "iu", "f": "biuf"}
"""By the kind of a network's type, what JSON may have for it."""
_HINT = "save arrays with numpy.save or numpy.savez, or write JSON: an object with a list for every input"


def read_inputs(path: Path, forms: Sequence[Form]) -> dict[str, Array]:
    """The inputs of one step from a file ``*.npy``, ``*.npz`` or of JSON. Raises FormatError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}", _HINT) from error
    if len(data) > MAX_FILE:
        raise FormatError(f"{path} is larger than {MAX_FILE:,} bytes", "give one step in each file")
    return parse_inputs(data, forms, str(path))


def parse_inputs(data: bytes, forms: Sequence[Form], what: str) -> dict[str, Array]:
    """The same of a file's bytes; ``what`` names it. A file with one array alone is for a network with one input."""
    if data[:6] == _MAGIC:
        return _named(_npy(data, what), forms, what)
    if data[:4] == b"PK\x03\x04":
        return _npz(data, what)
    value = parse_json(data, limit=MAX_FILE, what=f"input in {what}")
    by_name = {form.name: form for form in forms}
    if not isinstance(value, dict):
        value = _named(value, forms, what)
    unknown = sorted(set(value) - set(by_name))
    if unknown:
        raise FormatError(f"{what} has an input {unknown[0][:80]!r}, which the network does not take", _HINT)
    return {name: _array(given, by_name[name], what) for name, given in value.items()}


def _named(value: Any, forms: Sequence[Form], what: str) -> dict[str, Any]:
    if len(forms) != 1:
        raise FormatError(f"{what} has one array, and the network takes {len(forms)} inputs", _HINT)
    return {forms[0].name: value}


def _npy(data: bytes, what: str) -> Array:
    """The one array of a file in the NPY format, whose header is read as NumPy writes it: a Python literal, but no
    Python reads it."""
    wide = data[6:7] != b"\x01"
    start = 12 if wide else 10
    length = int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data[start : start + length]) if length <= _MAX_HEADER else None
    if data[:6] != _MAGIC or header is None:
        raise FormatError(f"{what} is no array of NumPy's, or not one of numbers", _HINT)
    try:
        kind = np.dtype(header["kind"].decode())
    except TypeError as error:
        raise FormatError(f"{what} holds an array of another type than networks take", _HINT) from error
    shape = tuple(int(d) for d in header["shape"].decode().replace(",", " ").split())
    body = data[start + length :]
    if kind.name not in DTYPES or len(shape) > MAX_RANK or math.prod(shape) * kind.itemsize != len(body):
        raise FormatError(f"{what} is damaged, or holds an array of another type than networks take", _HINT)
    array = np.frombuffer(body, dtype=kind).reshape(shape, order="F" if header["fortran"] == b"True" else "C")
    return array.astype(kind.newbyteorder("="))


def _npz(data: bytes, what: str) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    with opened_archive(io.BytesIO(data), f"{what} is not a sound archive of arrays", _HINT) as archive:
        members = archive.infolist()
        if len(members) > MAX_TENSORS or sum(member.file_size for member in members) > MAX_FILE:
            raise FormatError(f"{what} holds more than {MAX_TENSORS} arrays or {MAX_FILE:,} bytes", _HINT)
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays or name == member.filename:
                raise FormatError(f"{what} holds {member.filename[:80]!r}, which is no array or stands twice", _HINT)
            arrays[name] = _npy(_member(archive, member, what), f"{name[:80]!r} in {what}")
    return arrays


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> bytes:
    with archive.open(member) as file:
        data = file.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise FormatError(f"{what} is damaged: a member is not as long as it says", _HINT)
    return data


def _array(value: Any, form: Form, what: str) -> Array:
    """Nested lists in the network's own type: whole numbers stay whole, and none overflows."""
    kind = np.dtype(form.dtype)
    try:
        given = np.array(value)
        with np.errstate(all="ignore"):
            array = given.astype(kind)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(
            f"{form.name[:80]!r} in {what} is no array of {form.dtype}: {str(error)[:200]}", _HINT
        ) from error
    sound = np.isfinite(array).all() if kind.kind == "f" else np.array_equal(array, given)
    if given.size and (given.dtype.kind not in _TAKEN[kind.kind] or not sound):
        raise FormatError(f"{form.name[:80]!r} in {what} has elements that are no {form.dtype}", _HINT)
    return array


def plain(array: Array) -> Any:
    """Nested lists for JSON, which has no number for what is none: null stands for it."""
    listed: Any = array.tolist()
    return listed if array.dtype.kind != "f" or np.isfinite(array).all() else _without_odd(listed)


def _without_odd(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_odd(each) for each in value]
    return value if math.isfinite(value) else None
