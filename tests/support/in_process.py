"""The real replay without a process of its own: for tests of what verification makes of it, and for many of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verity.engines.engine import AdapterFile
from verity.engines.scripted import ScriptedEngine
from verity.verify.kinds import AnyClaim, replay_claim
from verity.verify.replay import Replayed
from verity.verify.verifier import Replayer

REPLY = "Blue light is scattered more than red light."


def on(engine: Any) -> Replayer:
    """A Replayer on an engine that is there already, such as the one that answered."""

    def replayer(claim: AnyClaim) -> Replayed:
        return Replayed(numerics=claim.numerics, engine=engine.description, outcome=replay_claim(engine, claim))

    return replayer


def in_process(claim: AnyClaim) -> Replayed:
    """A Replayer for receipts of ``ScriptedEngine(REPLY)``."""
    engine = ScriptedEngine(REPLY)
    engine.use_adapters([AdapterFile(a.blake3, Path(a.name), a.scale) for a in claim.adapters])
    return on(engine)(claim)
