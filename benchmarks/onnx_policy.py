"""A policy in the ONNX format, with random weights: what moves a robot is of this form."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def policy(sizes: Sequence[int] = (8, 16, 4), seed: int = 0, scale: float = 1.0) -> bytes:
    """Layers with tanh between them: ``obs`` (N, first) to ``action`` (N, last)."""
    chance, nodes, weights, last = np.random.default_rng(seed), [], [], "obs"
    for layer, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        matrix = (scale * chance.standard_normal((wide, narrow)) / np.sqrt(wide)).astype(np.float32)
        offset = chance.standard_normal(narrow).astype(np.float32)
        weights += [numpy_helper.from_array(matrix, f"w{layer}"), numpy_helper.from_array(offset, f"b{layer}")]
        over = layer == len(sizes) - 2
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], ["action" if over else f"h{layer}"]))
        if not over:
            nodes.append(helper.make_node("Tanh", [f"h{layer}"], [f"t{layer}"]))
        last = f"t{layer}"
    given = helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["N", sizes[0]])
    gives = helper.make_tensor_value_info("action", TensorProto.FLOAT, ["N", sizes[-1]])
    graph = helper.make_graph(nodes, "policy", [given], [gives], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())
