"""Log-probabilities of tokens, as the model gives them: before temperature, penalties and grammar."""

from __future__ import annotations

import numpy as np

from verity.engines.engine import Engine, Logits
from verity.server.answering import TokenLogprob


def logprobs_of(engine: Engine, logits: Logits, token: int, top: int) -> TokenLogprob:
    """Of ``token`` and of the ``top`` likeliest, natural logarithms; ``logits`` are those that it was drawn from."""
    wide = logits.astype(np.float64)
    largest = float(wide.max())
    total = largest + float(np.log(np.exp(wide - largest).sum()))
    best = np.argsort(-wide, kind="stable")[:top].tolist()
    piece = engine.piece(token)
    return TokenLogprob(
        token=_text(piece),
        bytes=list(piece),
        logprob=float(wide[token]) - total,
        top=[(_text(engine.piece(t)), engine.piece(t), float(wide[t]) - total) for t in best],
    )


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")
