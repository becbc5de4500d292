"""The kinds of receipt, and what differs between them: how the output is checked, and how it is replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from verity.engines.engine import Engine
from verity.engines.network import Network
from verity.statements.receipt import EMBEDDING, GENERATION, INFERENCE, SCORING
from verity.verify import content, embedding, inference, scoring
from verity.verify.content import Opened
from verity.verify.embedding import EmbeddingClaim
from verity.verify.inference import InferenceClaim
from verity.verify.replay import Claim, Outcome, replay
from verity.verify.report import Check
from verity.verify.scoring import ScoringClaim
from verity.verify.segments import SpotClaim, replay_segments

AnyClaim = Claim | EmbeddingClaim | InferenceClaim | ScoringClaim | SpotClaim
"""What a replayer may be handed: each is told by its tag."""

Progress = Callable[[int, int], None]


class Kind(NamedTuple):
    """One kind of receipt.

    output        step 8: what was disclosed belongs together
    claim         what the replay needs; raises Withheld, CannotReplay, FormatError
    not_drawn     why there is nothing to say about chance, where nothing is drawn at random
    """

    output: Callable[[Opened], Check]
    claim: Callable[[Opened], AnyClaim]
    not_drawn: str = ""


KINDS = {
    GENERATION: Kind(lambda opened: content.output(opened.fields, opened.tokens), content.generation_claim),
    EMBEDDING: Kind(
        lambda opened: embedding.output(opened.fields),
        lambda opened: embedding.claim(opened.fields),
        "an embedding is not drawn at random: it has no nonce, and nobody could choose one",
    ),
    INFERENCE: Kind(
        lambda opened: inference.output(opened.fields, opened.steps),
        lambda opened: inference.claim(opened.fields, opened.steps),
        "a network's outputs are not drawn at random: there is no nonce, and nobody could choose one",
    ),
    SCORING: Kind(
        lambda opened: scoring.output(opened.fields),
        lambda opened: scoring.claim(opened.fields),
        "scores are not drawn at random: there is no nonce, and nobody could choose one",
    ),
}
OF_CHANCE = ("intent-first", "nonce", "seed-origin")
"""Checks that say nothing where nothing is drawn."""

_REPLAYS: dict[type, Callable[[Any, Any, Progress | None], Outcome]] = {
    Claim: replay,
    EmbeddingClaim: embedding.replay,
    ScoringClaim: scoring.replay,
    SpotClaim: replay_segments,
    InferenceClaim: inference.replay,
}


def kind_of(name: str) -> Kind:
    """The kind of this name; an unknown one, which no verifier accepts, is read as a generation."""
    return KINDS.get(name, KINDS[GENERATION])


def replay_claim(engine: Engine | Network, claim: AnyClaim, progress: Progress | None = None) -> Outcome:
    """Replay a claim of any kind on the engine that it names: an inference on a Network, all else on an Engine.

    Raises EngineError, CannotReplay.
    """
    return _REPLAYS[type(claim)](engine, claim, progress)
