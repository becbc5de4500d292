"""Scores of a text: what a receipt of this kind must say, and its replay. Specified in spec/scoring.md.

The replay is handed an Engine. It makes the tokens again, runs the model, and compares: log-probabilities within
TOLERANCE, the likeliest tokens, and the digest of all logits bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from verity.engines.engine import Engine, Logits
from verity.engines.numerics import Numerics
from verity.engines.scores import MAX_TOP, TOLERANCE, Candidate, Scores, score, shared
from verity.errors import FormatError
from verity.statements.adapters import AdapterUse
from verity.statements.receipt import Continuation, Message
from verity.statements.strict import decode_base64, decode_hex
from verity.verify.claims import Fields
from verity.verify.replay import CannotReplay, ModelName, Outcome, Template, begin, differs, written
from verity.verify.report import Check

UNUSED: dict[str, Any] = {"batch": None, "previous_turn": None, "request": None, "retention": None}
"""Fields that later versions fill, with the value that says that their feature is not in use."""

FINISHES = ("end", "cancelled", "error", "aborted")


class ScoringClaim(msgspec.Struct, frozen=True, kw_only=True, tag="scoring"):
    """Everything a receipt says that replay needs, taken from fields whose commitments hold. ``scores`` is None if the
    device says that it was cut off."""

    model: ModelName
    adapters: list[AdapterUse]
    engine: dict[str, Any]
    tokenizer: dict[str, Any]
    context: dict[str, Any]
    template: Template | None
    numerics: Numerics
    messages: list[Message]
    continuation: Continuation | None
    prompt_tokens: list[int]
    top: int
    scores: Scores | None

    @property
    def longest(self) -> int:
        """Tokens that the context must hold at once."""
        return len(self.prompt_tokens)


def output(fields: Fields) -> Check:
    """Step 8. There must be a log-probability for each token after the first, and as many candidates as were asked
    for; or none at all, if it was cut off."""
    scores, finish = _scores(fields), fields.read("output/finish", str)
    said: dict[str, Any] = {"finish": finish}
    if scores is None:
        return Check("output", "passed", f"Nothing was scored; it was cut off, on the device's word ({finish}).", said)
    if "prompt_tokens" in fields and "top" in fields:
        _check_counts(scores, fields.read("prompt_tokens", list[int]), fields.read("top", int))
    said |= {"logprobs": len(scores.logprobs), "candidates": len(scores.candidates)}
    sentence = f"There are log-probabilities of {len(scores.logprobs)} tokens"
    if "continuation" in fields and (given := _continuation(fields)) is not None:
        _check_start(given, scores)
        said["answer"] = math.fsum(scores.logprobs[given.start - 1 :])
        sentence += f"; those of the given answer, from token {given.start} on, sum to {said['answer']:.6g}"
    return Check("output", "passed", f"{sentence}; and {len(scores.candidates)} candidates for the next.", said)


def claim(fields: Fields) -> ScoringClaim:
    """What replay needs. Raises Withheld, CannotReplay, FormatError."""
    model = fields.model(UNUSED)
    tokens, top, scores = fields.read("prompt_tokens", list[int]), fields.read("top", int), _scores(fields)
    if not 0 <= top <= MAX_TOP:
        raise FormatError(f"0 to {MAX_TOP} candidates can be asked for")
    continuation = _continuation(fields)
    if scores is not None:
        _check_counts(scores, tokens, top)
        _check_start(continuation, scores)
    return ScoringClaim(
        model=model,
        adapters=fields.adapters(),
        engine=fields.read("engine", dict[str, Any]),
        tokenizer=fields.read("tokenizer", dict[str, Any]),
        context=fields.read("context", dict[str, Any]),
        template=fields.template(),
        numerics=fields.read("numerics", Numerics),
        messages=fields.messages(),
        continuation=continuation,
        prompt_tokens=tokens,
        top=top,
        scores=scores,
    )


def _continuation(fields: Fields) -> Continuation | None:
    if fields.value("continuation") is None:
        return None
    said = fields.read("continuation", Continuation)
    if not said.text or said.start < 1:
        raise FormatError("a given answer is not empty, and begins after the first token")
    return said


def _scores(fields: Fields) -> Scores | None:
    """None if it was cut off. Raises FormatError."""
    finish, logits = fields.read("output/finish", str), fields.value("output/logits")
    logprobs = fields.read("output/logprobs", list[float])
    candidates = fields.read("output/candidates", list[Candidate])
    if finish not in FINISHES:
        raise FormatError(f"the scoring is said to end by {finish!r}, which this version does not know")
    if finish != "end":
        if logits is not None or logprobs or candidates:
            raise FormatError(f"there are scores, and it ended by {finish}")
        return None
    decode_hex(fields.read("output/logits", str), 32, "digest of the logits")
    for candidate in candidates:
        decode_base64(candidate.piece, "candidate's bytes")
    if any(number > TOLERANCE for number in (*logprobs, *(c.logprob for c in candidates))):
        raise FormatError("a log-probability is above 0")
    return Scores(str(logits), logprobs, candidates)


def _check_counts(scores: Scores, tokens: list[int], top: int) -> None:
    if not tokens or len(scores.logprobs) != len(tokens) - 1:
        raise FormatError(f"there are {len(scores.logprobs)} log-probabilities for {len(tokens)} tokens")
    if len(scores.candidates) > top:
        raise FormatError(f"there are {len(scores.candidates)} candidates, and {top} were asked for")


def _check_start(given: Continuation | None, scores: Scores) -> None:
    """An answer without tokens would sum to 0: certainty."""
    if given is not None and given.start > len(scores.logprobs):
        raise FormatError("the given answer is said to begin after the last token")


def replay(engine: Engine, claim: ScoringClaim, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Re-run ``claim`` on ``engine``. Raises EngineError when the model cannot be run, CannotReplay without scores."""
    begin(engine, claim.adapters)
    if (wrong := _text_differs(engine, claim)) is not None:
        return wrong
    if claim.scores is None:
        raise CannotReplay("it was cut off before there were scores: there is nothing to replay")
    tokens = claim.prompt_tokens
    rows = _told(engine.advance_all(tokens), len(tokens), progress)
    made = score(rows, tokens, claim.top, engine.piece)
    return _scores_differ(engine, claim, claim.scores, made) or _matches(claim, made)


