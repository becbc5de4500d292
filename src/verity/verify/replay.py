"""Replay: run the model again on the disclosed input and compare every token. Pure; it is handed an Engine.

One forward pass over prompt and output gives the logits at every position (about twice as fast as generating); the
sampler then says, for each position, whether the claimed token is the one that would have been drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from verity.engines.engine import Engine
from verity.engines.grammar import Grammar, compiler
from verity.engines.numerics import Numerics
from verity.engines.output import Output
from verity.engines.tool_calls import parse_calls
from verity.errors import VerityError
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler
from verity.statements.adapters import AdapterUse
from verity.statements.receipt import Message, ToolCall


class ModelName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``model``: digests are lower-case hex, size in bytes. The digest decides, never the name."""

    blake3: str
    name: str
    sha256: str
    size: int


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``template``: the chat template's digest and arguments. ``clock`` is RFC 3339, null if not asked for."""

    add_generation_prompt: bool
    clock: str | None
    sha256: str


class Claim(msgspec.Struct, frozen=True, kw_only=True, tag="generation"):
    """Everything a receipt says that replay needs, taken from fields whose commitments hold."""

    model: ModelName
    adapters: list[AdapterUse] = []
    engine: dict[str, Any]
    tokenizer: dict[str, Any]
    context: dict[str, Any]
    template: Template | None
    numerics: Numerics
    messages: list[Message]
    prompt_tokens: list[int]
    parameters: SamplingParameters
    max_tokens: int
    stops: list[str]
    seed: str
    tokens: list[int]
    pieces: list[bytes]
    grammar: Grammar | None
    tools: list[str]
    tool_calls: list[ToolCall]
    text: str
    finish: str

    @property
    def longest(self) -> int:
        """Tokens that the context must hold at once."""
        return len(self.prompt_tokens) + len(self.tokens)


class CannotReplay(Exception):
    """Why a replay could not be made, in one sentence; ``hint`` says what to do."""

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.hint = hint


class Outcome(msgspec.Struct, frozen=True):
    """What the replay found. ``evidence`` names the first differing token with both candidates, if any differs."""

    matches: bool
    sentence: str
    evidence: dict[str, Any] = {}


class Replayed(msgspec.Struct, frozen=True):
    """What a replayer measured here, and what came out; ``outcome`` is None when the fingerprints differ."""

    numerics: Numerics
    engine: dict[str, Any]
    outcome: Outcome | None


