"""Networks on ONNX Runtime: what they take, what is refused, and that nothing but the inputs decides a bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from verity.engines.network import measure_network, setting_of_network, to_array, to_tensor
from verity.engines.numerics import Numerics
from verity.engines.onnx import OnnxNetwork, describe_library, library
from verity.errors import EngineError, UsageError
from verity.statements.steps import DTYPES

OBS = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8)


def network(data: bytes, folder: Path) -> OnnxNetwork:
    path = folder / "a.onnx"
    path.write_bytes(data)
    return OnnxNetwork(path)


def measured(data: bytes, folder: Path) -> Numerics:
    return measure_network(lambda: network(data, folder))


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    made = network(networks.added(), tmp_path)
    assert [(f.name, f.dtype, f.shape) for f in made.inputs] == [("left", "float32", [2, 3]), ("right", "float32", [3])]
    assert [(f.name, f.dtype) for f in made.outputs] == [("sum", "float32"), ("above", "bool")]
    assert made.description == describe_library()
    assert made.description["name"] == "onnxruntime"
    assert len(made.description["library"]) == 64


def test_a_file_is_read_in_the_format_that_was_looked_at(tmp_path: Path) -> None:
    """ONNX Runtime takes what has ORTM in this place for its own format, in which nothing was looked at."""
    made = onnx.load_from_string(networks.added())
    assert made.ir_version < 128
    made.producer_name = "ORTM"
    data = bytes(made.SerializeToString())
    assert data[4:8] == b"ORTM"
    assert [form.name for form in network(data, tmp_path).inputs] == ["left", "right"]


def test_a_step(tmp_path: Path) -> None:
    left, right = np.array([[1, 2, -3], [0, -1, 5]], np.float32), np.array([1, -1, 1], np.float32)
    made = network(networks.added(), tmp_path).run({"right": right, "left": left})
    assert np.array_equal(made["sum"], left + right)
    assert np.array_equal(made["above"], left + right > 0)
    assert made["above"].dtype == np.bool_


def test_arrays_that_lie_otherwise_in_memory(tmp_path: Path) -> None:
    made = network(networks.policy(), tmp_path)
    batch = np.arange(24, dtype=np.float32).reshape(3, 8)
    expected = made.run({"obs": batch})["action"]
    for other in (np.asfortranarray(batch), np.repeat(batch, 2, axis=1)[:, ::2], batch[::-1][::-1]):
        assert np.array_equal(made.run({"obs": other})["action"], expected)


@pytest.mark.parametrize("operation", ["ReduceSum", "ReduceMean"])
def test_where_an_input_lies_changes_no_bit(operation: str, tmp_path: Path) -> None:
    """Given to ONNX Runtime as they are, these sums come out in several ways, by the address of the input."""
    made = network(networks.operator(operation, ["x"], "y"), tmp_path)
    values = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
    outputs, bare = set(), set()
    for offset in range(0, 64, 4):
        memory = np.empty(values.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + offset
        given = memory[start : start + values.nbytes].view(np.float32).reshape(values.shape)
        given[...] = values
        outputs.add(made.run({"x": given})["y"].tobytes())
        bare.add(made._session.run(None, {"x": given})[0].tobytes())
    assert len(outputs) == 1
    assert len(bare) > 1, "the runtime no longer does this: the copy in OnnxNetwork could go"


def test_how_many_threads_are_at_hand_changes_no_bit(tmp_path: Path) -> None:
    """Given several threads, ONNX Runtime cuts a logarithm into as many parts and gives other bits: so it gets one."""
    data = networks.operator("Log", ["x"], "y")
    made = network(data, tmp_path)
    given = np.abs(np.random.default_rng(1).standard_normal((513, 100)).astype(np.float32)) + 0.01
    assert made.context["threads"] == 1
    assert made._session.get_session_options().intra_op_num_threads == 1
    assert len({network(data, tmp_path).run({"x": given})["y"].tobytes() for _ in range(5)}) == 1
    bare = set()
    for threads in (1, 2, 3):
        options = library().SessionOptions()
        options.intra_op_num_threads = threads
        session = library().InferenceSession(data, options, providers=["CPUExecutionProvider"])
        bare.add(session.run(None, {"x": given})[0].tobytes())
    assert len(bare) > 1, "the runtime no longer does this: networks could have several threads"


def test_repetition_changes_no_bit(tmp_path: Path) -> None:
    data = networks.policy((64, 256, 256, 16))
    batches = [np.random.default_rng(n).standard_normal((n, 64)).astype(np.float32) for n in (1, 3, 64, 257)]
    runs = []
    for _ in range(3):
        made = network(data, tmp_path)
        runs.append([made.run({"obs": batch})["action"].tobytes() for batch in [*batches, *batches]])
    assert all(run == runs[0] for run in runs)
    assert runs[0][:4] == runs[0][4:]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "no input 'obs'"),
        ({"x": OBS}, "no input 'obs'"),
        ({"obs": OBS, "x": OBS}, "does not take"),
        ({"obs": OBS.astype(np.float64)}, "is of float64"),
        ({"obs": OBS.astype(">f4")}, "is of >f4"),
        ({"obs": OBS.tolist()}, "no numpy array"),
        ({"obs": OBS[0]}, r"shape \(8,\), the model takes N×8"),
        ({"obs": OBS[:, :7]}, r"shape \(1, 7\)"),
        ({"obs": np.zeros((1 << 20, 8), np.float32)}, "larger than"),
    ],
)
def test_inputs_that_it_does_not_take(inputs: dict[str, Any], said: str, tmp_path: Path) -> None:
    made = network(networks.policy(), tmp_path)
    with pytest.raises(UsageError, match=said):
        made.run(inputs)
    assert made.run({"obs": OBS})["action"].shape == (1, 4)


def test_every_type_of_elements(tmp_path: Path) -> None:
    for name in DTYPES:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(name))
        made = network(
            networks.model(
                [helper.make_node("Identity", ["x"], ["y"])],
                [networks.value("x", ["N"], kind)],
                [networks.value("y", ["N"], kind)],
            ),
            tmp_path,
        )
        given = np.array([0, 1, 1], dtype=name)
        tensor = to_tensor("y", made.run({"x": given})["y"])
        assert (tensor.dtype, tensor.data) == (name, given.tobytes())
        assert np.array_equal(to_array(tensor), given)
        assert measure_network(lambda made=made: Borrowed(made)).exact  # type: ignore[misc]


class Borrowed:
    """A network that is not closed."""

    def __init__(self, made: OnnxNetwork) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)

    def close(self) -> None:
        pass


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not an ONNX model"),
    "a GGUF file": (b"GGUF" + bytes(100), "a language model"),
    "half": (networks.policy()[:-40], "damaged or cut short"),
    "ORT's own format": (b"\x20\x00\x00\x00ORTM" + bytes(100), "not an ONNX model"),
    "an unknown operator": (networks.operator("Nonsense", ["x"], "y"), "does not take the model"),
    "an operator of a library": (networks.operator("Sigh", ["x"], "y", domain="evil.example"), "does not take"),
    "a text": (
        networks.model(
            [helper.make_node("Identity", ["x"], ["y"])],
            [networks.value("x", ["N"], TensorProto.STRING)],
            [networks.value("y", ["N"], TensorProto.STRING)],
        ),
        "only tensors of numbers",
    ),
    "no input": (
        networks.model(
            [helper.make_node("RandomNormal", [], ["y"], shape=[2])], [], [networks.value("y", [2])]
        ),
        "cannot be put on record",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name: str, tmp_path: Path) -> None:
    data, said = REFUSED[name]
    with pytest.raises(EngineError, match=said) as caught:
        network(data, tmp_path)
    assert caught.value.hint
    assert len(str(caught.value)) < 1000


def test_weights_elsewhere_are_refused_even_if_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(4096))
    for place in ("weights", "../weights", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"):
        with pytest.raises(EngineError, match="in another file"):
            network(networks.with_external_data(tmp_path, place), tmp_path)


def test_a_step_that_fails(tmp_path: Path) -> None:
    data = networks.model(
        [helper.make_node("MatMul", ["x", "x"], ["y"])],
        [networks.value("x", ["N", "M"])],
        [networks.value("y", None)],
    )
    made = network(data, tmp_path)
    with pytest.raises(EngineError, match="the model failed"):
        made.run({"x": np.zeros((2, 3), np.float32)})
    assert made.run({"x": np.eye(2, dtype=np.float32)})["y"].tolist() == [[1, 0], [0, 1]]


# --- the probe --------------------------------------------------------------------------------------------------------


def test_the_probe_names_the_network(tmp_path: Path) -> None:
    first = measured(networks.policy(), tmp_path)
    assert first.exact
    assert measured(networks.policy(), tmp_path) == first
    assert measured(networks.policy(seed=1), tmp_path).fingerprint != first.fingerprint
    assert measured(networks.policy(scale=1.0000001), tmp_path) != first


def test_a_network_that_draws_is_not_exact(tmp_path: Path) -> None:
    for attributes in ({}, {"seed": 7.0}):
        noise = networks.operator("RandomNormalLike", ["x"], "y", **attributes)
        assert not measured(noise, tmp_path).exact


def test_a_network_that_takes_no_probe_is_not_exact(tmp_path: Path) -> None:
    """Nothing was compared, so nothing is claimed."""
    large = networks.model(
        [helper.make_node("Identity", ["x"], ["y"])], [networks.value("x", [1 << 40])], [networks.value("y", None)]
    )
    assert not measured(large, tmp_path).exact


def test_the_length_of_an_axis_is_found(tmp_path: Path) -> None:
    """A convolution that needs 20 samples."""
    kernel = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 20], [0.1] * 20)
    data = networks.model(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        [networks.value("x", ["N", 1, "time"])],
        [networks.value("y", None)],
        [kernel],
    )
    assert measured(data, tmp_path).exact


def test_the_setting_tells_hosts_and_libraries_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = network(networks.policy(), tmp_path)
    before = setting_of_network(made)
    assert setting_of_network(network(networks.policy(seed=5), tmp_path)) == before
    made.context = {**made.context, "graph_optimization": "none"}
    assert setting_of_network(made) != before
