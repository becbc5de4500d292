"""From logits to how likely a model finds a text, and the digest of them all. Specified in spec/scoring.md.

numpy's exp and log differ in the last bit between processors: log-probabilities are compared within TOLERANCE, and what
is exact, the logits themselves, is committed as a digest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from verity.errors import EngineError
from verity.sampling.sampler import Logits, most_likely
from verity.statements.strict import encode_base64

TOLERANCE = 1e-9
MAX_TOP = 256
_DOMAIN = b"verity/scoring/v1\x00"


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token that could come next: its bytes (base64) and its log-probability."""

    logprob: float
    piece: str
    token: int


class Scores(msgspec.Struct, frozen=True):
    """``logits`` is the digest (64 hex digits) of all logits; ``logprobs`` are natural logarithms, of each token after
    the first; ``candidates`` for the place after the last, the likeliest first."""

    logits: str
    logprobs: list[float]
    candidates: list[Candidate]


def score(rows: Iterable[Logits], tokens: Sequence[int], top: int, piece: Callable[[int], bytes]) -> Scores:
    """The scores of ``tokens``, one or more, from the logits (vocabulary,) after each; ``piece`` gives a token's bytes.

    Raises EngineError when a logit is not finite.
    """
    hasher, logprobs, candidates = hashlib.sha256(_DOMAIN), [], []
    following = [*tokens[1:], None]
    for row, token in zip(rows, following, strict=True):
        hasher.update(hashlib.sha256(row.astype("<f4").tobytes()).digest())
        if not np.isfinite(row).all():
            raise EngineError("the model gave logits that are not numbers", "the model file is probably damaged")
        total = log_total(row)
        if token is not None:
            logprobs.append(float(row[token]) - total)
        else:
            best = map(int, most_likely(row, min(top, len(row))))
            candidates = [Candidate(float(row[t]) - total, encode_base64(piece(t)), t) for t in best]
    return Scores(hasher.hexdigest(), logprobs, candidates)


def log_total(logits: npt.NDArray[np.floating]) -> float:
    """The logarithm of the sum of exponentials, in float64: a logit minus this is its log-probability."""
    largest = float(logits.max())
    return largest + math.log(float(np.exp(logits.astype(np.float64) - largest).sum()))


def shared(before: Sequence[int], tokens: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginning."""
    pairs = zip(before, tokens, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(before), len(tokens)))
