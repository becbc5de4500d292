"""The same context with llama.cpp's own sampler and no receipt: what the cost of a receipt is measured against."""

from __future__ import annotations

import time
from typing import Any

from verity.engines.llama import LlamaEngine
from verity.engines.output import Output


class OwnSampler:
    """llama.cpp's sampler chain: top-k, top-p, temperature, a random draw."""

    def __init__(self, engine: LlamaEngine, *, top_k: int, top_p: float, temperature: float) -> None:
        self._engine = engine
        self._lib: Any = engine._lib
        lib = self._lib
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        if top_k:
            lib.llama_sampler_chain_add(self._chain, lib.llama_sampler_init_top_k(top_k))
        if top_p < 1.0:
            lib.llama_sampler_chain_add(self._chain, lib.llama_sampler_init_top_p(top_p, 1))
        lib.llama_sampler_chain_add(self._chain, lib.llama_sampler_init_temp(temperature))
        lib.llama_sampler_chain_add(self._chain, lib.llama_sampler_init_dist(1))

    def generate(self, rendered: str, count: int) -> float:
        """Write ``count`` tokens (an end token does not end it) and their text. Returns seconds, prompt included."""
        started = time.perf_counter()
        engine = self._engine
        engine.reset()
        engine.advance(engine.tokenize(rendered))
        output = Output(count, [])
        while True:
            token = self._lib.llama_sampler_sample(self._chain, engine._ctx, -1)
            output.push(token, engine.piece(token), False)
            output.fresh()
            if output.finish is not None:
                return time.perf_counter() - started
            engine.advance([token])

    def close(self) -> None:
        self._lib.llama_sampler_free(self._chain)
