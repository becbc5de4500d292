"""The margins of an output's tokens, where numerics differ: how far each is from what this host's logits give.

One forward pass, as in ``replay``. Prompt, tokenizer, grammar and ending follow from bytes and tokens alone: they must
come out exactly, whatever the numerics. What the margins say is for statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from verity.engines.engine import Engine
from verity.engines.output import Output
from verity.errors import FormatError, VerityError
from verity.sampling.margins import MOST, MarginSampler
from verity.verify.replay import CannotReplay, Claim, Outcome, begin, differs, ending_differs, goes_on, other_compiler

DECIMALS = 4
"""Margins are rounded to a ten-thousandth of a logit."""


class Measured(msgspec.Struct, frozen=True):
    """Signed margins in logits (sampling/margins.py), one for each output token; none where something is ``wrong``
    that no numerics explains."""

    margins: list[float]
    wrong: Outcome | None = None


def measure(engine: Engine, claim: Claim, progress: Callable[[int, int], None] | None = None) -> Measured:
    """Run ``claim`` on ``engine`` and measure. Raises EngineError, CannotReplay as ``replay`` does."""
    try:
        measured = _measure(engine, claim, progress)
    except VerityError as error:
        if other_compiler(claim):
            raise CannotReplay(f"its grammar could not be followed here: {error}", other_compiler(claim)) from error
        raise
    if measured.wrong is not None and (hint := other_compiler(claim)):
        raise CannotReplay(measured.wrong.sentence.rstrip("."), hint)
    return measured


def _measure(engine: Engine, claim: Claim, progress: Callable[[int, int], None] | None) -> Measured:
    if (wrong := begin(engine, claim)) is not None:
        return Measured([], wrong)
    sampler = MarginSampler(claim.parameters, bytes.fromhex(claim.seed), claim.prompt_tokens)
    output = Output(claim.max_tokens, claim.stops)
    constraint = engine.constrain(claim.grammar) if claim.grammar is not None else None
    sequence = [*claim.prompt_tokens, *claim.tokens[:-1]]
    rows = engine.advance_all(sequence, skip=len(claim.prompt_tokens) - 1)
    margins = []
    for position, (token, logits) in enumerate(zip(claim.tokens, rows, strict=True)):
        if output.finish is not None:
            return Measured([], goes_on(position, output))
        allowed = constraint.apply(logits) if constraint else logits
        if math.isinf(float(allowed[token])):
            return Measured([], differs(f"the grammar does not allow output token {position}", position=position))
        margins.append(round(sampler.margin(allowed, token), DECIMALS))
        sampler.push(token)
        output.push(token, engine.piece(token), engine.is_end(token))
        if constraint is not None:
            constraint.push(token)
        if progress is not None and position % 16 == 15:
            progress(position + 1, len(claim.tokens))
    wrong = ending_differs(output, claim)
    return Measured([] if wrong else margins, wrong)


def check_margins(measured: Measured, claim: Claim) -> None:
    """Whether what another process measured can be margins of this claim. Raises FormatError."""
    expected = 0 if measured.wrong is not None else len(claim.tokens)
    if len(measured.margins) != expected or not all(abs(margin) <= MOST for margin in measured.margins):
        raise FormatError("these are not the margins of this output")
