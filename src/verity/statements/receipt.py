"""The receipt: an intent, signed and logged before the model runs, and a result that names it. See spec/receipt.md.

Both are in-toto Statements v1 (https://github.com/in-toto/attestation). Their subject is the digest over the salted
commitments to every field below; in clear stand only the kind, the place in the log, and what the owner chose to show.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, TypeVar

import msgspec

from verity.errors import FormatError
from verity.statements.commitments import ID_BYTES, Opening, digest_fields
from verity.statements.in_toto import InToto, Subject
from verity.statements.strict import canonical, decode_hex, load

INTENT = "verity:intent/v1"
RESULT = "verity:result/v1"
NUMERICS = "verity:numerics/v1"
EPOCH = "verity:epoch/v1"
MAX_STATEMENT_BYTES = 1 << 20

GENERATION = "generation"
EMBEDDING = "embedding"
INFERENCE = "inference"
SCORING = "scoring"
"""Kinds of receipt: an answer, vectors for texts (spec/embedding.md), steps of a network (spec/inference.md), and how
likely a text is (spec/scoring.md)."""

INPUT_PREFIX = "inputs/"
"""Fields ``inputs/0000``, ``inputs/0001`` …: the typed inputs in order; text has ``type``, ``role`` and ``content``,
a tensor's form ``type``, ``name``, ``dtype`` and ``shape``."""

INTENT_FIELDS = frozenset({
    "adapters", "batch", "choice", "context", "engine", "grammar", "limits/max_tokens", "limits/stops", "model",
    "normalisation", "numerics", "pooling", "previous_turn", "prompt_tokens", "request", "retention",
    "sampling/frequency_penalty", "sampling/min_p", "sampling/presence_penalty", "sampling/repetition_penalty",
    "sampling/temperature", "sampling/top_k", "sampling/top_p", "template", "time/started", "tokenizer", "tools",
})  # fmt: skip
RESULT_FIELDS = frozenset({
    "output/finish", "output/segments", "output/text", "output/tokens", "output/tool_calls", "time/finished",
})  # fmt: skip
SEED_FIELDS = frozenset({"nonce", "seed"})
"""In the intent, or in the result when the nonce was revealed only after the signed intent; never in both."""

EMBEDDING_INTENT_FIELDS = frozenset({
    "adapters", "batch", "context", "engine", "model", "normalisation", "numerics", "pooling", "previous_turn",
    "prompt_tokens", "request", "retention", "time/started", "tokenizer",
})  # fmt: skip
EMBEDDING_RESULT_FIELDS = frozenset({"output/embeddings", "output/finish", "time/finished"})

INFERENCE_INTENT_FIELDS = frozenset({
    "adapters", "batch", "context", "engine", "model", "numerics", "outputs", "previous_turn", "request", "retention",
    "time/started",
})  # fmt: skip
INFERENCE_RESULT_FIELDS = frozenset({"output/finish", "output/steps", "time/finished"})
SCORING_INTENT_FIELDS = frozenset({
    "adapters", "batch", "context", "continuation", "engine", "model", "numerics", "previous_turn", "prompt_tokens",
    "request", "retention", "template", "time/started", "tokenizer", "top",
})  # fmt: skip
SCORING_RESULT_FIELDS = frozenset({
    "output/candidates", "output/finish", "output/logits", "output/logprobs", "time/finished",
})  # fmt: skip


class Table(NamedTuple):
    """The fields of one kind of receipt, inputs apart. ``seed`` is empty where nothing is drawn."""

    intent: frozenset[str]
    result: frozenset[str]
    seed: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        return self.intent | self.result | self.seed


TABLES = {
    GENERATION: Table(INTENT_FIELDS, RESULT_FIELDS, SEED_FIELDS),
    EMBEDDING: Table(EMBEDDING_INTENT_FIELDS, EMBEDDING_RESULT_FIELDS, frozenset()),
    INFERENCE: Table(INFERENCE_INTENT_FIELDS, INFERENCE_RESULT_FIELDS, frozenset()),
    SCORING: Table(SCORING_INTENT_FIELDS, SCORING_RESULT_FIELDS, frozenset()),
}
KINDS = tuple(TABLES)

