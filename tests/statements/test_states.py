"""Files of states: published vectors, round trip, any flipped byte, the exact class of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import FormatError
from verity.statements import states as module
from verity.statements.states import MAX_CHUNKS, decode_states, encode_states

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "spec/vectors/segments.json").read_text())
ID: str = VECTORS["receipt_id"]
CASES = VECTORS["file_cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["desc"] for case in CASES])
def test_vectors(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["file"])
    if case["chunks"] is not None:
        assert [chunk.hex() for chunk in decode_states(data, ID)] == case["chunks"]
        return
    with pytest.raises(FormatError) as caught:
        decode_states(data, ID)
    assert type(caught.value) is FormatError


def test_the_vector_is_written_byte_for_byte() -> None:
    said = next(case for case in CASES if case["desc"] == "two chunks")
    assert encode_states(ID, [bytes.fromhex(chunk) for chunk in said["chunks"]]).hex() == said["file"]


@given(st.binary(min_size=16, max_size=16), st.lists(st.binary(min_size=1)))
def test_round_trip(receipt: bytes, chunks: list[bytes]) -> None:
    assert decode_states(encode_states(receipt.hex(), chunks), receipt.hex()) == chunks


@given(st.integers(0, 2**20), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_is_in_what_the_receipt_commits_to(at: int, mask: int) -> None:
    data = encode_states(ID, [b"first", b"second"])
    at %= len(data)
    changed = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
    try:
        chunks = decode_states(changed, ID)
    except FormatError:
        return
    assert chunks != [b"first", b"second"]


@given(st.binary())
def test_arbitrary_bytes_have_only_one_error(data: bytes) -> None:
    for start in (b"", b"verity-states/v1\n"):
        with pytest.raises(FormatError):
            decode_states(start + data, ID)


@given(st.lists(st.integers(-5, 40), max_size=5), st.binary(max_size=40))
def test_lengths_cover_the_file_exactly_or_it_is_refused(lengths: list[int], body: bytes) -> None:
    header = json.dumps({"lengths": lengths, "receipt": ID}).encode()
    try:
        chunks = decode_states(b"verity-states/v1\n" + header + b"\n" + body, ID)
    except FormatError:
        assert sum(lengths) != len(body) or any(length < 1 for length in lengths)
        return
    assert b"".join(chunks) == body
    assert [len(chunk) for chunk in chunks] == lengths


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(decode_states(encode_states(ID, [b"a"] * MAX_CHUNKS), ID)) == MAX_CHUNKS
    with pytest.raises(FormatError, match="impossible lengths"):
        decode_states(encode_states(ID, [b"a"] * (MAX_CHUNKS + 1)), ID)
    whole = encode_states(ID, [b"a" * 100])
    monkeypatch.setattr(module, "MAX_STATES_BYTES", len(whole))
    assert decode_states(whole, ID) == [b"a" * 100]
    with pytest.raises(FormatError, match="at most"):
        decode_states(encode_states(ID, [b"a" * 101]), ID)


def test_a_header_without_an_end_is_not_searched_for_ever() -> None:
    with pytest.raises(FormatError, match="no header"):
        decode_states(b"verity-states/v1\n" + b" " * (2 << 20) + b"\n", ID)
