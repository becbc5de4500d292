"""Steps 7 and 8: does what was disclosed belong to the receipt, and does it belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from verity.engines.output import MAX_PIECE_BYTES
from verity.engines.tool_calls import parse_calls
from verity.errors import FormatError, ProofError
from verity.log.tree import hash_leaf
from verity.statements.bundle import Bundle, Disclosure, TokenOpening
from verity.statements.commitments import TOKEN_FIELD, Opening, commit_token, decode_salt, digest_fields
from verity.statements.receipt import (
    FINISHES,
    INPUT_PREFIX,
    SEED_FIELDS,
    TABLES,
    Statement,
    Table,
    ToolCall,
    input_field,
    statement_digest,
    table_of,
)
from verity.statements.steps import STEP_FIELD, Step
from verity.statements.strict import decode_base64
from verity.verify.claims import Fields, TokenRoot, Withheld
from verity.verify.elements import check_elements
from verity.verify.replay import CannotReplay, Claim
from verity.verify.report import Check
from verity.verify.segments import Segments, open_segments
from verity.verify.steps import open_steps


class Opened(NamedTuple):
    """The check, and what it established: the opened fields, the tokens and segments if all of them were opened; the
    receipt's id, and the statement digest of its intent; and the steps that were opened."""

    check: Check
    fields: Fields
    tokens: list[TokenOpening] | None
    segments: Segments | None = None
    receipt: str = ""
    intent: bytes = b""
    steps: Sequence[Step] = ()


def open_fields(bundle: Bundle, intent: Statement, result: Statement) -> Opened:
    """Step 7. Every opened field, and every field's absence, must be what the two statements committed to."""
    nothing = Fields({})
    if not isinstance(bundle.disclosure, Disclosure):
        sentence = "The bundle has no disclosure: the receipt alone says nothing about content."
        return Opened(Check("disclosure", "not made", sentence), nothing, None)
    disclosure = bundle.disclosure
    try:
        receipt_id = intent.predicate.id_bytes()
        lines = [*disclosure.intent, *disclosure.result]
        table = table_of(intent.predicate.kind)
        _check_list("intent", disclosure.intent, receipt_id, intent, table)
        _check_list("result", disclosure.result, receipt_id, result, table)
        _check_seed_fields(disclosure, table)
        _check_apart(disclosure, table)
        _check_shown(intent, disclosure.intent)
        _check_shown(result, disclosure.result)
        fields = Fields(
            {line.field: line.value for line in lines if line.opened},
            frozenset(line.field for line in lines if not line.opened),
        )
        tokens = _check_tokens(disclosure.tokens, fields, receipt_id)
        named = bytes.fromhex(statement_digest(bundle.receipt.intent.payload_bytes()))
        segments = open_segments(disclosure.segments, fields, tokens, receipt_id, named)
        steps = open_steps(disclosure.steps, fields, receipt_id)
    except (FormatError, ProofError) as error:
        sentence = f"The disclosure is not what the receipt committed to: {error}."
        return Opened(Check("disclosure", "failed", sentence), nothing, None)
    summary = _summary(disclosure, fields, tokens)
    return Opened(summary, fields, tokens, segments, intent.predicate.id, named, steps)


def generation_claim(opened: Opened) -> Claim:
    """What a replay of an answer needs. Raises Withheld, CannotReplay, FormatError."""
    if opened.tokens is None:
        raise CannotReplay("part of the output was not disclosed")
    pieces = [decode_base64(t.piece, "token's bytes") for t in opened.tokens]
    return opened.fields.claim([t.id for t in opened.tokens], pieces)


def _check_list(part: str, lines: list[Opening], receipt_id: bytes, statement: Statement, table: Table) -> None:
    """The list of commitments is complete and, hashed, is the statement's subject."""
    if digest_fields(receipt_id, lines) != statement.fields_digest():
        raise FormatError(f"a field of the {part}, or its salt, was changed, left out or added")
    names = {line.field for line in lines}
    expected = table.intent if part == "intent" else table.result
    missing = sorted(expected - names)
    if missing:
        raise FormatError(f"the {part} lacks the field {missing[0]!r}")
    optional = {n for n in names - expected if n not in table.seed and not n.startswith(INPUT_PREFIX)}
    unknown = sorted(optional & set(statement.predicate.critical))
    if unknown:
        raise FormatError(f"the {part} has a critical field {unknown[0]!r} that this version does not know")


def _check_seed_fields(disclosure: Disclosure, table: Table) -> None:
    if not table.seed:
        return
    parts = [{line.field for line in part} & SEED_FIELDS for part in (disclosure.intent, disclosure.result)]
    if sorted(map(len, parts)) != [0, len(SEED_FIELDS)]:
        raise FormatError("nonce and seed must stand together, in the intent or in the result")


