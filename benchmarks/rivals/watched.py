"""An engine that also gives the final hidden state behind every row of logits, which TOPLOC proves."""

from __future__ import annotations

from typing import Any

import numpy as np

from verity.engines.engine import Logits
from verity.engines.llama import LlamaEngine
from verity.engines.pooling import Hidden


class WatchedEngine(LlamaEngine):
    """LlamaEngine whose logits have the same bits, and which keeps in ``states`` (dimensions,) the hidden state of each
    row that it gave since ``states`` was last cleared."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.states: list[Hidden] = []
        self._lib.llama_set_embeddings(self._ctx, True)

    def _row(self, index: int) -> Logits:
        state = self._lib.llama_get_embeddings_ith(self._ctx, index)
        self.states.append(np.ctypeslib.as_array(state, shape=(self.dimensions,)).copy())
        return super()._row(index)
