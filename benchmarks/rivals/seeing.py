"""Verifiers at work: the claimed model runs once over prompt and output; all methods look at what comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rivals import lies, toploc_check
from rivals.lies import CHUNK, CLAIMED, HONEST, TOKENS
from rivals.outputs import Compared, Output, Replay, Seen
from rivals.watched import WatchedEngine
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import Numerics
from verity.sampling.margins import MarginSampler
from verity.sampling.sampler import Logits, Sampler
from verity.verify.margins import DECIMALS
from verity.verify.replay import Claim, ModelName, Template, replay

_UNKNOWN = "0" * 64


def see(engine: WatchedEngine, group: str, output: Output) -> Seen:
    """The margins of an output's tokens, and TOPLOC's errors against the proofs that came with it."""
    claim = claim_of(engine, group, output)
    signed = MarginSampler(claim.parameters, bytes.fromhex(claim.seed), claim.prompt_tokens)
    engine.states.clear()
    missed, margins = [], []
    for token, logits, by in judged(engine, claim):
        missed.append(None if math.isinf(by) else by)
        margins.append(round(signed.margin(logits, token), DECIMALS))
        signed.skip(token)
    errors = toploc_check.check(engine.states, output.proofs) if output.proofs else []
    return Seen(output.number, missed, margins, errors)


def judged(engine: LlamaEngine, claim: Claim) -> Iterator[tuple[int, Logits, float]]:
    """Each token with its logits under the claimed model, and by how much its score misses the best."""
    engine.reset()
    sampler = Sampler(claim.parameters, bytes.fromhex(claim.seed), claim.prompt_tokens)
    rows = engine.advance_all([*claim.prompt_tokens, *claim.tokens[:-1]], skip=len(claim.prompt_tokens) - 1)
    for token, logits in zip(claim.tokens, rows, strict=True):
        yield token, logits, sampler.judge(logits, token).margin


def replayed(engine: WatchedEngine, group: str, output: Output) -> Replay:
    """Where an exact replay first differs."""
    claim = claim_of(engine, group, output)
    engine.states.clear()
    outcome = replay(engine, claim)
    if not outcome.matches:
        return Replay(output.number, outcome.evidence["position"], [])
    errors = toploc_check.check(engine.states, output.proofs) if group in HONEST and output.proofs else []
    return Replay(output.number, None, errors)


def compared(engine: LlamaEngine, group: str, output: Output) -> Compared:
    """Which pieces of an output an exact replay would refuse, each for itself."""
    wrong = [by > 0.0 for _, _, by in judged(engine, claim_of(engine, group, output))]
    return Compared(output.number, [any(wrong[at : at + CHUNK]) for at in range(0, TOKENS, CHUNK)])


def claim_of(engine: LlamaEngine, group: str, output: Output) -> Claim:
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
