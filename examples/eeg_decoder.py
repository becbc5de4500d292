"""A decoder of brain signals with a receipt for every window: eyes open or closed, from 14 channels of EEG.

    pip install 'verity-ai[onnx]' onnx
    python examples/eeg_decoder.py 'EEG Eye State.arff'      # UCI Machine Learning Repository, data set 264 (CC BY 4.0)

A logistic regression is trained on every other quarter of a second, written as a network in the ONNX format, and run on
the windows in between. All are on record in one receipt; one window is then shown to somebody else, who runs it again.

What it says of right answers is honest, and low: windows beside those it was trained on are decoded a little better
than by chance, and stretches of time that it has not seen not at all. A receipt shows what a decoder gave, never that
it was right.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

import verity
from verity.store.pull import pull

CHANNELS, WINDOW, RATE = 14, 32, 128
SHARED = Path(os.environ.get("VERITY_SHARED", "../shared")) / "data/eeg/uci_eye_state/EEG Eye State.arff"
Floats = npt.NDArray[np.float32]


def windows(path: Path) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Signals of shape (windows, channels, samples) in microvolts, and for each whether the eyes were closed."""
    lines = path.read_text("ascii").split("@DATA")[1].split()
    table = np.array([[float(number) for number in line.split(",")] for line in lines])
    count = len(table) // WINDOW
    cut = table[: count * WINDOW].reshape(count, WINDOW, CHANNELS + 1)
    return cut[:, :, :CHANNELS].transpose(0, 2, 1).astype(np.float32), cut[:, WINDOW // 2, CHANNELS] > 0


def features(signals: Floats, level: Floats) -> Floats:
    """For each channel how far it lies from its usual level, and the logarithm of its variance: (windows, 28)."""
    centred = signals - level[:, None]
    mean = centred.mean(axis=2)
    variance = ((centred - mean[:, :, None]) ** 2).mean(axis=2)
    return np.concatenate([np.clip(mean / 20, -4, 4), np.log(variance + 1)], axis=1).astype(np.float32)


def train(signals: Floats, closed: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """The usual levels, and the weights and offset of a logistic regression on the features."""
    level = np.median(signals, axis=(0, 2)).astype(np.float32)
    given = features(signals, level).astype(np.float64)
    shift, scale = given.mean(axis=0), given.std(axis=0) + 1e-9
    scaled = np.c_[(given - shift) / scale, np.ones(len(given))]
    weights = np.zeros(scaled.shape[1])
    for _ in range(2000):
        guess = 1 / (1 + np.exp(-scaled @ weights))
        weights -= 0.3 * (scaled.T @ (guess - closed) / len(scaled) + 0.01 * weights)
    slope = weights[:-1] / scale
    return level, slope.astype(np.float32)[:, None], np.array([weights[-1] - slope @ shift], np.float32)


def network(level: Floats, weights: Floats, offset: Floats) -> bytes:
    """The same from ``signals`` to ``closed``, a probability, in the ONNX format."""
    numbers = {"one": 1, "scale": 20, "low": -4, "high": 4}
    constants = {"level": level[:, None], "weights": weights, "offset": offset}
    constants |= {name: np.array(number, np.float32) for name, number in numbers.items()}
    make = helper.make_node
    nodes = [
        make("Sub", ["signals", "level"], ["centred"]),
        make("ReduceMean", ["centred"], ["means"], axes=[2], keepdims=1),
        make("Sub", ["centred", "means"], ["rest"]),
        make("Mul", ["rest", "rest"], ["squares"]),
        make("ReduceMean", ["squares"], ["variance"], axes=[2], keepdims=0),
        make("Add", ["variance", "one"], ["above"]),
        make("Log", ["above"], ["spread"]),
        make("ReduceMean", ["centred"], ["mean"], axes=[2], keepdims=0),
        make("Div", ["mean", "scale"], ["scaled"]),
        make("Clip", ["scaled", "low", "high"], ["away"]),
        make("Concat", ["away", "spread"], ["features"], axis=1),
        make("Gemm", ["features", "weights", "offset"], ["score"]),
        make("Sigmoid", ["score"], ["closed"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "eyes", [value("signals", TensorProto.FLOAT, ["N", CHANNELS, WINDOW])],
        [value("closed", TensorProto.FLOAT, ["N", 1])], [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


def decode(path: Path, home: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Train, decode the windows in between with a receipt, and verify it as somebody else would."""
    signals, closed = windows(path)
    half = np.arange(len(signals)) % 2 == 0
    with tempfile.TemporaryDirectory() as folder, verity.open(home) as node:
        file = Path(folder) / "eyes.onnx"
        file.write_bytes(network(*train(signals[half], closed[half])))
        model = pull(str(file), node.blobs, name="eeg-eye-state")
        right = 0
        with node.session("eeg-eye-state") as session:
            for number in range(1, len(signals), 2):
                note = {"at_s": number * WINDOW / RATE}
                gave = session.run({"signals": signals[number : number + 1]}, note=note)
                right += int((gave["closed"].item() > 0.5) == closed[number])
        expected: dict[str, Any] = {"key": node.key.id, "model": model.blake3, "home": node.home}
        whole = verity.verify(session.bundle(), **expected)
        one = verity.verify(session.bundle((17, 18)), **expected)
    return {"windows": session.steps, "right": right / session.steps, "reports": [whole, one]}


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED
    if not path.exists():
        print(f"{path} is not here: give the file of the data set", file=sys.stderr)
        return 2
    made = decode(path)
    print(
        f"{made['windows']} windows, {made['right']:.0%} right: {made['reports'][0].check('replayed-exact').sentence}"
    )
    print(f"one window, shown alone: {made['reports'][1].check('replayed-exact').sentence}")
    return max(int(report.exit_code) for report in made["reports"])


if __name__ == "__main__":
    sys.exit(main())
