"""What a stranger says of a model's states: files of them, packed rows, how they are encoded, opened segments."""

from __future__ import annotations

from typing import Any

import msgspec

from fuzz.target import Target, dump, vectors
from verity.errors import FormatError
from verity.statements.bundle import SegmentOpening, TokenOpening
from verity.statements.commitments import SEGMENT_FIELD
from verity.statements.segments import SegmentRoot, row_bytes, unpack
from verity.statements.states import decode_states, encode_states
from verity.statements.strict import load, parse_json
from verity.verify.claims import Fields
from verity.verify.segments import committed_rows, open_segments

_LIMIT = 1 << 20


class _Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the disclosure of a receipt says of its segments; ``field`` and ``prompt`` are a stranger's too."""

    field: Any
    prompt: Any
    output: list[int]
    openings: list[SegmentOpening]


def _states(data: bytes) -> None:
    receipt = vectors("segments")["receipt_id"]
    chunks = decode_states(data, receipt)
    assert decode_states(encode_states(receipt, chunks), receipt) == chunks
    assert sum(map(len, chunks)) < len(data)


def _rows(data: bytes) -> None:
    """The first two bytes say how many are expected."""
    size = int.from_bytes(data[:2], "big")
    assert len(unpack(data[2:], size)) == size


def _encoding(data: bytes) -> None:
    assert 0 < row_bytes(parse_json(data, limit=_LIMIT, what="encoding")) <= 1 << 24


def _segments(data: bytes) -> None:
    said = load(data, _Opened, limit=_LIMIT, what="disclosure")
    published = vectors("segments")
    receipt_id = bytes.fromhex(published["receipt_id"])
    intent = bytes.fromhex(published["leaves"][0]["body"][:64])
    fields = Fields({SEGMENT_FIELD: said.field, "prompt_tokens": said.prompt})
    tokens = [TokenOpening(id=token, index=at, piece="", salt="") for at, token in enumerate(said.output)]
    if not all(0 <= token < 1 << 32 for token in said.output):
        return  # their own commitments were checked before
    found = open_segments(said.openings, fields, tokens, receipt_id, intent)
    if found is None:
        return
    root: SegmentRoot = found.root
    assert len(found.leaves) == root.count
    assert found.leaves[-1].end == len(said.prompt) + len(said.output) - 1
    if root.root == published["root"]:
        signed = [(leaf["start"], leaf["end"], leaf["end_state"], leaf["tokens"]) for leaf in published["leaves"]]
        opened = [(leaf.start, leaf.end, leaf.end_state.hex(), leaf.tokens.hex()) for leaf in found.leaves]
        assert opened == signed, "a segment was forged"


def _challenge(data: bytes) -> None:
    """A file of states, held against the published receipt."""
    published = vectors("segments")
    field = SegmentRoot(count=3, encoding=published["encoding"], root=published["root"], size=published["size"])
    states = [bytes.fromhex(leaf["end_state"]) for leaf in published["leaves"]]
    length = len(published["prompt"]) + len(published["output"]) - 1
    chunks = decode_states(data, published["receipt_id"])
    rows = [rows.hex() for rows in committed_rows(field, length, states, chunks)]
    assert rows == published["chunks"][: len(rows)], "a state was forged"


def _files() -> list[bytes]:
    return [bytes.fromhex(case["file"]) for case in vectors("segments")["file_cases"]]


def _challenges() -> list[bytes]:
    stored = [
        b"\1" + len(rows).to_bytes(2, "little") + (0xFFFF - len(rows)).to_bytes(2, "little") + rows
        for rows in map(bytes.fromhex, vectors("segments")["chunks"])
    ]
    receipt = vectors("segments")["receipt_id"]
    return [encode_states(receipt, stored[:count]) for count in range(4)]


def _packed() -> list[bytes]:
    cases = vectors("segments")["pack_cases"]
    return [case["size"].to_bytes(2, "big") + bytes.fromhex(case["packed"]) for case in cases]


def _encodings() -> list[bytes]:
    return [dump(case["encoding"]) for case in vectors("segments")["encoding_cases"]]


def _disclosures() -> list[bytes]:
    published = vectors("segments")
    disclosure = published["bundle"]["disclosure"]
    field = next(line["value"] for line in disclosure["result"] if line["field"] == SEGMENT_FIELD)
    opened = {"field": field, "prompt": published["prompt"], "output": published["output"]}
    return [
        dump(opened | {"openings": disclosure["segments"]}),
        dump(opened | {"openings": []}),
        dump(opened | {"openings": disclosure["segments"][:2], "output": published["output"][:9]}),
    ]


TARGETS = [
    Target("states", "files of states", _states, _files, (FormatError,)),
    Target("rows", "packed rows of a state", _rows, _packed, (FormatError,)),
    Target("encoding", "how a state is said to be encoded", _encoding, _encodings, (FormatError,), structured=True),
    Target("segments", "opened segments, with tokens and field", _segments, _disclosures, (FormatError,),
           structured=True),
    Target("challenge", "answers to a challenge, held against a receipt", _challenge, _challenges, (FormatError,)),
]  # fmt: skip
