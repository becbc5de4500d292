"""A scripted engine that computes as another build would: all its logits are a little off, always in the same way."""

from __future__ import annotations

import hashlib

import numpy as np
from in_process import REPLY

from verity.engines.engine import Logits
from verity.engines.numerics import Numerics
from verity.engines.scripted import ScriptedEngine
from verity.verify.kinds import AnyClaim
from verity.verify.margins import measure
from verity.verify.replay import Claim, Replayed

OTHER = Numerics(exact=True, fingerprint="0f" * 32)


class RoughEngine(ScriptedEngine):
    """``off`` is the standard deviation of what each logit is off by."""

    def __init__(self, reply: str = REPLY, off: float = 0.1) -> None:
        super().__init__(reply)
        self._off = off

    def _logits(self, sequence: int) -> Logits:
        digest = hashlib.sha256(repr(self._tokens[sequence]).encode()).digest()
        noise = np.random.default_rng(int.from_bytes(digest, "big")).normal(0.0, self._off, self.vocabulary)
        return (super()._logits(sequence) + noise).astype(np.float32)


def roughly(claim: AnyClaim, off: float = 0.1, reply: str = REPLY) -> Replayed:
    """A Replayer whose numerics are not those of ScriptedEngine."""
    engine = RoughEngine(reply, off)
    measured = measure(engine, claim) if isinstance(claim, Claim) else None
    return Replayed(numerics=OTHER, engine=engine.description, outcome=None, measured=measured)