def _check_apart(disclosure: Disclosure, table: Table) -> None:
    """spec/receipt.md, Disclosure, rule 2: a result must not change or add to what the intent asked for, and
    no field be taken for a member of another."""
    intent, result = ({line.field for line in part} for part in (disclosure.intent, disclosure.result))
    inputs = {name for name in intent | result if name.startswith(INPUT_PREFIX)}
    misplaced = intent & result | intent & table.result | result & (table.intent | inputs)
    foreign = (intent | result) & frozenset().union(*(t.names for t in TABLES.values())) - table.names
    shadows = {name for name in intent | result if name.rpartition("/")[0] in intent | result}
    if shadows:  # a reader of `context/size` must not be shown a field in the place of the member
        raise FormatError(f"the field {min(shadows)!r} is named like a member of another field")
    if misplaced:
        raise FormatError(f"the field {min(misplaced)!r} stands in the wrong part, or in both")
    if foreign:
        raise FormatError(f"the field {min(foreign)!r} belongs to another kind of receipt")
    if inputs != {input_field(index) for index in range(len(inputs))}:
        raise FormatError("the inputs are not numbered from 0000 without a gap")


def _check_shown(statement: Statement, lines: list[Opening]) -> None:
    """What a statement shows in clear must be what it committed to."""
    receipt_id = statement.predicate.id_bytes()
    commitments = {line.field: line.commit(receipt_id) for line in lines}
    for opening in statement.predicate.shown:
        if not opening.opened or commitments.get(opening.field) != opening.commit(receipt_id):
            raise FormatError(f"the receipt shows a field {opening.field!r} that it did not commit to")


def _check_tokens(tokens: list[TokenOpening], fields: Fields, receipt_id: bytes) -> list[TokenOpening] | None:
    """Each opened token is a leaf of the committed tree. Returns them if they are the whole output."""
    if not tokens and "output/tokens" not in fields:
        return None
    try:
        tree = fields.read("output/tokens", TokenRoot)
    except Withheld as field:
        raise FormatError("tokens are opened, but not the root of their tree") from field
    leaves = [_leaf(receipt_id, token) for token in tokens]
    return tokens if check_elements(tokens, leaves, tree, "tokens") else None


def _leaf(receipt_id: bytes, opening: TokenOpening) -> bytes:
    """The leaf hash that one opened token stands for. Raises FormatError."""
    if not 0 <= opening.id < 1 << 32 or not 0 <= opening.index < 1 << 32:
        raise FormatError("a token's id or index is out of range")
    piece = decode_base64(opening.piece, "token's bytes")
    if len(piece) > MAX_PIECE_BYTES:
        raise FormatError(f"a token stands for at most {MAX_PIECE_BYTES:,} bytes")
    return hash_leaf(commit_token(receipt_id, opening.index, decode_salt(opening.salt), opening.id, piece))


def _summary(disclosure: Disclosure, fields: Fields, whole: list[TokenOpening] | None) -> Check:
    withheld = sorted(fields.withheld)
    sentence = "Every opened field is the one that the receipt committed to"
    if withheld:
        sentence += f"; withheld: {', '.join(withheld)}"
    if whole is None and TOKEN_FIELD in fields.names():
        sentence += f"; {len(disclosure.tokens)} of the output's tokens are opened"
    if STEP_FIELD in fields.names():
        count = len(disclosure.steps)
        sentence += f"; {count} step{' is' if count == 1 else 's are'} opened"
    opened = {"tokens_opened": len(disclosure.tokens), "steps_opened": len(disclosure.steps)}
    return Check("disclosure", "passed", sentence + ".", {"withheld": withheld, **opened})


def _other_calls(fields: Fields, text: str) -> bool:
    """spec/grammar.md, Tools: whoever reads the calls alone must not be shown others. Raises FormatError."""
    if "output/tool_calls" not in fields:
        return False
    calls = fields.read("output/tool_calls", list[ToolCall])
    offered = fields.read("tools", list[str]) if "tools" in fields else calls
    return calls != (parse_calls(text) if offered else [])


def output(fields: Fields, tokens: list[TokenOpening] | None) -> Check:
    """Step 8. The text must be what the tokens' bytes say, but for what a stop string cut off."""
    text = fields.read("output/text", str)
    if _other_calls(fields, text):
        return Check("output", "failed", "The output's tool calls are not those in its text.")
    if tokens is None:
        return Check("output", "not made", "Not all of the output was disclosed.")
    spelled = b"".join(decode_base64(t.piece, "token's bytes") for t in tokens)
    finish = fields.read("output/finish", str)
    if finish not in FINISHES:
        return Check("output", "failed", f"The answer is said to end by {finish!r}, which this version does not know.")
    count = len(tokens)
    said = {"tokens": count, "finish": finish}
    if finish == "stop":
        stops = [s.encode() for s in fields.stops()]
        ends = [at for s in stops if (at := spelled.find(s)) >= 0]
        if not ends:
            return Check(
                "output", "failed", "The answer is said to end at a stop string that it does not contain.", said
            )
        spelled = spelled[: min(ends)]
    if spelled.decode("utf-8", "replace") != text:
        return Check("output", "failed", "The output's text is not the text of its tokens.", said)
    if count > fields.read("limits/max_tokens", int):
        return Check("output", "failed", "The output has more tokens than were asked for.", said)
    if finish == "length" and count != fields.read("limits/max_tokens", int):
        return Check("output", "failed", "The answer is said to have reached its length, and has not.", said)
    ending = {
        "cancelled": "it was cut off, on the device's word",
        "error": "an error ended it, on the device's word",
        "aborted": "the process that wrote it died, on the device's word",
    }
    how = ending.get(finish, f"it ended by {finish}")
    return Check("output", "passed", f"The text is that of its {count} tokens; {how}.", said)