def replay(engine: Engine, claim: Claim, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Re-run ``claim`` on ``engine``. Raises EngineError when the model cannot be run, CannotReplay without tokens, and
    for a grammar by another compiler than the one here under which it does not come out again."""
    try:
        outcome = _replay(engine, claim, progress)
    except VerityError as error:
        if other_compiler(claim):
            raise CannotReplay(f"its grammar could not be followed here: {error}", other_compiler(claim)) from error
        raise
    if not outcome.matches and (hint := other_compiler(claim)):
        raise CannotReplay(outcome.sentence.rstrip("."), hint)
    return outcome


def other_compiler(claim: Claim) -> str:
    """What to do about a grammar by another compiler; nothing when it is the one here."""
    if claim.grammar is None or claim.grammar.compiler == compiler():
        return ""
    return f"its grammar is by {claim.grammar.compiler[:80]!r}, here is {compiler()}: replay it with that one"


def _replay(engine: Engine, claim: Claim, progress: Callable[[int, int], None] | None) -> Outcome:
    if (wrong := begin(engine, claim)) is not None:
        return wrong
    sampler = Sampler(claim.parameters, bytes.fromhex(claim.seed), claim.prompt_tokens)
    output = Output(claim.max_tokens, claim.stops)
    constraint = engine.constrain(claim.grammar) if claim.grammar is not None else None
    sequence = [*claim.prompt_tokens, *claim.tokens[:-1]]
    rows = engine.advance_all(sequence, skip=len(claim.prompt_tokens) - 1)
    for position, (token, logits) in enumerate(zip(claim.tokens, rows, strict=True)):
        if output.finish is not None:
            return goes_on(position, output)
        verdict = sampler.judge(constraint.apply(logits) if constraint else logits, token)
        if not verdict.matches:
            return _token_differs(engine, position, token, verdict.best, verdict.margin)
        output.push(token, engine.piece(token), engine.is_end(token))
        if constraint is not None:
            constraint.push(token)
        if progress is not None and position % 16 == 15:
            progress(position + 1, len(claim.tokens))
    return ending_differs(output, claim) or _matches(claim)


def begin(engine: Engine, claim: Claim) -> Outcome | None:
    """Make the engine ready, and say what is wrong with the claim whatever the numerics. Raises CannotReplay."""
    used = [(adapter.blake3, adapter.scale) for adapter in engine.adapters]
    if used != [(adapter.blake3, adapter.scale) for adapter in claim.adapters]:
        raise CannotReplay("the engine computes with other adapters than the receipt names")
    engine.reset()
    wrong = _prompt_differs(engine, claim) or _impossible(engine, claim)
    if wrong is None and not claim.tokens:
        raise CannotReplay("the answer was cut off before its first token: there is nothing to replay")
    return wrong


def _matches(claim: Claim) -> Outcome:
    """A grammar can leave the model a single answer: whoever reads the sentence alone must learn that there was one."""
    conditions = {
        "grammar": "the answer was held to a grammar" if claim.grammar is not None else "",
        "adapters": "the model was changed by adapters" if claim.adapters else "",
        "raw": "the prompt was put to the model without its template" if claim.template is None else "",
    }
    under = {name: said for name, said in conditions.items() if said}
    aside = f" ({'; '.join(under.values())})" if under else ""
    sentence = f"All {len(claim.tokens)} tokens came out again, bit for bit{aside}."
    return Outcome(True, sentence, {"tokens": len(claim.tokens), "under": list(under)})


def _prompt_differs(engine: Engine, claim: Claim) -> Outcome | None:
    """The prompt's tokens must follow from the messages by the model's own template and tokenizer."""
    template = claim.template
    if template is None:
        if engine.tokenizer != claim.tokenizer or engine.tokenize(claim.messages[0].content) != claim.prompt_tokens:
            return differs("the prompt's tokens do not follow from the disclosed prompt")
        return None
    if engine.template_digest != template.sha256:
        return differs("the receipt names another chat template than the model's own")
    if engine.template_clock != (template.clock is not None) or not template.add_generation_prompt:
        return differs("the receipt names other arguments of the chat template than the engine gives it")
    if engine.tokenizer != claim.tokenizer:
        return differs("the receipt names another tokenizer than the model's own")
    if engine.tokenize(engine.render(claim.messages, template.clock)) != claim.prompt_tokens:
        return differs("the prompt's tokens do not follow from the disclosed messages")
    return None


def _impossible(engine: Engine, claim: Claim) -> Outcome | None:
    """What the engine would refuse to evaluate is no honest output."""
    if len(claim.prompt_tokens) + len(claim.tokens) > engine.context_size:
        return differs("prompt and output do not fit the context that the receipt names")
    for position, (token, piece) in enumerate(zip(claim.tokens, claim.pieces, strict=True)):
        if token >= engine.vocabulary:
            return differs(f"output token {position} is not in the model's vocabulary", position=position)
        if engine.piece(token) != piece:
            return differs(f"the bytes of output token {position} are not the model's for it", position=position)
    return None


def _token_differs(engine: Engine, position: int, claimed: int, best: int, margin: float) -> Outcome:
    def text(token: int) -> str:
        return engine.piece(token).decode("utf-8", "replace")

    by = "it was filtered out" if math.isinf(margin) else f"it scores {margin:.4g} less"
    return differs(
        f"at output token {position} the receipt claims {text(claimed)!r} where the model gives {text(best)!r} ({by})",
        position=position,
        claimed={"token": claimed, "text": text(claimed)},
        replayed={"token": best, "text": text(best)},
        margin=None if math.isinf(margin) else margin,
    )


def goes_on(position: int, output: Output) -> Outcome:
    return differs(f"the answer was over after {position} tokens ({output.finish}), yet it goes on")


def ending_differs(output: Output, claim: Claim) -> Outcome | None:
    """Whether the answer ends otherwise than its tokens say, which no numerics explains."""
    cut_off = claim.finish in ("cancelled", "error", "aborted")
    if (output.finish is not None) if cut_off else (output.finish != claim.finish):
        seen = output.finish or "not over"
        return differs(f"the receipt says that the answer ended by {claim.finish!r}, the replay says {seen!r}")
    if output.text != claim.text:
        return differs("the output's text is not the text of its tokens")
    if claim.tool_calls != (parse_calls(claim.text) if claim.tools else []):
        return differs("the receipt's tool calls are not those in its text")
    return None


def differs(sentence: str, **evidence: Any) -> Outcome:
    return Outcome(False, f"The replay differs: {sentence}.", evidence)
