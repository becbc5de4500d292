"""Segments of a generation: read from a disclosure, and replayed one by one. Specified in spec/segments.md.

``open_segments`` belongs to step 7: with all tokens opened, every leaf is made again here. ``replay_segments`` is the
spot check, and what a referee does: from the state that is committed at the start of a segment, which is restored, the
model must give the segment's tokens and the state at its end. Pure; it is handed an Engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from verity.engines.engine import Engine, Logits, State
from verity.engines.numerics import Numerics
from verity.errors import EngineError, FormatError
from verity.log.tree import hash_leaf, root_of
from verity.statements.adapters import AdapterUse
from verity.statements.bundle import SegmentOpening, TokenOpening
from verity.statements.commitments import SEGMENT_FIELD, commit_element, decode_salt
from verity.statements.segments import (
    NO_GRAMMAR,
    Leaf,
    SegmentRoot,
    cut,
    evaluated_length,
    first_state,
    make_leaves,
    next_state,
    row_bytes,
    unpack,
)
from verity.statements.strict import decode_hex
from verity.verify.claims import Fields, Withheld
from verity.verify.replay import CannotReplay, Claim, Judge, ModelName, Outcome, differs, prepare, with_its_compiler

_OTHER_FORM = "the receipt's states are in another form than this engine's"


class Segments(NamedTuple):
    """Every segment of an answer, as committed."""

    root: SegmentRoot
    leaves: list[Leaf]

    @property
    def states(self) -> list[bytes]:
        return [leaf.end_state for leaf in self.leaves]

    @property
    def grammar(self) -> list[bytes]:
        return [leaf.grammar for leaf in self.leaves]


def open_segments(
    openings: Sequence[SegmentOpening],
    fields: Fields,
    tokens: Sequence[TokenOpening] | None,
    receipt_id: bytes,
    intent: bytes,
) -> Segments | None:
    """The segments, if they are opened; ``intent`` is the intent's statement digest. Raises FormatError."""
    if not openings:
        return None
    try:
        return _opened(openings, fields, tokens, receipt_id, intent)
    except Withheld as field:
        raise FormatError(f"segments are opened, but not the field {str(field)!r}") from field


def _opened(
    openings: Sequence[SegmentOpening],
    fields: Fields,
    tokens: Sequence[TokenOpening] | None,
    receipt_id: bytes,
    intent: bytes,
) -> Segments:
    root = fields.segments()
    if root is None:
        raise FormatError("segments are opened that the receipt did not commit to")
    if tokens is None:
        raise FormatError("segments are opened, but not all tokens")
    prompt = fields.read("prompt_tokens", list[int])
    output = [token.id for token in tokens]
    if not all(0 <= token < 1 << 32 for token in prompt):
        raise FormatError("a token's id is out of range")
    states = [decode_hex(opening.state, 32, "digest of a state") for opening in openings]
    leaves = make_leaves(root, prompt, output, states, [_grammar(opening) for opening in openings])
    hashes = [
        leaf_hash(receipt_id, decode_salt(opening.salt), leaf, intent)
        for opening, leaf in zip(openings, leaves, strict=True)
    ]
    if root_of(hashes) != decode_hex(root.root, 32, "root of the segments"):
        raise FormatError("the segments are not those that were committed to")
    return Segments(root, leaves)


def leaf_hash(receipt_id: bytes, salt: bytes, leaf: Leaf, intent: bytes) -> bytes:
    """Where the leaf stands in the tree whose root is committed."""
    return hash_leaf(commit_element(receipt_id, SEGMENT_FIELD, salt, leaf.body(intent)))


def _grammar(opening: SegmentOpening) -> bytes:
    return decode_hex(opening.grammar, 32, "digest of a grammar's state") if opening.grammar else NO_GRAMMAR


class SpotClaim(msgspec.Struct, frozen=True, kw_only=True, tag="segments"):
    """The segments ``picked`` of a claim, to be replayed alone. ``states`` and ``grammar`` are committed at the end of
    every segment; ``chunks`` are the rows, packed, of all segments before the last one that is picked."""

    claim: Claim
    root: SegmentRoot
    states: list[bytes]
    grammar: list[bytes]
    picked: list[int]
    chunks: list[bytes]

    @property
    def model(self) -> ModelName:
        return self.claim.model

    @property
    def adapters(self) -> list[AdapterUse]:
        return self.claim.adapters

    @property
    def engine(self) -> dict[str, Any]:
        return self.claim.engine

    @property
    def context(self) -> dict[str, Any]:
        return self.claim.context

    @property
    def numerics(self) -> Numerics:
        return self.claim.numerics

    @property
    def longest(self) -> int:
        return self.claim.longest


