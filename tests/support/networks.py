"""Small networks in the ONNX format, made here: a policy, one with two inputs, and ones that a test describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_policy import policy
from verity.node import Node
from verity.store.pull import pull

Shape = Sequence[int | str | None] | None
__all__ = ["added", "model", "operator", "policy", "store", "value", "with_external_data"]


def model(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], weights: Sequence[Any] = ()) -> bytes:
    """The bytes of a model of these parts (onnx.helper's)."""
    graph = helper.make_graph(list(nodes), "network", list(inputs), list(outputs), list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


def value(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def operator(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> bytes:
    """A network of one operator on float32 inputs of any length, two axes each."""
    values = [value(name, ["N", "M"]) for name in inputs]
    return model([helper.make_node(kind, list(inputs), [output], **attributes)], values, [value(output, None)])


def added() -> bytes:
    """``left`` (2, 3) float32 and ``right`` (3) float32 give their ``sum``, and which of it are ``above`` zero."""
    nodes = [
        helper.make_node("Add", ["left", "right"], ["sum"]),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.zeros((), np.float32))),
        helper.make_node("Greater", ["sum", "zero"], ["above"]),
    ]
    inputs = [value("left", [2, 3]), value("right", [3])]
    return model(nodes, inputs, [value("sum", [2, 3]), value("above", [2, 3], TensorProto.BOOL)])


def with_external_data(folder: Path, elsewhere: str) -> bytes:
    """A model whose weights are said to stand in another file."""
    made = onnx.load_from_string(policy())
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", elsewhere
    return bytes(made.SerializeToString())


def store(node: Node, data: bytes, folder: Path, name: str = "policy") -> str:
    """Pull a network into a device. Returns its BLAKE3 digest."""
    path = folder / f"{name}.onnx"
    path.write_bytes(data)
    return pull(str(path), node.blobs, name=name).blake3
