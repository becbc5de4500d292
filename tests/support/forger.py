"""The key holder who lies: signs and logs, with the device's own key, receipts for what never happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verity.engines.output import Output
from verity.node import Node
from verity.recorder import Token
from verity.request import intent_fields, make_request, now
from verity.sampling.sampler import Sampler
from verity.statements.bundle import Bundle
from verity.store import catalogue

Edit = Callable[[dict[str, Any]], None]


def forge(
    node: Node,
    prompt: str = "Why is the sky blue?",
    *,
    model: str = catalogue.DEFAULT,
    intent: Edit = lambda fields: None,
    result: Edit = lambda fields: None,
    tokens: Callable[[list[int], list[Any]], list[int]] = lambda tokens, rows: tokens,
    pieces: Callable[[list[bytes]], list[bytes]] = lambda pieces: pieces,
    max_tokens: int = 24,
    **sampling: Any,
) -> Bundle:
    """Run the model honestly, then sign and log what the edits make of it.

    ``intent`` and ``result`` change the fields that are committed. ``tokens`` is given the honest tokens and the
    logits at every position, and returns the tokens to claim; text and finish reason are made to fit them. ``pieces``
    changes the bytes that each token is said to stand for.
    """
    loaded = node.load(model)
    engine = loaded.engine
    limits: dict[str, Any] = {"max_tokens": max_tokens, "stops": ()}
    request = make_request(engine, prompt, system=None, nonce=b"f" * 32, sampling=sampling, **limits)
    fields = intent_fields(request, engine, loaded.model, loaded.numerics)
    sampler = Sampler(request.parameters, request.seed, request.prompt_tokens)
    drawn: list[int] = []
    rows: list[Any] = []
    engine.reset()
    logits = engine.advance(request.prompt_tokens)
    while len(drawn) < max_tokens and not (drawn and engine.is_end(drawn[-1])):
        rows.append(logits.copy())
        drawn.append(sampler.draw(logits))
        logits = engine.advance(drawn[-1:])
    claimed = tokens(list(drawn), rows)
    output = Output(max_tokens, [])
    for token in claimed:
        piece = engine.piece(token) if token < engine.vocabulary else b"?"
        output.push(token, piece, engine.is_end(token))
    ending: dict[str, Any] = {
        "output/finish": output.finish or "cancelled",
        "output/segments": None,
        "output/text": output.text,
        "output/tool_calls": [],
        "time/finished": now(),
    }
    intent(fields)
    result(ending)
    begun = node.recorder.begin(fields)
    said = pieces(output.pieces)
    node.recorder.finish(begun, ending, [Token(id=t, piece=p) for t, p in zip(claimed, said, strict=True)])
    return node.recorder.bundle(begun.id)
