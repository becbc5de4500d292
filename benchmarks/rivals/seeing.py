"""Verifiers at work: the claimed model runs once over prompt and output; all methods look at what comes out."""

from __future__ import annotations

import math

from rivals import lies, toploc_check
from rivals.lies import CLAIMED, HONEST, TOKENS
from rivals.outputs import Output, Replay, Seen
from rivals.watched import WatchedEngine
from verity.engines.numerics import Numerics
from verity.sampling.sampler import Sampler
from verity.verify.replay import Claim, ModelName, Template, replay

_UNKNOWN = "0" * 64


def see(engine: WatchedEngine, group: str, output: Output) -> Seen:
    """The margins of an output's tokens, and TOPLOC's errors against the proofs that came with it."""
    claim = claim_of(engine, group, output)
    engine.reset()
    engine.states.clear()
    sampler = Sampler(claim.parameters, bytes.fromhex(claim.seed), claim.prompt_tokens)
    rows = engine.advance_all([*claim.prompt_tokens, *claim.tokens[:-1]], skip=len(claim.prompt_tokens) - 1)
    margins = [sampler.judge(logits, token).margin for token, logits in zip(claim.tokens, rows, strict=True)]
    errors = toploc_check.check(engine.states, output.proofs) if output.proofs else []
    return Seen(output.number, [None if math.isinf(margin) else margin for margin in margins], errors)


def replayed(engine: WatchedEngine, group: str, output: Output) -> Replay:
    """Where an exact replay first differs."""
    claim = claim_of(engine, group, output)
    engine.states.clear()
    outcome = replay(engine, claim)
    if not outcome.matches:
        return Replay(output.number, outcome.evidence["position"], [])
    errors = toploc_check.check(engine.states, output.proofs) if group in HONEST and output.proofs else []
    return Replay(output.number, None, errors)


def claim_of(engine: WatchedEngine, group: str, output: Output) -> Claim:
    """What the device claims of this output, whatever it did."""
    asked = lies.messages(output.number, CLAIMED.system)
    tokens = list(output.tokens)
    if group == "edit_after":
        tokens[lies.edited_position(output.number)] = output.other
    assert len(tokens) == TOKENS
    pieces = [engine.piece(token) for token in tokens]
    return Claim(
        model=ModelName(_UNKNOWN, "claimed", _UNKNOWN, 0),
        engine=engine.description,
        tokenizer=engine.tokenizer,
        context=engine.context,
        template=Template(True, None, engine.template_digest),
        numerics=Numerics(True, _UNKNOWN),
        messages=asked,
        prompt_tokens=engine.tokenize(engine.render(asked, None)),
        parameters=CLAIMED.parameters,
        max_tokens=TOKENS,
        stops=[],
        seed=output.seed,
        tokens=tokens,
        pieces=pieces,
        grammar=None,
        tools=[],
        tool_calls=[],
        text=b"".join(pieces).decode("utf-8", "replace"),
        finish="length",
    )
