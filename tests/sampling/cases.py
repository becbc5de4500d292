"""What the tests of drawing and of replaying share: logits of many shapes, parameters, and the cases of the vectors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tests.sampling.reference import word

from verity.sampling.noise import derive_seed
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/sampling.json").read_text())
Row = npt.NDArray[np.float32]
SEED = bytes(32)
ALL: dict[str, Any] = {"top_k": 0, "top_p": 1.0}

KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0, "repetition_penalty": 1.2, "frequency_penalty": 0.1},
    {**ALL, "presence_penalty": 0.6, "frequency_penalty": 0.2},
    {"repetition_penalty": 1.3, "min_p": 0.05},
    {"top_k": 0, "top_p": 0.97, "repetition_penalty": 1.1, "presence_penalty": -0.5},
    {"top_k": 300, "top_p": 0.9, "min_p": 0.01, "frequency_penalty": 0.5},
    {"temperature": 2.5, **ALL, "min_p": 0.02, "frequency_penalty": -0.05},
]


def row(*values: float) -> Row:
    return np.array(values, dtype=np.float32)


SHAPES = ("normal", "flat", "equal", "ties", "huge", "holes", "peak")


def shaped(shape: str, size: int, random: np.random.Generator) -> Row:
    """Logits as models give them, and as they should not."""
    values = random.normal(0.0, 3.0, size)
    if shape == "flat":
        values *= 0.001
    elif shape == "equal":
        values[:] = values[0]
    elif shape == "ties":
        values = np.round(values)
    elif shape == "huge":
        values *= 10.0 ** random.integers(0, 36, size)
    elif shape == "holes":
        values[random.random(size) < 0.7] = -np.inf
        values[random.integers(size)] = 0.5
    elif shape == "peak":
        values[random.integers(size)] += 60.0
    return values.astype(np.float32)


def case_rows(case: dict[str, Any]) -> Iterator[Row]:
    """The logits of a case, position after position."""
    made = case.get("generated")
    position = 0
    while True:
        if made:
            key, scale = int(made["key"]) + position, made["scale"]
            yield row(*(((word(key, t) >> 52) - 2048) / scale for t in range(made["size"])))
        else:
            values = case["logits"][position % len(case["logits"])]
            yield row(*(-math.inf if x is None else x for x in values))
        position += 1


def case_sampler(case: dict[str, Any]) -> Sampler:
    parameters = SamplingParameters(**case["parameters"])
    return Sampler(parameters, derive_seed(bytes.fromhex(case["nonce"]), case["choice"]), case["prompt"])
