"""What only native code can measure, compiled when it is needed: time by operator, and the processor's limit.

The C++ compiler is the one that `make setup` needs; the headers are those that llama-cpp-python installs.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp

from clocked import spent

_SOURCES = Path(__file__).parent / "native"
_INSTALLED = Path(llama_cpp.__file__).parent
_HEADERS, _LIBRARIES = _INSTALLED.parent / "include", _INSTALLED / "lib"
_TURNS = 20_000_000
_MOST = 256


class _Entry(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_int32),
        ("weight_type", ctypes.c_int32),
        ("name", ctypes.c_char * 64),
        ("calls", ctypes.c_int64),
        ("nanoseconds", ctypes.c_int64),
        ("multiply_adds", ctypes.c_int64),
        ("activations", ctypes.c_int64),
    )


class Operator(NamedTuple):
    """What was spent on one operator of all layers: ``weight`` is the name of a product's weight, or of the result;
    ``activations`` are the numbers that were quantised for it."""

    op: str
    weight: str
    weight_type: int
    calls: int
    seconds: float
    multiply_adds: int
    activations: int


@functools.cache
def _compiled(name: str) -> Any:
    """Raises RuntimeError when there is no compiler."""
    folder = Path(tempfile.mkdtemp(prefix="verity-native-"))
    command = ["c++", "-O3", "-shared", "-fPIC", f"-I{_HEADERS}", str(_SOURCES / f"{name}.cpp"), f"-L{_LIBRARIES}"]
    built = folder / f"{name}.so"
    done = subprocess.run([*command, "-lggml-base", "-o", str(built)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{name}.cpp could not be compiled: {done.stderr[:500]}")
    library = ctypes.CDLL(str(built))
    built.unlink()
    folder.rmdir()
    return library


class Operators:
    """Counts while it is a context's ``cb_eval``: every node is then computed alone, and waited for."""

    def __init__(self) -> None:
        self._library = _compiled("operators")

    def watch(self, parameters: Any) -> Any:
        """The parameters of a context, with the callback."""
        kind = type(parameters.cb_eval)
        parameters.cb_eval = ctypes.cast(self._library.operators_callback, kind)
        return parameters

    def reset(self) -> None:
        self._library.operators_reset()

    def read(self) -> list[Operator]:
        entries = (_Entry * _MOST)()
        count = self._library.operators_read(entries, _MOST)
        name = ctypes.CDLL(str(_LIBRARIES / "libggml-base.so")).ggml_op_name
        name.restype = ctypes.c_char_p
        return [
            Operator(name(e.op).decode(), e.name.decode(), e.weight_type, e.calls, e.nanoseconds / 1e9,
                     e.multiply_adds, e.activations)
            for e in entries[:count]
        ]  # fmt: skip


def limit(instructions: str) -> float:
    """The most 8-bit multiply-adds a second of one thread: the best of five. ``instructions`` is ``avx2``, or ``vnni``
    of AVX-512; 0 where the processor has them not."""
    measured = getattr(_compiled("arithmetic"), f"{instructions}_limit")
    measured.restype, measured.argtypes = ctypes.c_double, [ctypes.c_int64]
    return float(max(measured(_TURNS) for _ in range(5)))


def quantising_rate() -> float:
    """Numbers a second that llama.cpp's own code turns from float32 into q8_1 blocks, on one thread."""
    library = ctypes.CDLL(str(_LIBRARIES / "libggml-cpu.so"))
    width, rows = 576, 20_000
    source, blocks = (ctypes.c_float * width)(*(i % 7 - 3.0 for i in range(width))), (ctypes.c_uint8 * (2 * width))()
    quantise = library.quantize_row_q8_1
    quantise.argtypes, quantise.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None

    def calls(numbers: int) -> None:
        for _ in range(rows):
            quantise(source, blocks, numbers)

    return width * rows / (spent(lambda: calls(width)) - spent(lambda: calls(0)))
