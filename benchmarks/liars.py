"""Parties who lie in a dispute, in ten ways: each runs the model, lies at a random place, and commits to the lie.

Every hash, signature and proof of such a receipt holds, and its states are chained: only a replay can tell. Used by
checks.py with the real model, and by the tests with the scripted one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from verity.endings import ending
from verity.engines.engine import Engine, Logits
from verity.engines.output import Output
from verity.node import Node
from verity.request import Request, check_asked, intent_fields, make_request
from verity.sampling.noise import derive_seed
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler
from verity.statements.bundle import Bundle, Disclosure
from verity.statements.segments import NO_GRAMMAR, SEGMENT_TOKENS, Evaluated, cut, evaluated_length
from verity.store.receipts import Token

Draw = Callable[[int, Logits, Sampler], int]


class Run:
    """One run of the model whose hooks lie. ``prompt`` is evaluated, ``draw`` chooses each token, ``rows`` edits the
    state's chunks, ``fields`` the intent, and ``stop`` ends the answer after so many tokens."""

    def __init__(self, engine: Engine, request: Request, chance: random.Random) -> None:
        self.engine, self.request, self.chance = engine, request, chance
        self.prompt = list(request.prompt_tokens)
        self.sampler = Sampler(request.asked.parameters, request.seed, request.prompt_tokens)
        self.draw: Draw = lambda _position, logits, sampler: sampler.draw(logits)
        self.rows: Callable[[list[bytes]], list[bytes]] = lambda chunks: chunks
        self.fields: Callable[[dict[str, Any]], None] = lambda fields: None
        self.claimed: Callable[[list[int]], list[int]] = lambda tokens: tokens
        self.stop: int | None = None
        self.goes_on = False

    def tokens(self) -> list[int]:
        """Run the model; returns what was drawn."""
        engine, drawn = self.engine, list[int]()
        engine.reset()
        logits = engine.advance(self.prompt)
        limit = self.request.max_tokens
        while len(drawn) < limit and not (drawn and engine.is_end(drawn[-1]) and not self.goes_on):
            token = self.draw(len(drawn), logits, self.sampler)
            drawn.append(token)
            if len(drawn) == self.stop:
                break
            if len(drawn) < limit:
                logits = engine.advance([token])
        return drawn


def tell(
    node: Node,
    way: str,
    chance: random.Random,
    prompt: str,
    *,
    honest: Bundle,
    max_tokens: int,
    nonce: bytes,
    **sampling: float,
) -> Bundle | None:
    """A lie's receipt, of ``node``, beside the ``honest`` one; None where this way does not apply, or where the truth
    came of it."""
    loaded = node.load()
    asked = check_asked(prompt, max_tokens=max_tokens, sampling=sampling)
    request = make_request(loaded.engine, asked, nonce=nonce)
    run = Run(loaded.engine, request, chance)
    if not WAYS[way](run):
        return None
    drawn = run.tokens()
    claimed = run.claimed(list(drawn))
    said = _said(run, claimed)
    fields = intent_fields(request, loaded.engine, loaded.model, loaded.numerics)
    run.fields(fields)
    evaluated = _evaluated(run, len(fields["prompt_tokens"]), claimed)
    begun = node.recorder.begin(fields)
    pieces = [loaded.engine.piece(token) for token in claimed]
    tokens = [Token(id=t, piece=p) for t, p in zip(claimed, pieces, strict=True)]
    node.recorder.finish(begun, said, tokens, evaluated)
    bundle = node.exporter.bundle(begun.id)
    return None if _content(bundle) == _content(honest) else bundle


def _content(bundle: Bundle) -> object:
    """What two who tell the same agree on."""
    assert isinstance(bundle.disclosure, Disclosure)
    return [t.id for t in bundle.disclosure.tokens], [s.state for s in bundle.disclosure.segments]


def _said(run: Run, claimed: list[int]) -> dict[str, Any]:
    """The result's fields, made to fit the tokens as far as their text tells."""
    output = Output(run.request.max_tokens, [])
    for token in claimed:
        output.push(token, run.engine.piece(token), run.engine.is_end(token))
    early = len(claimed) < run.request.max_tokens
    return ending("end" if early else output.finish or "length", output.text)


def _evaluated(run: Run, prompt: int, claimed: list[int]) -> Evaluated | None:
    bounds = cut(SEGMENT_TOKENS, evaluated_length(prompt, len(claimed)))
    state = run.engine.state(0, bounds)
    assert state is not None
    return Evaluated(state.encoding, SEGMENT_TOKENS, run.rows(list(state.chunks)), [NO_GRAMMAR] * len(bounds))


# --- ten ways ---------------------------------------------------------------------------------------------------------


