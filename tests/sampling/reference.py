"""Sampling written a second time from spec/sampling.md, in plain Python, sharing no code with verity.

It is slow and looks at every token. The vectors are made with it, and the tests hold verity.sampling against it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

SLACK = 1e-9
M64 = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Parameters:
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


# --- §1 ---------------------------------------------------------------------------------------------------------------


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def seed_of(nonce: bytes, choice: int) -> bytes:
    return hmac_sha256(nonce, b"verity/seed/v1" + choice.to_bytes(4, "big"))


def key_of(seed: bytes, position: int) -> int:
    return int.from_bytes(hmac_sha256(seed, b"verity/noise/v1" + position.to_bytes(8, "big"))[:8], "little")


def word(key: int, token: int) -> int:
    z = (key + (token + 1) * 0x9E3779B97F4A7C15) & M64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


def gumbel(w: int) -> float:
    u = (w // 4096 + 0.5) / 2.0**52
    return -math.log(-math.log(u))


# --- §2 ---------------------------------------------------------------------------------------------------------------


def penalised(p: Parameters, logits: Sequence[float], prompt: Sequence[int], output: Sequence[int]) -> list[float]:
    if any(math.isnan(x) for x in logits) or not math.isfinite(max(logits)):
        raise ValueError("not numbers")
    values = list(logits)
    for t in {*prompt, *output}:
        values[t] = values[t] / p.repetition_penalty if values[t] > 0 else values[t] * p.repetition_penalty
    for t in set(output):
        values[t] -= output.count(t) * p.frequency_penalty + p.presence_penalty
    return values


# --- §3 ---------------------------------------------------------------------------------------------------------------


def survivors(p: Parameters, values: Sequence[float], slack: float = 0.0) -> list[int]:
    """Most likely first. A positive slack widens the two edges, a negative one narrows them."""
    order = sorted(range(len(values)), key=lambda t: (-values[t], t))
    if p.top_k > 0:
        order = order[: p.top_k]
    top = values[order[0]]
    keep = len(order)
    if p.top_p < 1.0:
        weights = [math.exp(values[t] - top) for t in order]
        total = math.fsum(weights)
        before = [0.0, *accumulate(weights)][:-1]
        keep = sum(1 for b in before if b / total < p.top_p + slack)
    if p.min_p > 0.0:
        edge = top + math.log(p.min_p)
        keep = min(keep, sum(1 for t in order if values[t] >= edge - slack))
    return order[: max(keep, 1)]


# --- §4, §5 -----------------------------------------------------------------------------------------------------------


class Judgement(NamedTuple):
    accepted: bool
    best: int
    margin: float


@dataclass
class Reference:
    parameters: Parameters
    seed: bytes
    prompt: Sequence[int] = ()
    output: list[int] = field(default_factory=list)

    def values(self, logits: Sequence[float]) -> list[float]:
        return penalised(self.parameters, logits, self.prompt, self.output)

    def score(self, value: float, token: int) -> float:
        return value / self.parameters.temperature + gumbel(word(key_of(self.seed, len(self.output)), token))

    def best(self, values: Sequence[float], slack: float = 0.0) -> int:
        if self.parameters.temperature == 0.0:
            return values.index(max(values))
        passed = survivors(self.parameters, values, slack)
        return min(passed, key=lambda t: (-self.score(values[t], t), t))

    def draw(self, logits: Sequence[float]) -> int:
        token = self.best(self.values(logits))
        self.output.append(token)
        return token

    def judge(self, logits: Sequence[float], claimed: int) -> Judgement:
        """Does not go on; append to ``output`` for that."""
        values = self.values(logits)
        best = self.best(values, -SLACK)
        if not 0 <= claimed < len(values):
            return Judgement(False, best, math.inf)
        if self.parameters.temperature == 0.0:
            return Judgement(claimed == best, best, values[best] - values[claimed])
        if claimed not in survivors(self.parameters, values, SLACK):
            return Judgement(False, best, math.inf)
        margin = max(self.score(values[best], best) - self.score(values[claimed], claimed), 0.0)
        return Judgement(margin <= SLACK, best, margin)

    def settled(self, logits: Sequence[float]) -> bool:
        """Whether no tolerance of §5 matters here: the filters' edges are clear, and one score is clearly largest."""
        values = self.values(logits)
        if self.parameters.temperature == 0.0:
            return True
        firm, wide = (survivors(self.parameters, values, by) for by in (-SLACK, SLACK))
        if firm != wide:
            return False
        scores = sorted(self.score(values[t], t) for t in wide)
        return len(scores) == 1 or scores[-1] - scores[-2] > SLACK * max(1.0, abs(scores[-1]))
