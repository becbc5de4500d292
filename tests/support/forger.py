"""The key holder who lies: signs and logs, with the device's own key, receipts for what never happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from verity import embedder, inference, scorer
from verity.endings import embedding_ending, ending, inference_ending, scoring_ending
from verity.engines.network import Array, to_tensor
from verity.engines.output import Output
from verity.engines.pooling import embed, encode_vector
from verity.engines.scores import score
from verity.exporter import Selection
from verity.loader import Wanted
from verity.node import Node
from verity.recorder import Begun
from verity.request import Request, asked_by, check_asked, intent_fields, make_request
from verity.sampling.sampler import Sampler
from verity.statements.bundle import Bundle, Disclosure
from verity.statements.receipt import EMBEDDING, INFERENCE, SCORING
from verity.statements.request import Issued
from verity.statements.segments import NO_GRAMMAR, SEGMENT_TOKENS, Evaluated, cut, evaluated_length
from verity.statements.steps import Step, Tensor, encode_note, join_step, tensor_head
from verity.steps import StepTree, open_steps
from verity.store import catalogue
from verity.store.receipts import Token

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
    adapters: Sequence[Wanted] = (),
    issued: Issued | None = None,
    nonce: bytes = b"f" * 32,
    begun: Begun | None = None,
    evaluated: Callable[[Evaluated], Evaluated] | None = None,
    **sampling: Any,
) -> Bundle:
    """Run the model honestly, then sign and log what the edits make of it.

    ``intent`` and ``result`` change the fields that are committed. ``tokens`` is given the honest tokens and the
    logits at every position, and returns the tokens to claim; text and finish reason are made to fit them. ``pieces``
    changes the bytes that each token is said to stand for. ``issued`` is the request to pretend to answer (the model
    runs on the prompt and parameters given here all the same), ``begun`` an intent that is logged already. With
    ``evaluated`` the receipt commits to segments: what it makes of the states that follow from the claimed tokens is
    committed, and is what the device then opens.
    """
    loaded = node.load(model, adapters=adapters)
    asked = check_asked(prompt, max_tokens=max_tokens, sampling=sampling, adapters=loaded.adapters)
    if issued is not None and not sampling:
        asked = asked_by(issued.request)
    request = make_request(loaded.engine, asked, nonce=nonce, issued=issued)
    drawn, rows = _generate(loaded.engine, request)
    claimed = tokens(list(drawn), rows)
    output = Output(request.max_tokens, [])
    for token in claimed:
        piece = loaded.engine.piece(token) if token < loaded.engine.vocabulary else b"?"
        output.push(token, piece, loaded.engine.is_end(token))
    said = ending(output.finish or "cancelled", output.text)
    fields = intent_fields(request, loaded.engine, loaded.model, loaded.numerics)
    intent(fields)
    if begun is not None:
        said |= request.seed_fields()
    result(said)
    begun = begun or node.recorder.begin(fields, request=issued.envelope if issued else None)
    spelled = pieces(output.pieces)
    states = evaluated(evaluate(loaded.engine, request.prompt_tokens, claimed)) if evaluated is not None else None
    node.recorder.finish(begun, said, [Token(id=t, piece=p) for t, p in zip(claimed, spelled, strict=True)], states)
    return node.exporter.bundle(begun.id)


def _generate(engine: Any, request: Request) -> tuple[list[int], list[Any]]:
    """The honest tokens and the logits before each."""
    sampler = Sampler(request.asked.parameters, request.seed, request.prompt_tokens)
    drawn: list[int] = []
    rows: list[Any] = []
    engine.reset()
    logits = engine.advance(request.prompt_tokens)
    while len(drawn) < request.max_tokens and not (drawn and engine.is_end(drawn[-1])):
        rows.append(logits.copy())
        drawn.append(sampler.draw(logits))
        logits = engine.advance(drawn[-1:])
    return drawn, rows


def evaluate(engine: Any, prompt: list[int], output: list[int], size: int = SEGMENT_TOKENS) -> Evaluated:
    """The states that follow from these tokens, whoever drew them."""
    bounds = cut(size, evaluated_length(len(prompt), len(output)))
    engine.reset()
    for _ in engine.advance_all([*prompt, *output][: bounds[-1][1]]):
        pass
    state = engine.state(0, bounds)
    return Evaluated(state.encoding, size, list(state.chunks), [NO_GRAMMAR] * len(bounds))


def forge_embedding(
    node: Node,
    texts: list[str],
    *,
    intent: Edit = lambda fields: None,
    result: Edit = lambda fields: None,
    **options: str,
) -> Bundle:
    """Embed honestly, then sign and log what the edits make of it. ``options`` are pooling and normalisation."""
    loaded = node.load()
    request = embedder.make_request(loaded.engine, texts, **{"pooling": "mean", "normalisation": "l2"} | options)
    vectors = [embed(loaded.engine.hidden(t), request.pooling, request.normalisation) for t in request.prompt_tokens]
    said = embedding_ending("end", [encode_vector(vector) for vector in vectors])
    fields = embedder.intent_fields(request, loaded)
    intent(fields)
    result(said)
    begun = node.recorder.begin(fields, kind=EMBEDDING)
    node.recorder.finish(begun, said, [])
    return node.exporter.bundle(begun.id)


def forge_inference(
    node: Node,
    model: str,
    given: Sequence[dict[str, Array]],
    *,
    intent: Edit = lambda fields: None,
    result: Edit = lambda fields: None,
    steps: Callable[[list[Step]], list[Step]] = lambda steps: steps,
    opened: tuple[int, int] | None = None,
) -> Bundle:
    """Run a network honestly on what is given, then sign and log what the edits make of it; whatever the steps become,
    they are committed as they are. ``opened`` are the steps to open, all unless it says which."""
    loaded = node.network(model)
    made = []
    for index, inputs in enumerate(given):
        outputs = loaded.network.run(inputs)
        both = (inputs, loaded.network.inputs), (outputs, loaded.network.outputs)
        tensors = [[to_tensor(form.name, arrays[form.name]) for form in forms] for arrays, forms in both]
        made.append(Step(index, *tensors))
    fields = inference.intent_fields(loaded)
    intent(fields)
    begun = node.recorder.begin(fields, kind=INFERENCE)
    bodies = [join_step(_parts(s.inputs), _parts(s.outputs), encode_note(s.note)) for s in steps(made)]
    node.recorder.steps.writer(begun.id, begun.secret).append(bodies)
    tree = StepTree(begun.id, begun.secret)
    tree.append(bodies)
    truth = tree.field()
    said = inference_ending("end", truth)
    result(said)
    node.recorder.finish(begun, said, [])
    bundle = node.exporter.bundle(begun.id, Selection(fields=["*"]))
    start, stop = opened or (0, truth["count"])
    shown = open_steps(node.recorder.steps, begun.id, begun.secret, truth, start, stop)
    assert isinstance(bundle.disclosure, Disclosure)
    return msgspec.structs.replace(bundle, disclosure=msgspec.structs.replace(bundle.disclosure, steps=shown))


def _parts(tensors: Sequence[Tensor]) -> list[tuple[bytes, bytes]]:
    return [(tensor_head(t.name, t.dtype, t.shape), t.data) for t in tensors]


def forge_scoring(
    node: Node,
    text: str,
    continuation: str | None = None,
    *,
    top: int = 3,
    raw: bool = True,
    model: str = catalogue.DEFAULT,
    intent: Edit = lambda fields: None,
    result: Edit = lambda fields: None,
    adapters: Sequence[Wanted] = (),
) -> Bundle:
    """Score honestly, then sign and log what the edits make of it."""
    loaded = node.load(model, adapters=adapters)
    asked = check_asked(text, sampling={}, raw=raw, adapters=loaded.adapters)
    request = scorer.make_request(loaded.engine, asked, continuation, top)
    loaded.engine.reset()
    tokens = request.prompt_tokens
    said = scoring_ending("end", score(loaded.engine.advance_all(tokens), tokens, top, loaded.engine.piece))
    fields = scorer.intent_fields(request, loaded)
    intent(fields)
    result(said)
    begun = node.recorder.begin(fields, kind=SCORING)
    node.recorder.finish(begun, said, [])
    return node.exporter.bundle(begun.id)
