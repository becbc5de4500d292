"""A file of states, ``*.verity.states``: the rows of a receipt's segments, from the first one on. See spec/segments.md.

    verity-states/v1\\n
    {"lengths":[31004,30998],"receipt":"0f…"}\\n        canonical JSON: bytes of each chunk, 32 hex digits
    chunk 0, chunk 1, …

It may hold fewer chunks than the receipt has segments. Nothing in it is believed: the receipt commits to the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from verity.errors import FormatError
from verity.statements.commitments import ID_BYTES
from verity.statements.strict import canonical, decode_hex, load

SUFFIX = ".verity.states"
MAX_STATES_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 20
MAX_CHUNKS = 1 << 14
_MAGIC = b"verity-states/v1\n"
_HINT = "give the file that `verity export --states` wrote beside the bundle"


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lengths: list[int]
    receipt: str


def encode_states(receipt_id: str, chunks: Sequence[bytes]) -> bytes:
    """The file's bytes."""
    header = canonical(_Header(lengths=[len(chunk) for chunk in chunks], receipt=receipt_id))
    return b"".join([_MAGIC, header, b"\n", *chunks])


def decode_states(data: bytes, receipt_id: str) -> list[bytes]:
    """The chunks, of the receipt that is named. Raises FormatError."""
    if len(data) > MAX_STATES_BYTES:
        raise FormatError(f"a file of states has at most {MAX_STATES_BYTES:,} bytes", _HINT)
    if not data.startswith(_MAGIC):
        raise FormatError("this is not a file of states", _HINT)
    end = data.find(b"\n", len(_MAGIC), len(_MAGIC) + MAX_HEADER_BYTES)
    if end < 0:
        raise FormatError("the file of states has no header", _HINT)
    header = load(data[len(_MAGIC) : end], _Header, limit=MAX_HEADER_BYTES, what="header of a file of states")
    decode_hex(header.receipt, ID_BYTES, "receipt id")
    if header.receipt != receipt_id:
        raise FormatError("these are the states of another receipt", _HINT)
    if len(header.lengths) > MAX_CHUNKS or not all(length > 0 for length in header.lengths):
        raise FormatError("the file of states has chunks of impossible lengths", _HINT)
    at, chunks = end + 1, []
    for length in header.lengths:
        chunks.append(data[at : at + length])
        at += length
    if at != len(data):
        raise FormatError("the file of states is cut short, or something follows it", _HINT)
    return chunks