FINISHES = ("end", "stop", "length", "cancelled", "error", "aborted")
ROLES = ("system", "user", "assistant")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One typed input of a conversation. ``role`` is one of ROLES."""

    role: str
    content: str
    type: str = "text"


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that an answer makes: the tool's name, and its arguments as the text of a JSON object."""

    name: str
    arguments: str


class PreviousTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``previous_turn``: the receipt of the turn before (32 hex digits) and its result's statement digest."""

    id: str
    result: str


class Continuation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``continuation`` of a scoring: the given answer after the prompt, and the first token that it decides."""

    start: int
    text: str


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``choice``: this answer is number ``index`` of ``of`` to one request."""

    index: int
    of: int


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where in which log the statement says it stands; ``previous`` is the hash of the leaf before it."""

    origin: str
    index: int
    previous: str


class Predicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    id: str
    kind: str
    log: Place
    critical: list[str] = []
    shown: list[Opening] = []
    intent: str | msgspec.UnsetType = msgspec.UNSET

    def id_bytes(self) -> bytes:
        return decode_hex(self.id, ID_BYTES, "receipt id")


class Statement(InToto[Predicate], frozen=True):
    def fields_digest(self) -> str:
        """The digest over the commitments that the statement is about (64 hex digits)."""
        return self.subject[0].digest["sha256"]


def make_statement(predicate_type: str, predicate: Predicate, fields_digest: str) -> bytes:
    """The canonical bytes to sign. Raises FormatError for what no reader would accept."""
    subject = Subject(name=_subject_name(predicate), digest={"sha256": fields_digest})
    payload = canonical(Statement.of(predicate, predicate_type, subject))
    if len(payload) > MAX_STATEMENT_BYTES:
        raise FormatError(f"a statement has at most {MAX_STATEMENT_BYTES:,} bytes", "show fewer fields in clear")
    return payload


def read_statement(payload: bytes, predicate_type: str) -> Statement:
    """Parse a payload as the statement it must be. Raises FormatError."""
    what = f"{predicate_type} statement"
    statement = load(payload, Statement, limit=MAX_STATEMENT_BYTES, what=what)
    if not statement.is_of(predicate_type):
        raise FormatError(f"this is not a {what}")
    predicate = statement.predicate
    predicate.id_bytes()
    subjects = statement.subject
    if len(subjects) != 1 or set(subjects[0].digest) != {"sha256"}:
        raise FormatError(f"the {what} must have one subject with one SHA-256 digest")
    if subjects[0].name != _subject_name(predicate):
        raise FormatError(f"the {what} is about another receipt than its own")
    decode_hex(statement.fields_digest(), 32, "subject's digest")
    decode_hex(predicate.log.previous, 32, "hash of the previous entry")
    if predicate.log.index < 0:
        raise FormatError(f"the {what} has a negative position")
    if (predicate_type == RESULT) != isinstance(predicate.intent, str):
        raise FormatError("a result, and only a result, names its intent")
    if isinstance(predicate.intent, str):
        decode_hex(predicate.intent, 32, "digest of the intent")
    digest_fields(predicate.id_bytes(), predicate.shown)  # in order, none twice: readers must not see two values
    if not all(opening.opened for opening in predicate.shown):
        raise FormatError(f"the {what} shows a field without its value")
    return statement


def _subject_name(predicate: Predicate) -> str:
    return f"verity:fields:{predicate.id}"


def statement_digest(payload: bytes) -> str:
    """How a result names its intent: SHA-256 of the signed payload (64 hex digits)."""
    return hashlib.sha256(payload).hexdigest()


def input_field(index: int) -> str:
    return f"{INPUT_PREFIX}{index:04d}"


def table_of(kind: str) -> Table:
    """The fields of a receipt of this kind; of an unknown kind, which no verifier accepts, those of a generation."""
    return TABLES.get(kind, TABLES[GENERATION])


_T = TypeVar("_T")


def convert_field(value: Any, kind: type[_T], field: str) -> _T:
    """Read a disclosed value as ``kind``. Raises FormatError naming the field."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise FormatError(f"field {field!r} has the wrong form: {str(error)[:300]}") from error
