"""Tensors from elsewhere: networks in the ONNX format, arrays in files, the bytes of steps and their openings."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from fuzz.target import Target, dump, vectors
from verity.errors import FormatError
from verity.statements.bundle import StepOpening
from verity.statements.steps import Form, decode_step, encode_step
from verity.statements.strict import load
from verity.store.onnx_header import check_onnx
from verity.tensor_files import parse_inputs

_FORMS = [Form(name="x", dtype="float32", shape=["N", 3]), Form(name="n", dtype="int64", shape=[])]
_AWAY = b"\x6a\x00"
"""Field 13 of a tensor, which says where else its elements are."""


def _onnx(data: bytes) -> None:
    check_onnx(data)
    assert b"\x3a" in data, "a model without a graph"


def _arrays(data: bytes) -> None:
    for forms in (_FORMS, _FORMS[:1]):
        for array in parse_inputs(data, forms, "a file").values():
            assert array.dtype.kind in "biuf"
            assert array.nbytes <= 1100 * len(data) + 8


def _step(data: bytes) -> None:
    step = decode_step(0, data)
    assert encode_step(step) == data


def _opening(data: bytes) -> None:
    step = load(data, StepOpening, limit=1 << 20, what="step").step()
    body = encode_step(step)
    assert decode_step(step.index, body) == step


def _models() -> list[bytes]:
    """A few parts of a model, by hand: a graph with a tensor, a node with a graph, a function."""

    def part(field: int, data: bytes) -> bytes:
        return bytes([field << 3 | 2, len(data)]) + data

    tensor = b"\x08\x01\x10\x01" + part(9, bytes(4))
    node = part(1, b"x") + part(2, b"y") + part(4, b"Exp") + part(5, part(5, tensor) + part(6, part(5, tensor)))
    graph = part(1, node) + part(2, b"g") + part(5, tensor) + part(15, part(1, tensor) + part(2, tensor))
    head = b"\x08\x09" + part(8, b"\x10\x11")
    whole = head + part(7, graph)
    return [whole, whole + part(25, part(7, node)), head + part(7, part(5, tensor + _AWAY)), whole[:-3], b""]


def _files() -> list[bytes]:
    array, plain, packed = np.arange(6, dtype=np.float32).reshape(2, 3), io.BytesIO(), io.BytesIO()
    np.save(plain, array)
    np.savez_compressed(packed, x=array, n=np.array(7))
    return [plain.getvalue(), packed.getvalue(), b'{"x": [[1, 2, 3]], "n": 7}', b"[[0.5, 1, 1e30]]", b"{"]


def _bodies() -> list[bytes]:
    return [bytes.fromhex(case["bytes"]) for case in vectors("inference")["steps"]]


def _openings() -> list[bytes]:
    published: Any = vectors("inference")
    cases = [case["opening"] for case in published["steps"]] + published["part"]
    return [dump(case) for case in cases]


TARGETS = [
    Target("onnx", "networks in the ONNX format, before a library reads them", _onnx, _models, (FormatError,)),
    Target("arrays", "arrays in files", _arrays, _files, (FormatError,)),
    Target("step", "the bytes of a step", _step, _bodies, (FormatError,)),
    Target("step-opening", "opened steps", _opening, _openings, (FormatError,), structured=True),
]
