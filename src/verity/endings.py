"""The fields of a result that no token was drawn for, by kind of receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from verity.engines.scores import Scores
from verity.statements.steps import STEP_FIELD
from verity.store.clock import now


def embedding_ending(finish: str, vectors: list[str]) -> dict[str, Any]:
    """The fields of an embedding's result (spec/embedding.md): the vectors made, in base64."""
    return {"output/embeddings": vectors, "output/finish": finish, "time/finished": now()}


def scoring_ending(finish: str, scores: Scores | None = None) -> dict[str, Any]:
    """The fields of a scoring's result (spec/scoring.md): no scores, if it was cut off."""
    return {
        "output/candidates": msgspec.to_builtins(scores.candidates) if scores else [],
        "output/finish": finish,
        "output/logits": scores.logits if scores else None,
        "output/logprobs": scores.logprobs if scores else [],
        "time/finished": now(),
    }


def inference_ending(finish: str, steps: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an inference's result (spec/inference.md); ``steps`` is the field of that name."""
    return {"output/finish": finish, STEP_FIELD: dict(steps), "time/finished": now()}
