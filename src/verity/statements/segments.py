"""Segments: what a receipt commits to about its model's state, every N positions. Specified in spec/segments.md.

The state after a position is one row for each position so far, and a row never changes once it is computed. The rows
are cut into segments and chained, so that digesting every state takes one pass:

    state 0        SHA-256(domain ‖ encoding)                                  nothing is evaluated yet
    state i + 1    SHA-256(domain ‖ state i ‖ start ‖ end ‖ SHA-256(rows of segment i))

A leaf binds the intent, where its segment begins and ends, both states, all tokens so far, and what sampler and grammar
depend on. All but its end state and the grammar's follows from what is disclosed anyway: a verifier makes the leaves
himself, so that no two neighbours can disagree.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from verity.errors import FormatError
from verity.statements.strict import canonical, decode_hex

SEGMENT_TOKENS = 32
"""Positions in a segment, as this version makes them (docs/concepts/verification.md has the measurement)."""
MIN_SEGMENT_TOKENS, MAX_SEGMENT_TOKENS = 8, 1 << 12
MAX_ROW_BYTES = 1 << 24
MAX_SEGMENT_BYTES = 1 << 28
NO_GRAMMAR = bytes(32)

_STATE = b"verity/state/v1\x00"
_TOKENS = b"verity/state-tokens/v1\x00"
_SAMPLER = b"verity/state-sampler/v1\x00"


class SegmentRoot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``output/segments``: ``count`` segments of ``size`` positions (the last may be shorter), how a state is
    encoded, and the root (hex) of the tree over the leaves."""

    count: int
    encoding: dict[str, Any]
    root: str
    size: int


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``retention``: for how many seconds after the end of the answer its device promises to open segments."""

    segments_s: int


class Leaf(NamedTuple):
    """Segment ``number``: it evaluates the tokens at positions ``start`` up to, not including, ``end``, and settles the
    token at ``end``. Digests are 32 bytes: ``tokens`` is over all tokens up to that at ``end``, ``sampler`` over those
    of them that were drawn, on which noise and penalties depend."""

    number: int
    start: int
    end: int
    start_state: bytes
    end_state: bytes
    tokens: bytes
    sampler: bytes
    grammar: bytes

    def body(self, intent: bytes) -> bytes:
        """What is committed, for the intent of this statement digest (32 bytes)."""
        return intent + struct.pack(">QQQ", *self[:3]) + b"".join(self[3:])


class Evaluated(msgspec.Struct, frozen=True):
    """What an engine's memory held when an answer was over: the rows of each segment, and for each the digest of what
    the grammar allowed at its last token (NO_GRAMMAR without one)."""

    encoding: dict[str, Any]
    size: int
    chunks: list[bytes]
    grammar: list[bytes]


def cut(size: int, length: int) -> list[tuple[int, int]]:
    """The segments of ``length`` positions: where each begins, and ends (exclusive)."""
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def evaluated_length(prompt: int, output: int) -> int:
    """How many positions are evaluated for an answer: all tokens but the last, which is drawn and never fed back."""
    return prompt + output - 1 if output else 0


def first_state(encoding: dict[str, Any]) -> bytes:
    """The digest of the empty state."""
    return hashlib.sha256(_STATE + canonical(encoding)).digest()


def next_state(before: bytes, start: int, end: int, rows: bytes) -> bytes:
    """The digest of the state at ``end``, from that at ``start`` and the rows between."""
    return hashlib.sha256(_STATE + before + struct.pack(">QQ", start, end) + hashlib.sha256(rows).digest()).digest()


def chain(encoding: dict[str, Any], size: int, length: int, chunks: Sequence[bytes]) -> list[bytes]:
    """The digests of the states at the end of each segment. ``chunks`` may be fewer than there are segments."""
    states, state = [], first_state(encoding)
    for (start, end), rows in zip(cut(size, length), chunks, strict=False):
        state = next_state(state, start, end, rows)
        states.append(state)
    return states


def make_leaves(
    root: SegmentRoot, prompt: Sequence[int], output: Sequence[int], states: Sequence[bytes], grammar: Sequence[bytes]
) -> list[Leaf]:
    """The leaves of an answer, from its tokens and the digests at the end of each segment. Raises FormatError when
    their number does not fit."""
    tokens = [*prompt, *output]
    bounds = cut(root.size, evaluated_length(len(prompt), len(output)))
    if not len(bounds) == root.count == len(states) == len(grammar):
        raise FormatError(f"{len(tokens)} tokens do not make {root.count} segments of {root.size}")
    seen, drawn, at = hashlib.sha256(_TOKENS), hashlib.sha256(_SAMPLER), 0
    before, leaves = first_state(root.encoding), []
    for index, (start, end) in enumerate(bounds):
        seen.update(_spell(tokens[at : end + 1]))
        drawn.update(_spell(tokens[max(at, len(prompt)) : end + 1]))
        at = end + 1
        after = seen.copy().digest(), drawn.copy().digest()
        leaves.append(Leaf(index, start, end, before, states[index], *after, grammar[index]))
        before = states[index]
    return leaves


def _spell(tokens: Sequence[int]) -> bytes:
    return struct.pack(f">{len(tokens)}I", *tokens)


def check_root(root: SegmentRoot) -> None:
    """Whether the field can be one of an honest device. Raises FormatError."""
    if not MIN_SEGMENT_TOKENS <= root.size <= MAX_SEGMENT_TOKENS:
        raise FormatError(f"a segment has {MIN_SEGMENT_TOKENS} to {MAX_SEGMENT_TOKENS:,} positions, not {root.size}")
    if root.count < 1:
        raise FormatError("an answer has at least one segment")
    decode_hex(root.root, 32, "root of the segments")


def row_bytes(encoding: dict[str, Any]) -> int:
    """How many bytes the row of one position has. Raises FormatError for an encoding that is not known here."""
    try:
        size = _ROW_SIZES[encoding["kind"]](encoding)
    except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
        raise FormatError("the states are encoded in a way that this version does not know") from error
    if type(size) is not int or not 0 < size <= MAX_ROW_BYTES:
        raise FormatError(f"a row of a state has 1 to {MAX_ROW_BYTES:,} bytes")
    return size


def _kv_row(said: dict[str, Any]) -> int:
    (_, k), (_, v) = said["k"], said["v"]
    return int(said["layers"]) * (int(k) + int(v))


def _scripted_row(said: dict[str, Any]) -> int:
    return int(said["row"])


_ROW_SIZES = {"kv": _kv_row, "scripted": _scripted_row}


def pack(rows: bytes) -> bytes:
    """Rows as they are kept and sent: raw DEFLATE (RFC 1951). Rounded numbers are nearly noise: a few per cent less."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(rows) + packer.flush()


def unpack(data: bytes, size: int) -> bytes:
    """Exactly ``size`` bytes of rows; no more are ever made. Raises FormatError."""
    if size > MAX_SEGMENT_BYTES:
        raise FormatError(f"the rows of a segment have at most {MAX_SEGMENT_BYTES:,} bytes")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        rows = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise FormatError("the rows of a state are damaged") from error
    if len(rows) != size or not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
        raise FormatError("the rows of a state are not as many as its segment has")
    return rows
