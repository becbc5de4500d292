"""What a receipt costs a network's step: a 256×256 policy on ONNX Runtime, bare, and in a session with all on record.

    python benchmarks/onnx_steps.py [--json]

Both run in one process, a step of each in turn, on one thread and the same inputs; ``step_us`` and ``bare_us`` are
medians, ``step_ratio`` is their quotient. ``steps_per_s_with_receipts`` counts the whole session, hashing, sealing and
writing included, from its intent to its result; ``bare_steps_per_s`` is the same without any receipt.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import verity
from onnx_policy import policy
from verity.engines.network import Array
from verity.node import Node
from verity.store.pull import pull

SIZES = (32, 256, 256, 8)
STEPS = 20_000
WARM_UP = 500


def measure(steps: int = STEPS) -> dict[str, Any]:
    """The figures, of ``steps`` steps each way. Times in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        path.write_bytes(policy(SIZES))
        bare = _bare(path)
        with verity.open(Path(folder) / "home", threads=1) as node:
            pull(str(path), node.blobs, name="policy")
            inputs = _inputs(256)
            step_us, bare_us = _in_turn(node, bare, inputs, steps)
            with_receipts, per_flush_ms = _whole(node, inputs, steps)
            alone = _rate(lambda number: bare(inputs[number % len(inputs)]), steps)
    return {
        "step_ratio": round(step_us / bare_us, 3),
        "step_us": round(step_us, 2),
        "bare_us": round(bare_us, 2),
        "steps_per_s_with_receipts": round(with_receipts),
        "bare_steps_per_s": round(alone),
        "flush_ms_per_1000_steps": round(per_flush_ms, 2),
        "steps": steps,
    }


def _bare(path: Path) -> Callable[[dict[str, Array]], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


def _inputs(count: int) -> list[dict[str, Array]]:
    chance = np.random.default_rng(0)
    return [{"obs": chance.standard_normal((1, SIZES[0])).astype(np.float32)} for _ in range(count)]


def _in_turn(
    node: Node, bare: Callable[[dict[str, Array]], Any], inputs: list[dict[str, Array]], steps: int
) -> tuple[float, float]:
    """Medians of one step with a receipt and of a bare one. Flushing is not in the median, but happens in between."""
    ours: list[int] = []
    theirs: list[int] = []
    with node.session("policy") as session:
        for number in range(WARM_UP + steps):
            given = inputs[number % len(inputs)]
            started = time.perf_counter_ns()
            bare(given)
            between = time.perf_counter_ns()
            session.run(given)
            theirs.append(between - started)
            ours.append(time.perf_counter_ns() - between)
    return statistics.median(ours[WARM_UP:]) / 1e3, statistics.median(theirs[WARM_UP:]) / 1e3


def _whole(node: Node, inputs: list[dict[str, Array]], steps: int) -> tuple[float, float]:
    """Steps per second of a session from beginning to end, and milliseconds of a flush of 1000 steps."""
    flushes: list[float] = []
    started = time.perf_counter()
    with node.session("policy", flush_every=1 << 20) as session:
        for number in range(steps):
            session.run(inputs[number % len(inputs)])
            if number % 1000 == 999:
                before = time.perf_counter()
                session.flush()
                flushes.append(time.perf_counter() - before)
    return steps / (time.perf_counter() - started), 1e3 * statistics.median(flushes)


def _rate(step: Callable[[int], Any], steps: int) -> float:
    started = time.perf_counter()
    for number in range(steps):
        step(number)
    return steps / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    figures = measure()
    print(json.dumps(figures) if as_json else "\n".join(f"{name:<28}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
