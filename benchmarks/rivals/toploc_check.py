"""TOPLOC (arXiv 2501.16007) by its own package: proofs of the final hidden states, and what a verifier makes of them.

The package is used as published: 128 values of every CHUNK tokens' states, in bfloat16, as a polynomial of 258 bytes.
It needs torch (requirements/rivals.txt). Its verdict is about one proof: more than 90 of the 128 exponents differ, or
the mantissas by more than 10 in the mean or 8 in the median, the thresholds in the authors' own experiments. For a
curve over thresholds the three errors are made one number: how many standard deviations each is above the honest mean,
added up.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rivals.lies import CHUNK
from verity.engines.pooling import Hidden

VALUES = 128
PROOF_BYTES = 258
MAX_EXPONENTS, MAX_MEAN, MAX_MEDIAN = 90, 10.0, 8.0
_NO_MANTISSA = 128.0
"""In place of a mantissa's difference where no exponent agrees: more than seven bits can differ by."""

Errors = tuple[float, float, float]


def installed() -> bool:
    """Whether TOPLOC and torch are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("toploc", "torch"))


def prove(states: Sequence[Hidden]) -> list[str]:
    """The proofs (base64) of an output's states (tokens, dimensions), one for each CHUNK."""
    import toploc

    built: list[str] = toploc.build_proofs_base64(
        list(_tensor(states)), decode_batching_size=CHUNK, topk=VALUES, skip_prefill=True
    )
    return built


def check(states: Sequence[Hidden], proofs: Sequence[str]) -> list[Errors]:
    """Each proof against the verifier's own states: exponents that differ, mantissas' mean and median difference."""
    import toploc

    results = toploc.verify_proofs_base64(
        list(_tensor(states)), list(proofs), decode_batching_size=CHUNK, topk=VALUES, skip_prefill=True
    )
    return [_errors(result) for result in results]


def _errors(result: Any) -> Errors:
    mean, median = (min(float(value), _NO_MANTISSA) for value in (result.mant_err_mean, result.mant_err_median))
    return float(result.exp_mismatches), mean, median


def refused(errors: Errors) -> bool:
    """The authors' verdict about one proof."""
    exponents, mean, median = errors
    return exponents > MAX_EXPONENTS or mean > MAX_MEAN or median > MAX_MEDIAN


class Score:
    """One number for a proof's errors, larger for less honest ones; ``honest`` (proofs, 3) sets its scale."""

    def __init__(self, honest: npt.ArrayLike) -> None:
        errors = np.asarray(honest, dtype=np.float64)
        self._mean, self._spread = errors.mean(axis=0), np.maximum(errors.std(axis=0), 1e-3)

    def __call__(self, errors: Errors) -> float:
        return float(((np.asarray(errors) - self._mean) / self._spread).sum())


def _tensor(states: Sequence[Hidden]) -> Any:
    import torch

    torch.set_num_threads(1)
    return torch.from_numpy(np.stack(states)).to(torch.bfloat16)
