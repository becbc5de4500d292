"""Embeddings for callers of the server: computed between two steps of the answers, on record as everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from verity import embedder
from verity.embedder import EmbeddingRequest
from verity.engines.pooling import Vector, encode_vector
from verity.engines.pooling import embed as pool
from verity.loader import Loaded
from verity.recorder import embedding_ending
from verity.server.answering import Embedded
from verity.server.desk import Desk
from verity.server.worker import Worker
from verity.statements.receipt import EMBEDDING


async def embed(worker: Worker, desk: Desk, model: str, texts: Sequence[str]) -> Embedded:
    """Vectors of ``texts``, one receipt for all.

    Raises UsageError, ContextOverflow, ModelNotFound, Busy, EngineError.
    """
    lease = await asyncio.wrap_future(worker.lease(model))
    try:
        loaded = lease.loaded
        request = await desk.run(lambda _: embedder.make_request(loaded.engine, texts, "mean", "l2"))
        fields = embedder.intent_fields(request, loaded)
        begun = await desk.run(lambda node: node.recorder.begin(fields, kind=EMBEDDING))
        vectors: list[Vector] = []
        finish = "error"
        try:
            for tokens in request.prompt_tokens:  # one at a time: answers go on in between
                vectors += await asyncio.wrap_future(worker.call(lambda _, t=tokens: _vector(loaded, request, t)))  # type: ignore[misc]
            finish = "end"
        finally:
            ending = embedding_ending(finish, [encode_vector(v) for v in vectors])
            await desk.run(lambda node: node.recorder.finish(begun, ending, []))
    finally:
        worker.give_back(lease)
    return Embedded([v.tolist() for v in vectors], begun.id, sum(map(len, request.prompt_tokens)))


def _vector(loaded: Loaded, request: EmbeddingRequest, tokens: Sequence[int]) -> list[Vector]:
    return [pool(loaded.engine.hidden(tokens), request.pooling, request.normalisation)]
