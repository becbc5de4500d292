"""The real replay without a process of its own: for tests of what verification makes of it, and for many of them."""

from __future__ import annotations

from typing import Any

from verity.engines.scripted import ScriptedEngine
from verity.verify.replay import Claim, Replayed, replay
from verity.verify.verifier import Replayer

REPLY = "Blue light is scattered more than red light."


def on(engine: Any) -> Replayer:
    """A Replayer on an engine that is there already, such as the one that answered."""

    def replayer(claim: Claim) -> Replayed:
        return Replayed(numerics=claim.numerics, engine=engine.description, outcome=replay(engine, claim))

    return replayer


def in_process(claim: Claim) -> Replayed:
    """A Replayer for receipts of ``ScriptedEngine(REPLY)``."""
    return on(ScriptedEngine(REPLY))(claim)
