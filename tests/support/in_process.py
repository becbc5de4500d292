"""The real replay, on the scripted engine, without a process of its own: for tests of what verification makes of it."""

from __future__ import annotations

from pathlib import Path

from verity.engines.engine import AdapterFile
from verity.engines.scripted import ScriptedEngine
from verity.verify.embedding import AnyClaim, replay_any
from verity.verify.replay import Replayed

REPLY = "Blue light is scattered more than red light."


def in_process(claim: AnyClaim) -> Replayed:
    """A Replayer for receipts of ``ScriptedEngine(REPLY)``."""
    engine = ScriptedEngine(REPLY)
    engine.use_adapters([AdapterFile(a.blake3, Path(a.name), a.scale) for a in claim.adapters])
    return Replayed(numerics=claim.numerics, engine=engine.description, outcome=replay_any(engine, claim))
