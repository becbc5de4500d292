"""Replay: run the model again on the disclosed input and compare every token. Pure; it is handed an Engine.

One forward pass over prompt and output gives the logits at every position (about twice as fast as generating); the
sampler then says, for each position, whether the claimed token is the one that would have been drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from verity.engines.engine import Engine, Logits
from verity.engines.grammar import Grammar, compiler
from verity.engines.numerics import Numerics
from verity.engines.output import Output
from verity.engines.tool_calls import parse_calls
from verity.errors import VerityError
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler
from verity.statements.adapters import AdapterUse
from verity.statements.receipt import Message, ToolCall
from verity.statements.segments import NO_GRAMMAR


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


class Measured(msgspec.Struct, frozen=True):
    """What can be told of an output under other numerics than its own: the signed margin of each token in logits
    (sampling/margins.py); or what is ``wrong`` whatever the numerics, and then no margins."""

    margins: list[float]
    wrong: Outcome | None = None


class Replayed(msgspec.Struct, frozen=True):
    """What a replayer measured here, and what came out: an ``outcome`` when the fingerprints agree, ``measured`` when
    they do not and the claim is of an output that was drawn token by token, or why that could not be
    (``unmeasured``)."""

    numerics: Numerics
    engine: dict[str, Any]
    outcome: Outcome | None
    measured: Measured | None = None
    unmeasured: str = ""


def replay(engine: Engine, claim: Claim, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Re-run ``claim`` on ``engine``. Raises EngineError when the model cannot be run, CannotReplay without tokens, and
    for a grammar by another compiler than the one here under which it does not come out again."""
    return with_its_compiler(claim, lambda: _replay(engine, claim, progress))


def with_its_compiler(claim: Claim, made: Callable[[], Outcome]) -> Outcome:
    """The outcome of a replay. Raises CannotReplay instead of a verdict that another grammar compiler may be to blame
    for."""
    try:
        outcome = made()
    except VerityError as error:
        if _other_compiler(claim):
            raise CannotReplay(f"its grammar could not be followed here: {error}", _other_compiler(claim)) from error
        raise
    if not outcome.matches and (hint := _other_compiler(claim)):
        raise CannotReplay(outcome.sentence.rstrip("."), hint)
    return outcome


def _other_compiler(claim: Claim) -> str:
    """What to do about a grammar by another compiler; nothing when it is the one here."""
    if claim.grammar is None or claim.grammar.compiler == compiler():
        return ""
    return f"its grammar is by {claim.grammar.compiler[:80]!r}, here is {compiler()}: replay it with that one"


class Judge:
    """Goes through a claim's output, token by token, and says of each whether it is the one that is drawn there.

    ``skip`` goes on without the model's word. Both tell when the answer was over before.
    """

    def __init__(self, engine: Engine, claim: Claim) -> None:
        self._engine = engine
        self._claim = claim
        self._sampler = Sampler(claim.parameters, bytes.fromhex(claim.seed), claim.prompt_tokens)
        self._output = Output(claim.max_tokens, claim.stops)
        self._constraint = engine.constrain(claim.grammar) if claim.grammar is not None else None

    def skip(self, token: int) -> Outcome | None:
        """What is wrong with going on after what came before, if anything is."""
        if (over := self.over()) is not None:
            return over
        self._sampler.skip(token)
        if not self._push(token):
            return differs(f"output token {len(self._output.tokens) - 1} is not allowed by the grammar")
        return None

    def token(self, token: int, logits: Logits) -> Outcome | None:
        """What is wrong with this token, where the model gives ``logits``; None when it is the one."""
        if (over := self.over()) is not None:
            return over
        position = len(self._output.tokens)
        verdict = self._sampler.judge(self.allowing(logits), token)
        if not verdict.matches:
            return _token_differs(self._engine, position, token, verdict.best, verdict.margin)
        self._push(token)
        return None

    def allowing(self, logits: Logits) -> Logits:
        """The logits with −∞ for what the grammar does not allow next."""
        return self._constraint.apply(logits) if self._constraint is not None else logits

    def ending(self) -> Outcome | None:
        """What is wrong with how the answer ends."""
        return _ending_differs(self._output, self._claim)

    def allowed(self) -> bytes:
        """The digest of what the grammar allowed for the last token; NO_GRAMMAR without one."""
        return self._constraint.digest() if self._constraint is not None else NO_GRAMMAR

    def over(self) -> Outcome | None:
        """What is wrong with going on, if the answer is over."""
        if self._output.finish is None:
            return None
        count = len(self._output.tokens)
        return differs(f"the answer was over after {count} tokens ({self._output.finish}), yet it goes on")

    def _push(self, token: int) -> bool:
        self._output.push(token, self._engine.piece(token), self._engine.is_end(token))
        return self._constraint is None or self._constraint.push(token)


