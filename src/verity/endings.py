"""The fields of a result, by kind of receipt: what came of it, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from verity.engines.scores import Scores
from verity.statements.receipt import EMBEDDING, GENERATION, SCORING, ToolCall
from verity.statements.steps import STEP_FIELD
from verity.store.clock import now


def ending(finish: str, text: str = "", calls: Iterable[ToolCall] = ()) -> dict[str, Any]:
    """The result's fields, but for the tokens (spec/receipt.md). None and [] say that a feature is not in use."""
    return {
        "output/finish": finish,
        "output/segments": None,
        "output/text": text,
        "output/tool_calls": msgspec.to_builtins(list(calls)),
        "time/finished": now(),
    }


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


def lost(kind: str) -> dict[str, Any]:
    """What is said of a receipt whose process died, and with it what it had made."""
    return _LOST[kind]()


_LOST = {
    GENERATION: lambda: ending("aborted"),
    EMBEDDING: lambda: embedding_ending("aborted", []),
    SCORING: lambda: scoring_ending("aborted"),
}
