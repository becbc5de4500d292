"""Log-probabilities of tokens, as the model gives them: before temperature, penalties and grammar."""

from __future__ import annotations

from verity.engines.engine import Engine, Logits
from verity.engines.scores import log_total
from verity.sampling.sampler import most_likely
from verity.server.answering import TokenLogprob


def logprobs_of(engine: Engine, logits: Logits, token: int, top: int) -> TokenLogprob:
    """Of ``token`` and of the ``top`` likeliest, natural logarithms; ``logits`` are those that it was drawn from."""
    total = log_total(logits)
    best = most_likely(logits, min(top, len(logits)))
    piece = engine.piece(token)
    return TokenLogprob(
        token=_text(piece),
        bytes=list(piece),
        logprob=float(logits[token]) - total,
        top=[(_text(engine.piece(t)), engine.piece(t), float(logits[t]) - total) for t in map(int, best)],
    )


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")
