"""A second llama.cpp context of a loaded model that gives hidden states, made when the first text is embedded.

It is apart from the context that generates: an embedding disturbs no answer under way, and adapters in use there do
not reach it. The exact profile is the same: measured over 551 tokens, hidden states have the same bits at micro-batches
of 1, 8, 16, 32, 64, 100, 128 and 512, with one and two threads, and whatever the context's size. So the context is only
as large as the longest text so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from verity.engines.library import exact_profile, explain
from verity.engines.pooling import Hidden
from verity.errors import EngineError

_SMALLEST = 512
_POOLING_NONE = 0


class EmbeddingContext:
    """Of a model that somebody else loaded and frees after this. ``micro_batch`` is how many tokens are evaluated at
    once; neither it nor ``threads`` changes a bit."""

    def __init__(self, lib: Any, model: Any, *, threads: int, micro_batch: int) -> None:
        self._lib = lib
        self._model = model
        self._threads = threads
        self._micro_batch = micro_batch
        self._size = 0
        self._ctx: Any = None
        self._batch = lib.llama_batch_init(micro_batch, 0, 1)
        self._dimensions: int = lib.llama_model_n_embd_out(model)

    def hidden(self, tokens: Sequence[int]) -> Iterator[Hidden]:
        """The final hidden state after each token of a text. Valid until the next is asked for. Raises EngineError."""
        self._make_room(len(tokens))
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._ctx), False)
        for start in range(0, len(tokens), self._micro_batch):
            chunk = tokens[start : start + self._micro_batch]
            self._decode(chunk, start)
            for index in range(len(chunk)):
                yield self._row(index)

    def _make_room(self, tokens: int) -> None:
        if tokens <= self._size:
            return
        self._free()
        params = exact_profile(self._lib, self._threads)
        params.n_ctx = max(_SMALLEST, 1 << (tokens - 1).bit_length())
        params.n_batch = params.n_ubatch = self._micro_batch
        params.n_seq_max = 1
        params.embeddings = True
        params.pooling_type = _POOLING_NONE
        self._ctx = self._lib.llama_init_from_model(self._model, params)
        if not self._ctx:
            raise EngineError(explain("the model cannot be given a context for embeddings"), "embed shorter texts")
        self._size = self._lib.llama_n_ctx(self._ctx)

    def _decode(self, tokens: Sequence[int], position: int) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = True
        status = self._lib.llama_decode(self._ctx, batch)
        if status != 0:
            raise EngineError(explain(f"llama.cpp could not evaluate the text (status {status})"))

    def _row(self, index: int) -> Hidden:
        row = self._lib.llama_get_embeddings_ith(self._ctx, index)
        if not row:
            raise EngineError("the model gives no hidden states", "it cannot embed texts")
        return np.ctypeslib.as_array(row, shape=(self._dimensions,))

    def _free(self) -> None:
        if self._ctx:
            self._lib.llama_free(self._ctx)
        self._ctx, self._size = None, 0

    def close(self) -> None:
        """Free it; before its model is freed."""
        self._free()
        if self._batch is not None:
            self._lib.llama_batch_free(self._batch)
        self._batch = None
