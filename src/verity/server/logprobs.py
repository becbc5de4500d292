"""Log-probabilities of tokens, as the model gives them: before temperature, penalties and grammar."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from verity.engines.engine import Engine, Logits
from verity.server.answering import TokenLogprob


def logprobs_of(engine: Engine, logits: Logits, token: int, top: int) -> TokenLogprob:
    """Of ``token`` and of the ``top`` likeliest, natural logarithms; ``logits`` are those that it was drawn from."""
    wide = logits.astype(np.float64)
    largest = float(wide.max())
    total = largest + float(np.log(np.exp(wide - largest).sum()))
    best = _likeliest(wide, top)
    piece = engine.piece(token)
    return TokenLogprob(
        token=_text(piece),
        bytes=list(piece),
        logprob=float(wide[token]) - total,
        top=[(_text(engine.piece(t)), engine.piece(t), float(wide[t]) - total) for t in best],
    )


def _likeliest(wide: npt.NDArray[np.float64], top: int) -> list[int]:
    """The ``top`` tokens of the largest logits, of equals the first ones; not all need to be sorted for it."""
    if top == 0:
        return []
    least = np.partition(wide, -min(top, len(wide)))[-min(top, len(wide))]
    able = np.flatnonzero(wide >= least)
    return [int(token) for token in able[np.argsort(-wide[able], kind="stable")[:top]]]


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")
