"""Step 18, the statistical check: whether an output that other numerics made is as near as honest rounding leaves it.

It can refuse, and it can fail to refuse: it never says "exact". What follows from bytes and tokens alone (the prompt's
tokens, what the grammar allows, how the answer ends) is compared exactly all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from verity.verify.calibration import Calibration, shipped
from verity.verify.replay import Claim, Measured, Outcome, Replayed
from verity.verify.report import Check
from verity.verify.statistics import Judgement, TooShort, judge

NAME = "replayed-statistical"
STEERING = "A prover who knows this check can steer within that margin."


def statistical(claim: Claim, replayed: Replayed, given: Sequence[Calibration]) -> Check:
    """The check, by the first calibration that covers the claim: of those ``given``, or the one that is shipped."""
    if replayed.outcome is not None:
        return _not_made("the exact replay was made, which says more")
    if replayed.measured is None:
        return _not_made(replayed.unmeasured or "no margins were measured")
    if (version := replayed.engine.get("version")) != claim.engine.get("version"):
        return _not_made(f"the receipt is of another version of the engine than the one here, {version}")
    if (wrong := replayed.measured.wrong) is not None:
        return Check(NAME, "failed", _whatever_the_numerics(wrong), wrong.evidence)
    reasons = []
    for calibration in (*given, shipped()):
        if not (reason := _uncovered(calibration, claim, replayed)):
            return _judged(replayed.measured, calibration)
        reasons.append(reason)
    return _not_made(reasons[0])


def _uncovered(calibration: Calibration, claim: Claim, replayed: Replayed) -> str:
    """Why the calibration says nothing about this claim; nothing if it does."""
    if claim.adapters:
        return "the calibration is of the model without adapters"
    if claim.grammar is not None:
        return "the calibration does not cover grammars"
    if reason := calibration.uncovered(claim.model.blake3, claim.parameters):
        return reason
    if replayed.engine.get("version") != calibration.engine:
        return f"the calibration is of another version of the engine, {calibration.engine}"
    return ""


def _judged(measured: Measured, calibration: Calibration) -> Check:
    try:
        judgement = judge(measured.margins, calibration)
    except TooShort:
        return _not_made(f"nothing can be said of fewer than {calibration.shortest} tokens")
    bad = judgement.p_value <= calibration.threshold
    evidence: dict[str, Any] = msgspec.to_builtins(judgement) | {
        "false_alarm_rate": calibration.false_alarm_rate,
        "calibration": {
            "numerics": calibration.numerics,
            "engine": calibration.engine,
            "honest_tokens": calibration.honest_tokens,
            "threshold": calibration.threshold,
        },
    }
    sentence = _refused(judgement, calibration) if bad else _accepted(judgement, calibration)
    return Check(NAME, "failed" if bad else "passed", sentence, evidence)


def _accepted(judgement: Judgement, calibration: Calibration) -> str:
    shift, share = judgement.smallest_shift, judgement.smallest_share
    seen = [] if shift is None else [f"one token that misses by {shift:g} logits, wherever it stands"]
    seen += [] if share is None else [f"{share:.0%} of the tokens replaced by others that the model might write"]
    return (
        f"The {judgement.tokens} tokens are as near to what the model gives here as other honest builds leave them "
        f"(p = {judgement.p_value:.2g}; refused at {calibration.threshold:.0e}). "
        f"It would have seen {', or '.join(seen) or 'no change of this output'}. {STEERING}"
    )


def _refused(judgement: Judgement, calibration: Calibration) -> str:
    rate = f"one honest output in {round(1 / calibration.false_alarm_rate):,}"
    return (
        f"The {judgement.tokens} tokens are further from what the model gives here than honest builds leave them "
        f"(p = {judgement.p_value:.1e}): at most {rate} is refused like this."
    )


def _whatever_the_numerics(wrong: Outcome) -> str:
    return f"{wrong.sentence.rstrip('.')}, which no difference in numerics explains."


def _not_made(reason: str) -> Check:
    return Check(NAME, "not made", f"{reason[:1].upper()}{reason[1:]}.")
