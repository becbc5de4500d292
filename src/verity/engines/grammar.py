"""What an answer may look like: a grammar that is enforced while tokens are drawn, and again when they are replayed.

Before each draw the logits of all tokens that the grammar does not allow become −∞. Which those are follows from the
grammar's text and the tokens so far alone, so that a replay with the same compiler finds the same ones. The compiler is
llguidance (https://github.com/guidance-ai/llguidance); its version is committed with the text. Specified in
spec/grammar.md.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import numpy as np

from verity.engines.schemas import check_schema
from verity.errors import EngineError, UsageError

if TYPE_CHECKING:
    from verity.engines.engine import Logits

COMPILER = "llguidance"
MAX_SOURCE = 1 << 16
"""Bytes of a grammar's text: a verifier compiles strangers'."""
_LONG = 64
_REMEMBERED = 16
"""Tokens of a forced text that is worth remembering, and how many of them are."""
COMPACT: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``grammar``: the compiler with its version, and the grammar as text: the order of properties counts.

    kind    ``json_schema`` (draft 2020-12, as far as the compiler goes) or ``lark`` (llguidance's dialect)
    source  at most MAX_SOURCE bytes
    """

    compiler: str
    kind: Literal["json_schema", "lark"]
    source: str


def json_schema(schema: dict[str, Any] | str) -> Grammar:
    """The grammar of the JSON texts that a schema describes, properties in its order.

    Raises UsageError for a schema that is too large, refers to itself or to elsewhere, or cannot be enforced.
    """
    source = schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    grammar = Grammar(compiler(), "json_schema", source)
    compiled(grammar)
    return grammar


def lark(source: str) -> Grammar:
    """A grammar in llguidance's dialect of Lark. Raises UsageError when it cannot be compiled."""
    grammar = Grammar(compiler(), "lark", source)
    compiled(grammar)
    return grammar


def compiler() -> str:
    """Name and version of the compiler that is installed. Raises EngineError without one."""
    try:
        return f"{COMPILER} {importlib.metadata.version(COMPILER)}"
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineError(
            "typed output needs llguidance, which is not installed here",
            "run `make setup`, or install verity-ai[llama]",
        ) from error


def compiled(grammar: Grammar) -> str:
    """The compiler's own form of a grammar. Raises UsageError, saying what it cannot do."""
    if len(grammar.source.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        raise UsageError(f"a grammar has at most {MAX_SOURCE:,} bytes", "make the schema smaller")
    compiler()
    from llguidance import LLMatcher

    if grammar.kind == "json_schema":
        form = LLMatcher.grammar_from_json_schema(check_schema(grammar.source), defaults=COMPACT)  # type: ignore[arg-type]
    else:
        form = LLMatcher.grammar_from_lark(grammar.source)
    if problem := LLMatcher.validate_grammar(form):
        raise UsageError(f"the grammar cannot be enforced: {problem[:300]}", "see docs/typed-output.md for what can")
    return form


class Speller(Protocol):
    """What a vocabulary is made from: part of an Engine."""

    @property
    def vocabulary(self) -> int: ...
    def piece(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...


class Vocabulary:
    """An engine's tokens as the compiler wants them; a third of a second to make, for each engine once."""

    def __init__(self, engine: Speller) -> None:
        compiler()
        from llguidance import LLTokenizer, TokenizerWrapper

        self.size = engine.vocabulary
        ends = [token for token in range(self.size) if engine.is_end(token)]
        if not ends:
            raise EngineError("the model has no token to end an answer with", "it cannot write typed output")
        self.tokenizer = LLTokenizer(TokenizerWrapper(_Spelled(engine, ends)), n_vocab=self.size, eos_token=ends)


class _Spelled:
    """The attributes that llguidance reads from a tokenizer. Control tokens have no bytes: no grammar allows them."""

    bos_token_id = None

    def __init__(self, engine: Speller, ends: list[int]) -> None:
        pieces = [engine.piece(token) for token in range(engine.vocabulary)]
        self.tokens = [piece or f"<control {token}>".encode() for token, piece in enumerate(pieces)]
        self.special_token_ids = [token for token, piece in enumerate(pieces) if not piece]
        self.eos_token_id = ends[0]
        self._known = {piece: token for token, piece in reversed(list(enumerate(pieces))) if piece}
        self._longest = max(map(len, self._known))
        self._ahead: dict[bytes, list[int]] = {}

    def __call__(self, text: bytes) -> list[int]:
        """The longest pieces from the left. Where a grammar forces bytes, a mask allows just these tokens: the rule is
        part of what a replay repeats (spec/grammar.md).

        What follows the first piece has the same pieces, and is asked for next: a long text is read once.
        """
        found = self._ahead.pop(text, None) or self._read(text)
        if len(found) >= _LONG and text.startswith(first := self.tokens[found[0]]):
            if len(self._ahead) >= _REMEMBERED:
                self._ahead.pop(next(iter(self._ahead)))
            self._ahead[text[len(first) :]] = found[1:]
        return found

    def _read(self, text: bytes) -> list[int]:
        found, at = [], 0
        while at < len(text):
            lengths = range(min(self._longest, len(text) - at), 0, -1)
            length = next((n for n in lengths if text[at : at + n] in self._known), 0)
            if length:
                found.append(self._known[text[at : at + length]])
            at += length or 1
        return found


class Constraint:
    """One answer's grammar as it is written. Raises UsageError for a grammar that cannot be compiled."""

    def __init__(self, vocabulary: Vocabulary, grammar: Grammar) -> None:
        from llguidance import LLMatcher
        from llguidance.numpy import allocate_token_bitmask

        self._matcher = LLMatcher(vocabulary.tokenizer, compiled(grammar), log_level=0)
        self._mask = allocate_token_bitmask(1, vocabulary.size)
        self._size = vocabulary.size
        self._allowed = np.zeros(0, dtype=np.bool_)
        self._check()

    def apply(self, logits: Logits) -> Logits:
        """A copy with −∞ for every token that may not come next. Raises EngineError when the grammar is too complex."""
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._mask, 0)
        self._check()
        bits = np.unpackbits(self._mask[0].view(np.uint8), bitorder="little")[: self._size]
        self._allowed = bits.view(np.bool_)
        return np.where(self._allowed, logits, np.float32(-np.inf))

    def digest(self) -> bytes:
        """What ``apply`` allowed when it was last called: SHA-256 over one bit for each token (spec/segments.md)."""
        return hashlib.sha256(np.packbits(self._allowed, bitorder="little").tobytes()).digest()

    def push(self, token: int) -> bool:
        """Go on with ``token``. One that is not allowed (then it returns False) leaves nothing that is."""
        return bool(self._matcher.consume_token(token))

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EngineError(f"the grammar cannot go on: {self._matcher.get_error()[:300]}", "use a simpler schema")
