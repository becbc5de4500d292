"""The margins of an output's tokens, where numerics differ: how far each is from what this host's logits give.

One forward pass, as in ``replay``. Prompt, tokenizer, grammar and ending follow from bytes and tokens alone: they must
come out exactly, whatever the numerics. What the margins say is for statistics.py.
"""

from __future__ import annotations

from collections.abc import Callable

from verity.engines.engine import Engine
from verity.errors import FormatError
from verity.sampling.margins import MOST, MarginSampler
from verity.verify.replay import Claim, Judge, Measured, Outcome, prepare, with_its_compiler

DECIMALS = 4
"""Margins are rounded to a ten-thousandth of a logit."""


def measure(engine: Engine, claim: Claim, progress: Callable[[int, int], None] | None = None) -> Measured:
    """Run ``claim`` on ``engine`` and measure. Raises EngineError, CannotReplay as ``replay`` does."""
    margins: list[float] = []
    outcome = with_its_compiler(claim, lambda: _measure(engine, claim, progress, margins))
    return Measured(margins) if outcome.matches else Measured([], outcome)


def _measure(
    engine: Engine, claim: Claim, progress: Callable[[int, int], None] | None, margins: list[float]
) -> Outcome:
    if (wrong := prepare(engine, claim)) is not None:
        return wrong
    judge = Judge(engine, claim)
    sampler = MarginSampler(claim.parameters, bytes.fromhex(claim.seed), claim.prompt_tokens)
    sequence = [*claim.prompt_tokens, *claim.tokens[:-1]]
    rows = engine.advance_all(sequence, skip=len(claim.prompt_tokens) - 1)
    for position, (token, logits) in enumerate(zip(claim.tokens, rows, strict=True)):
        if (wrong := judge.over()) is not None:
            return wrong
        margins.append(round(sampler.margin(judge.allowing(logits), token), DECIMALS))
        sampler.skip(token)
        if (wrong := judge.skip(token)) is not None:
            return wrong
        if progress is not None and position % 16 == 15:
            progress(position + 1, len(claim.tokens))
    return judge.ending() or Outcome(True, "")


def check_margins(measured: Measured, claim: Claim) -> None:
    """Whether what another process measured can be margins of this claim. Raises FormatError."""
    expected = 0 if measured.wrong is not None else len(claim.tokens)
    if len(measured.margins) != expected or not all(abs(margin) <= MOST for margin in measured.margins):
        raise FormatError("these are not the margins of this output")