def _other(run: Run, token: int) -> int:
    """Some other token that ends nothing."""
    while True:
        other = run.chance.randrange(run.engine.vocabulary)
        if other != token and run.engine.piece(other) and not run.engine.is_end(other):
            return other


def _edited(run: Run) -> bool:
    """One token is another, and the model goes on from it."""
    at = run.chance.randrange(1, run.request.max_tokens - 1)

    def draw(position: int, logits: Logits, sampler: Sampler) -> int:
        token = sampler.draw(logits)
        return _other(run, token) if position == at else token

    run.draw = draw
    return True


def _replaced(run: Run) -> bool:
    """One token is replaced afterwards; states and all that follows stay as they were."""

    def claimed(tokens: list[int]) -> list[int]:
        at = run.chance.randrange(len(tokens) - 1) if len(tokens) > 1 else 0
        return [*tokens[:at], _other(run, tokens[at]), *tokens[at + 1 :]]

    run.claimed = claimed
    return True


def _prompt_hidden(run: Run) -> bool:
    """Another prompt is evaluated than the one that is named."""
    at = run.chance.randrange(len(run.prompt))
    run.prompt[at] = _other(run, run.prompt[at])
    return True


def _prompt_named(run: Run) -> bool:
    """Another prompt is evaluated, and its tokens are named; they do not follow from the message."""
    at = run.chance.randrange(len(run.prompt))
    run.prompt[at] = _other(run, run.prompt[at])
    run.fields = lambda fields: fields.update(prompt_tokens=list(run.prompt))
    return True


def _forged_state(run: Run) -> bool:
    """Some bytes of the rows of one segment are others."""

    def rows(chunks: list[bytes]) -> list[bytes]:
        index = run.chance.randrange(len(chunks))
        forged = bytearray(chunks[index])
        for _ in range(8):
            forged[run.chance.randrange(len(forged))] ^= 1 + run.chance.randrange(255)
        return [*chunks[:index], bytes(forged), *chunks[index + 1 :]]

    run.rows = rows
    return True


def _swapped_segments(run: Run) -> bool:
    """The rows of two neighbouring segments are exchanged."""

    def rows(chunks: list[bytes]) -> list[bytes]:
        pairs = range(len(chunks) - 1)
        at = run.chance.choice([i for i in pairs if len(chunks[i]) == len(chunks[i + 1])] or [None])
        if at is None:
            return chunks
        return [*chunks[:at], chunks[at + 1], chunks[at], *chunks[at + 2 :]]

    run.rows = rows
    return evaluated_length(len(run.prompt), run.request.max_tokens) >= 3 * SEGMENT_TOKENS


def _stopped(run: Run) -> bool:
    """The answer is cut off, and said to have ended."""
    run.stop = run.chance.randrange(2, run.request.max_tokens - 1)
    return True


def _other_seed(run: Run) -> bool:
    """From some token on the noise is another seed's."""
    return _drawn_otherwise(run, run.request.asked.parameters, derive_seed(run.chance.randbytes(32)))


def _other_temperature(run: Run) -> bool:
    """From some token on another temperature is used."""
    hot = msgspec.structs.replace(run.request.asked.parameters, temperature=3.0, top_k=0, top_p=1.0)
    return _drawn_otherwise(run, hot, run.request.seed)


def _drawn_otherwise(run: Run, parameters: SamplingParameters, seed: bytes) -> bool:
    at = run.chance.randrange(run.request.max_tokens - 1)

    def draw(position: int, logits: Logits, sampler: Sampler) -> int:
        if position < at:
            return sampler.draw(logits)
        substitute = Sampler(parameters, seed, run.request.prompt_tokens)
        substitute.position = position
        return substitute.draw(logits)

    run.draw = draw
    return True


def _other_weights(run: Run) -> bool:
    """From some token on the logits are another model's: these, with a disturbance in each."""
    import numpy as np

    at = run.chance.randrange(run.request.max_tokens - 1)
    generator = np.random.default_rng(run.chance.randrange(1 << 32))

    def draw(position: int, logits: Logits, sampler: Sampler) -> int:
        if position >= at:
            logits = logits + generator.normal(0, 4.0, logits.shape).astype(np.float32)
        return sampler.draw(logits)

    run.draw = draw
    return True


WAYS: dict[str, Callable[[Run], bool]] = {
    "edited token": _edited,
    "replaced token": _replaced,
    "hidden prompt": _prompt_hidden,
    "other prompt tokens": _prompt_named,
    "forged state": _forged_state,
    "swapped segments": _swapped_segments,
    "stopped early": _stopped,
    "other seed": _other_seed,
    "other temperature": _other_temperature,
    "other weights": _other_weights,
}
"""What each does, by name."""
