"""From hidden states to one vector, and how a vector is written. Specified in spec/embedding.md.

The order of every operation is fixed, in float64: a processor's own way to add up many numbers (in pairs, in vector
registers) would change the last bits. Additions go token by token, and a vector's length is an exactly rounded sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from verity.errors import EngineError, FormatError
from verity.statements.strict import decode_base64, encode_base64

Hidden = npt.NDArray[np.float32]
"""The model's final hidden state after one token, (dimensions,)."""

Vector = npt.NDArray[np.float32]
"""An embedding, (dimensions,)."""

Pooling = Literal["mean", "last"]
Normalisation = Literal["l2", "none"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)

MAX_TEXTS = 2048
MAX_TEXT_BYTES = 1 << 21
MAX_TEXT_TOKENS = 1 << 17
MAX_VECTOR_BYTES = 1 << 23
"""Of one receipt, so that its bundle stays within its 32 MiB: texts together, tokens together, vectors as float32."""


def embed(rows: Iterable[Hidden], pooling: Pooling, normalisation: Normalisation) -> Vector:
    """The vector of one text from its hidden states, one or more. Raises EngineError when they are not finite."""
    pooled = _mean(rows) if pooling == "mean" else _last(rows)
    if not np.isfinite(pooled).all():
        raise EngineError("the model's hidden states are not finite", "its file or its numbers are damaged")
    length = math.sqrt(math.fsum(x * x for x in pooled.tolist())) if normalisation == "l2" else 0.0
    return (pooled / length if length else pooled).astype(np.float32)


def _mean(rows: Iterable[Hidden]) -> npt.NDArray[np.float64]:
    count, total = 0, None
    with np.errstate(invalid="ignore"):  # of infinities; the caller refuses what comes out
        for row in rows:
            total = row.astype(np.float64) if total is None else np.add(total, row, out=total)
            count += 1
    assert total is not None
    return total / count


def _last(rows: Iterable[Hidden]) -> npt.NDArray[np.float64]:
    last = None
    for row in rows:
        last = row
    assert last is not None
    return last.astype(np.float64)


def encode_vector(vector: Vector) -> str:
    """Base64 of the numbers as little-endian float32."""
    return encode_base64(vector.astype("<f4").tobytes())


def decode_vector(text: str) -> Vector:
    """Read it back. Raises FormatError for what is no list of finite float32."""
    data = decode_base64(text, "vector")
    if not data or len(data) % 4:
        raise FormatError("a vector is not a list of float32")
    vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise FormatError("a vector has a number that is not finite")
    return vector