def _told(rows: Iterator[Logits], total: int, progress: Callable[[int, int], None] | None) -> Iterator[Logits]:
    for done, row in enumerate(rows, start=1):
        yield row
        if progress is not None and done % 16 == 0:
            progress(done, total)


def _text_differs(engine: Engine, claim: ScoringClaim) -> Outcome | None:
    """The tokens must follow from the text by the model's own template and tokenizer, and fit."""
    prompt = written(engine, claim.messages, claim.template, claim.tokenizer)
    if isinstance(prompt, Outcome):
        return prompt
    if len(claim.prompt_tokens) > engine.context_size:
        return differs("the text does not fit the context that the receipt names")
    before = engine.tokenize(prompt)
    given = claim.continuation
    if (engine.tokenize(prompt + given.text) if given else before) != claim.prompt_tokens:
        return differs("the tokens do not follow from the disclosed text")
    if given and shared(before, claim.prompt_tokens) != given.start:
        return differs("the given answer begins at another token than the receipt says")
    return None


def _scores_differ(engine: Engine, claim: ScoringClaim, said: Scores, made: Scores) -> Outcome | None:
    pairs = zip(said.logprobs, made.logprobs, strict=True)
    for position, (claimed, replayed) in enumerate(pairs, start=1):
        if not abs(claimed - replayed) <= TOLERANCE:
            text = engine.piece(claim.prompt_tokens[position]).decode("utf-8", "replace")
            sentence = f"token {position}, {text!r}, is said to have the log-probability {claimed:.6g}"
            values = {"claimed": claimed, "replayed": replayed, "margin": abs(claimed - replayed)}
            return differs(f"{sentence}, and the model gives it {replayed:.6g}", position=position, **values)
    if len(said.candidates) != len(made.candidates):
        return differs("the model has another number of candidates for the next token")
    for place, (one, other) in enumerate(zip(said.candidates, made.candidates, strict=True)):
        if (one.token, one.piece) != (other.token, other.piece) or not abs(one.logprob - other.logprob) <= TOLERANCE:
            values = {"claimed": msgspec.to_builtins(one), "replayed": msgspec.to_builtins(other)}
            return differs(f"candidate {place} for the next token is another", candidate=place, **values)
    if said.logits != made.logits:
        return differs("the logits are others, by less than log-probabilities show", digest=made.logits)
    return None


def _matches(claim: ScoringClaim, made: Scores) -> Outcome:
    aside = " (the model was changed by adapters)" if claim.adapters else ""
    count = len(claim.prompt_tokens)
    which = f"each of the {count} tokens" if count > 1 else "the token"
    sentence = f"The logits after {which} came out again, bit for bit{aside}."
    return Outcome(True, sentence, {"tokens": count, "candidates": len(made.candidates)})
