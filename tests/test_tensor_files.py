"""Arrays from files: NumPy's and JSON ones are read as they are; nothing unpickles, and no header is believed."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verity.engines.network import Array
from verity.errors import FormatError
from verity.statements.steps import DTYPES, Form
from verity.tensor_files import MAX_FILE, parse_inputs, plain, read_inputs

ONE = [Form(name="x", dtype="float32", shape=["N", 3])]
TWO = [*ONE, Form(name="n", dtype="int64", shape=[])]
FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def read(data: bytes, forms: Any = ONE) -> dict[str, Array]:
    return parse_inputs(data, forms, "a file")


def test_one_array_for_the_only_input(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(FLOATS))
    for found in (read_inputs(path, ONE), read(json.dumps(FLOATS.tolist()).encode())):
        assert found["x"].dtype == np.float32
        assert np.array_equal(found["x"], FLOATS)
    with pytest.raises(FormatError, match="the network takes 2 inputs"):
        read_inputs(path, TWO)


def test_arrays_by_name() -> None:
    number = np.array(7, np.int64)
    for data in (npz(x=FLOATS, n=number), json.dumps({"x": FLOATS.tolist(), "n": 7}).encode()):
        found = read(data, TWO)
        assert np.array_equal(found["x"], FLOATS)
        assert (found["n"].dtype.name, found["n"].shape, int(found["n"])) == ("int64", (), 7)


def test_every_type_and_order() -> None:
    for name in DTYPES:
        for order in "CF":
            given = np.asarray([[0, 1, 1], [1, 0, 1]], dtype=name, order=order)  # type: ignore[call-overload]
            found = read(npy(given))["x"]
            assert found.dtype == given.dtype
            assert np.array_equal(found, given)
    big = FLOATS.astype(">f4")
    assert np.array_equal(read(npy(big))["x"], FLOATS)
    assert read(npy(big))["x"].dtype == np.dtype("=f4")


class Run:
    """A program, when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("it was unpickled",)


def header(text: str, version: tuple[int, int] = (1, 0), rest: bytes = b"") -> bytes:
    data = text.encode() + b"\n"
    form = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(form, len(data)) + data + rest


def described(kind: str, shape: str, size: int = 24) -> bytes:
    return header(f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}", rest=bytes(size))


REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "a pickle": pickle.dumps(Run()),
    "an array of objects": npy(np.array([Run()], dtype=object), allow_pickle=True),
    "objects in an archive": npz(x=np.array([Run()], dtype=object)),
    "texts": npy(np.array(["a", "b"])),
    "dates": npy(np.array(["2026-01-01"], "datetime64[D]")),
    "complex numbers": npy(np.array([1j])),
    "records": described("[('a', '<f4'), ('b', 'O')]", "(3,)"),
    "arrays in an array": described("('<f4', (1 << 30,))", "(3,)"),
    "a huge shape": described("'<f4'", "(1000000000000, 1000000000000)"),
    "a negative shape": described("'<f4'", "(-6,)"),
    "a shape that could be read in many ways": described("'<f4'", f"({'1' * 400}x)"),
    "numbers that nothing keeps apart": described("'<f4'", "(2 3)"),
    "a shape of texts": described("'<f4'", "('a',)"),
    "too few bytes": npy(FLOATS)[:-1],
    "too many bytes": npy(FLOATS) + b"\0",
    "a header without end": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 60_000,
    "a deep header": header("(" * 5000),
    "a later version": header("{}", (9, 0)),
    "half an archive": npz(x=FLOATS)[:-40],
    "no JSON": b"{'x': 1}",
    "a ragged list": b"[[1, 2], [3]]",
    "words": b'[["a", "b", "c"]]',
    "null": b"[[1, 2, null]]",
    "an infinity": b"[[1, 2, 1e999]]",
    "too large for its type": b"[[1e300, 2, 3]]",
    "an unknown input": b'{"y": [1]}',
    "a deep list": b"[" * 40 + b"]" * 40,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(REFUSED[name])
    assert len(str(caught.value)) < 1000


def test_whole_numbers_stay_whole() -> None:
    assert read(b'{"n": 3}', TWO)["n"] == 3
    assert read(b'{"n": 3}', TWO)["n"].dtype == np.int64
    for wrong in (b'{"n": 3.0}', b'{"n": 3.5}', b'{"n": true}', b'{"n": 1e40}', b'{"n": "3"}'):
        with pytest.raises(FormatError):
            read(wrong, TWO)
    small = [Form(name="n", dtype="uint8", shape=[])]
    assert read(b"255", small)["n"] == 255
    for wrong in (b"256", b"-1"):
        with pytest.raises(FormatError):
            read(wrong, small)


def test_archives_are_bounded(tmp_path: Path) -> None:
    def archive(**members: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, data in members.items():
                opened.writestr(name, data)
        return file.getvalue()

    for data in (
        archive(**{"x.npy": bytes(MAX_FILE + 1)}),
        archive(**{f"{n}.npy": npy(FLOATS) for n in range(65)}),
        archive(**{"x.txt": npy(FLOATS)}),
        archive(**{"x.npy": b"GGUF"}),
    ):
        with pytest.raises(FormatError):
            read(data)
    (tmp_path / "large").write_bytes(bytes(MAX_FILE + 1))
    with pytest.raises(FormatError, match="larger than"):
        read_inputs(tmp_path / "large", ONE)
    with pytest.raises(FormatError, match="cannot be read"):
        read_inputs(tmp_path / "missing", ONE)


@settings(max_examples=150)
@given(st.integers(0, 300), st.binary(max_size=4), st.sampled_from([npy(FLOATS), npz(x=FLOATS), b'{"x": [[1, 2, 3]]}']))
def test_any_edit_is_read_or_refused(at: int, put_in: bytes, data: bytes) -> None:
    try:
        found = read(data[:at] + put_in + data[at + 1 :])
    except FormatError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


def test_plain_values_for_json() -> None:
    given = np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32)
    assert plain(given) == [[1.5, None], [None, -0.0]]
    assert plain(np.array(True)) is True
    assert json.loads(json.dumps(plain(np.arange(3, dtype=np.uint64)))) == [0, 1, 2]