def begin(engine: Engine, adapters: Sequence[AdapterUse]) -> None:
    """Forget all sequences. Raises CannotReplay when the engine computes with other adapters than these."""
    used = [(adapter.blake3, adapter.scale) for adapter in engine.adapters]
    if used != [(adapter.blake3, adapter.scale) for adapter in adapters]:
        raise CannotReplay("the engine computes with other adapters than the receipt names")
    engine.reset()


def prepare(engine: Engine, claim: Claim) -> Outcome | None:
    """What can be told without computing: whether the prompt's tokens follow from the messages, and all tokens are the
    model's. Raises CannotReplay when the engine is not the one for this claim, or there is nothing to replay."""
    begin(engine, claim.adapters)
    wrong = _prompt_differs(engine, claim) or _impossible(engine, claim)
    if wrong is None and not claim.tokens:
        raise CannotReplay("the answer was cut off before its first token: there is nothing to replay")
    if wrong is None and not claim.prompt_tokens:
        raise CannotReplay("the prompt has no tokens: nothing says which token comes first")
    return wrong


def _replay(engine: Engine, claim: Claim, progress: Callable[[int, int], None] | None) -> Outcome:
    if (wrong := prepare(engine, claim)) is not None:
        return wrong
    judge = Judge(engine, claim)
    sequence = [*claim.prompt_tokens, *claim.tokens[:-1]]
    rows = engine.advance_all(sequence, skip=len(claim.prompt_tokens) - 1)
    for position, (token, logits) in enumerate(zip(claim.tokens, rows, strict=True)):
        if (wrong := judge.token(token, logits)) is not None:
            return wrong
        if progress is not None and position % 16 == 15:
            progress(position + 1, len(claim.tokens))
    return judge.ending() or _matches(claim)


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
    prompt = written(engine, claim.messages, claim.template, claim.tokenizer)
    if isinstance(prompt, Outcome):
        return prompt
    if engine.tokenize(prompt) != claim.prompt_tokens:
        disclosed = "prompt" if claim.template is None else "messages"
        return differs(f"the prompt's tokens do not follow from the disclosed {disclosed}")
    return None


def written(
    engine: Engine, messages: Sequence[Message], template: Template | None, tokenizer: dict[str, Any]
) -> str | Outcome:
    """The prompt as the model's own template writes it, or as it is without one; or what is not so of what the receipt
    says of template and tokenizer."""
    if template is not None:
        if engine.template_digest != template.sha256:
            return differs("the receipt names another chat template than the model's own")
        if engine.template_clock != (template.clock is not None) or not template.add_generation_prompt:
            return differs("the receipt names other arguments of the chat template than the engine gives it")
    if engine.tokenizer != tokenizer:
        return differs("the receipt names another tokenizer than the model's own")
    return engine.render(messages, template.clock) if template is not None else messages[0].content


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


def _ending_differs(output: Output, claim: Claim) -> Outcome | None:
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
    """The outcome of a replay in which something is otherwise than the receipt says."""
    return Outcome(False, f"The replay differs: {sentence}.", evidence)