def replay_segments(engine: Engine, spot: SpotClaim, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Replay the picked segments, each from the state before it. Raises EngineError, CannotReplay, FormatError."""
    return with_its_compiler(spot.claim, lambda: _replay(engine, spot, progress))


def _replay(engine: Engine, spot: SpotClaim, progress: Callable[[int, int], None] | None) -> Outcome:
    if (wrong := prepare(engine, spot.claim) or _ending(engine, spot.claim)) is not None:
        return wrong
    try:
        engine.restore(0, State(spot.root.encoding, []))
    except EngineError:
        return differs(_OTHER_FORM)
    rows = _rows(spot)
    if isinstance(rows, Outcome):
        return rows
    for done, index in enumerate(spot.picked):
        if (wrong := _segment(engine, spot, index, rows[:index])) is not None:
            evidence = {"segment": index, **wrong.evidence}
            return Outcome(False, f"In segment {index} of {spot.root.count}: {wrong.sentence}", evidence)
        if progress is not None:
            progress(done + 1, len(spot.picked))
    said = {"segments": spot.picked, "of": spot.root.count}
    return Outcome(True, f"{len(spot.picked)} of {spot.root.count} segments came out again, bit for bit.", said)


def _ending(engine: Engine, claim: Claim) -> Outcome | None:
    """What the tokens alone tell: that none follows the end, that the grammar allows each, and how it ends."""
    judge = Judge(engine, claim)
    for token in claim.tokens:
        if (wrong := judge.skip(token)) is not None:
            return wrong
    return judge.ending()


def committed_rows(root: SegmentRoot, length: int, states: Sequence[bytes], chunks: Sequence[bytes]) -> Iterator[bytes]:
    """The rows in ``chunks``, a segment's at a time, each once it is known that ``states`` commit to them. Raises
    FormatError."""
    size, state = row_bytes(root.encoding), first_state(root.encoding)
    for (start, end), chunk, committed in zip(cut(root.size, length), chunks, states, strict=False):
        rows = unpack(chunk, size * (end - start))
        state = next_state(state, start, end, rows)
        if state != committed:
            raise FormatError("the state that was opened is not the one that the receipt committed to")
        yield rows


def _rows(spot: SpotClaim) -> list[bytes] | Outcome:
    """The rows before the last picked segment, held against the committed states before any of them is restored."""
    count = max(spot.picked)
    if len(spot.chunks) < count:
        raise CannotReplay("the states before a picked segment were not opened")
    length = evaluated_length(len(spot.claim.prompt_tokens), len(spot.claim.tokens))
    rows: list[bytes] = []
    try:
        rows.extend(committed_rows(spot.root, length, spot.states, spot.chunks[:count]))
    except FormatError as error:
        return differs(str(error), segment=len(rows))
    return rows


def _segment(engine: Engine, spot: SpotClaim, index: int, before: Sequence[bytes]) -> Outcome | None:
    """What is wrong with one segment, if anything is."""
    claim, encoding = spot.claim, spot.root.encoding
    tokens, first = [*claim.prompt_tokens, *claim.tokens], len(claim.prompt_tokens)
    start, end = cut(spot.root.size, len(tokens) - 1)[index]
    engine.restore(0, State(encoding, before))
    judge = Judge(engine, claim)
    for token in tokens[first : start + 1]:
        judge.skip(token)
    skipped = max(0, first - 1 - start)
    for position, logits in enumerate(engine.advance_all(tokens[start:end], skip=skipped), start + skipped + 1):
        wrong = _numbers(logits) or judge.token(tokens[position], logits)
        if wrong is not None:
            return wrong
    if spot.grammar[index] != (judge.allowed() if end >= first else NO_GRAMMAR):
        return differs("the grammar allows other tokens at its end than the receipt committed to")
    state = engine.state(0, [(start, end)])
    if state is None or state.encoding != encoding:
        return differs(_OTHER_FORM)
    last = spot.states[index - 1] if index else first_state(encoding)
    if next_state(last, start, end, state.chunks[0]) != spot.states[index]:
        return differs("the state at its end is another than the receipt committed to")
    return None


def _numbers(logits: Logits) -> Outcome | None:
    """No honest state gives anything else."""
    return None if np.isfinite(logits.max()) else differs("from this state the model gives no numbers")
