"""ONNX files looked at before a library reads them: whole ones pass, and none that keeps tensors elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from verity.errors import FormatError
from verity.node import Node
from verity.store import onnx_header
from verity.store.onnx_header import check_onnx, require_onnx

WHOLE = networks.policy()


def test_whole_files(tmp_path: Path) -> None:
    for data in (WHOLE, networks.added(), networks.operator("Exp", ["x"], "y")):
        (tmp_path / "a.onnx").write_bytes(data)
        require_onnx(tmp_path / "a.onnx")


def away(tensor: Any) -> Any:
    """The tensor, with its elements said to stand in another file."""
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights"
    return tensor


def small() -> Any:
    return helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])


def in_a_branch(made: Any) -> None:
    branch = helper.make_graph([], "branch", [], [], [away(small())])
    made.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch))


def in_an_attribute(made: Any) -> None:
    made.graph.node.append(helper.make_node("Constant", [], ["c"], value=away(small())))


def in_a_list(made: Any) -> None:
    attribute = made.graph.node[0].attribute.add()
    attribute.name, attribute.type = "x", onnx.AttributeProto.TENSORS
    attribute.tensors.append(away(small()))


def in_a_sparse_tensor(made: Any) -> None:
    sparse = made.graph.sparse_initializer.add()
    sparse.values.CopyFrom(away(small()))
    sparse.indices.CopyFrom(helper.make_tensor("i", TensorProto.INT64, [1], [0]))


def in_a_function(made: Any) -> None:
    node = helper.make_node("Constant", [], ["c"], value=away(small()))
    made.functions.append(helper.make_function("d", "f", [], ["c"], [node], [helper.make_opsetid("", 17)]))


def in_a_training_step(made: Any) -> None:
    step = made.training_info.add()
    step.initialization.initializer.append(away(small()))


def in_an_initializer(made: Any) -> None:
    away(made.graph.initializer[1])


PLACES: list[Callable[[Any], None]] = [
    in_an_initializer, in_an_attribute, in_a_list, in_a_branch, in_a_sparse_tensor, in_a_function, in_a_training_step,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_elements_elsewhere_are_found_wherever_a_tensor_may_stand(place: Callable[[Any], None]) -> None:
    made = onnx.load_from_string(WHOLE)
    place(made)
    with pytest.raises(FormatError, match="in another file") as caught:
        check_onnx(made.SerializeToString())
    assert "save_as_external_data=False" in caught.value.hint


def test_a_location_cut_to_32_bits_is_found_too() -> None:
    """Readers cut a number to 32 bits: 2^32 + 1 is EXTERNAL to them."""
    tensor = b"\x70" + b"\x81\x80\x80\x80\x10"
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    with pytest.raises(FormatError, match="in another file"):
        check_onnx(b"\x08\x09\x42\x02\x10\x11\x3a" + bytes([len(graph)]) + graph)


def test_a_graph_given_in_two_pieces_is_read_whole() -> None:
    """Readers put pieces of one message together."""
    made = onnx.load_from_string(WHOLE)
    away(made.graph.initializer[0])
    with pytest.raises(FormatError, match="in another file"):
        check_onnx(WHOLE + made.SerializeToString())


NO_MODELS = {
    "empty": b"",
    "text": b"This is no model, and is long enough for one.",
    "GGUF": b"GGUF" + bytes(60),
    "no graph": b"\x08\x09\x42\x02\x10\x11",
    "no operators": b"\x08\x09\x3a\x00",
    "a group": b"\x08\x09\x42\x02\x10\x11\x3a\x00\x0b",
    "field 0": b"\x08\x09\x42\x02\x10\x11\x3a\x00\x00\x00",
    "a number without end": b"\x08" + b"\xff" * 20,
    "a length beyond the file": b"\x08\x09\x42\x02\x10\x11\x3a\xff\xff\xff\x7f",
    "cut": WHOLE[:-1],
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(NO_MODELS[name])
    with pytest.raises(FormatError, match="not an ONNX model file"):
        require_onnx(tmp_path / "a.onnx")


def nested(depth: int) -> bytes:
    """A graph in a node in a graph …"""
    graph = b""
    for _ in range(depth):
        attribute = b"\x32" + _length(graph) + graph
        node = b"\x2a" + _length(attribute) + attribute
        graph = b"\x0a" + _length(node) + node
    return b"\x08\x09\x42\x02\x10\x11\x3a" + _length(graph) + graph


def _length(data: bytes) -> bytes:
    size, written = len(data), b""
    while size >= 0x80:
        written, size = written + bytes([size & 0x7F | 0x80]), size >> 7
    return written + bytes([size])


def test_depth_and_number_of_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    check_onnx(nested(15))
    with pytest.raises(FormatError, match="nested more than"):
        check_onnx(nested(400))
    monkeypatch.setattr(onnx_header, "MAX_FIELDS", 1000)
    with pytest.raises(FormatError, match="more than 1,000 parts"):
        check_onnx(b"\x08\x09" * 1000 + WHOLE)


@settings(max_examples=200)
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_any_edit_is_read_or_refused(at: int, put_in: bytes, dropped: int) -> None:
    with contextlib.suppress(FormatError):
        check_onnx(WHOLE[:at] + put_in + WHOLE[at + dropped :])


def test_pulling(scripted: Node, tmp_path: Path) -> None:
    """By what is in the file, whatever its name."""
    digest = networks.store(scripted, WHOLE, tmp_path)
    assert scripted.blobs.resolve("policy")[1].blake3 == digest
    for name, data in (("away", networks.with_external_data(tmp_path, "/etc/passwd")), ("cut", WHOLE[:-1])):
        with pytest.raises(FormatError):
            networks.store(scripted, data, tmp_path, name)
    assert [model.name for model in scripted.blobs.models()] == ["policy"]
