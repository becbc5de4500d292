"""Embeddings for callers of the server: computed between two steps of the answers, on record as everything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from verity import embedder
from verity.embedder import EmbeddingRequest
from verity.endings import embedding_ending
from verity.engines.pooling import Vector, encode_vector
from verity.engines.pooling import embed as pool
from verity.errors import Busy, TimedOut
from verity.loader import Loaded
from verity.node import Node
from verity.server.answering import Embedded
from verity.server.desk import Desk
from verity.server.worker import Worker
from verity.statements.receipt import EMBEDDING


class Limits(NamedTuple):
    """``gone`` tells whether nobody waits any more; ``deadline`` is in the seconds of ``time.monotonic``."""

    gone: Callable[[], bool]
    deadline: float

    def check(self) -> None:
        """Raises Busy, TimedOut."""
        if self.gone():
            raise Busy("the server is shutting down", "try again later", 5.0)
        if time.monotonic() > self.deadline:
            raise TimedOut("the embedding took longer than it may", "embed fewer texts at once")


async def embed(
    worker: Worker, desk: Desk, turn: asyncio.Lock, model: str, texts: Sequence[str], limits: Limits
) -> Embedded:
    """Vectors of ``texts``, one receipt for all. ``turn`` is one for all embeddings: between two steps of the answers
    one text is computed, whoever asks.

    Raises UsageError, ContextOverflow, ModelNotFound, Busy, TimedOut, EngineError.
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
            for tokens in request.prompt_tokens:
                async with turn:
                    limits.check()
                    vectors += await asyncio.wrap_future(worker.call(partial(_vector, loaded, request, tokens)))
            finish = "end"
        except (Busy, TimedOut):
            finish = "cancelled"
            raise
        finally:
            ending = embedding_ending(finish, [encode_vector(v) for v in vectors])
            await desk.run(lambda node: node.recorder.finish(begun, ending, []))
    finally:
        worker.give_back(lease)
    return Embedded([v.tolist() for v in vectors], begun.id, sum(map(len, request.prompt_tokens)))


def _vector(loaded: Loaded, request: EmbeddingRequest, tokens: Sequence[int], _: Node) -> list[Vector]:
    return [pool(loaded.engine.hidden(tokens), request.pooling, request.normalisation)]
