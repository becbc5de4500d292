"""What a GGUF file says of itself: read exactly, bounded, and nothing but FormatError for whatever else comes."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from gguf import ARRAY, F32, I32, STRING, U32, U64, entry, gguf, text, tiny
from hypothesis import example, given
from hypothesis import strategies as st
from lora import lora

from verity.errors import FormatError, StoreError
from verity.store.gguf_header import MAX_HEADER, parse_metadata, read_metadata

DIGEST = "ab" * 32


def head(*entries: bytes, keys: int | None = None, version: int = 3) -> bytes:
    count = len(entries) if keys is None else keys
    return b"GGUF" + struct.pack("<IQQ", version, 0, count) + b"".join(entries)


def test_every_kind_of_value_is_read() -> None:
    metadata = {
        "a": (STRING, "text"),
        "b": (U32, 7),
        "c": (I32, -7),
        "d": (F32, 0.5),
        "e": (U64, 1 << 60),
        "f": (ARRAY, STRING, ["x", "yz"]),
        "g": (ARRAY, F32, [1.0, 2.0]),
        "h": (7, b"\x01"),
        "i": (STRING, "after the arrays"),
    }
    assert parse_metadata(gguf(metadata, {})) == {
        "a": "text", "b": 7, "c": -7, "d": 0.5, "e": 1 << 60, "f": None, "g": None, "h": True, "i": "after the arrays"
    }  # fmt: skip


def test_a_model_and_an_adapter_are_read_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(tiny())
    (tmp_path / "a").write_bytes(lora(DIGEST))
    assert read_metadata(tmp_path / "m")["llama.block_count"] == 1
    assert read_metadata(tmp_path / "a")["verity.base.blake3"] == DIGEST
    with pytest.raises(StoreError):
        read_metadata(tmp_path / "not there")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"GGUX" + bytes(40), "begins"),
        (b"GGUF", "ends in the middle"),
        (head(version=1), "version 1"),
        (head(version=1 << 24), "version"),
        (head(keys=1), "ends in the middle"),
        (head(keys=1 << 63), "ends in the middle"),
        (head(text("a") + struct.pack("<I", STRING) + text("x", said=1 << 62)), "ends in the middle"),
        (head(text("a", said=1 << 40)), "ends in the middle"),
        (head(entry("a", U32, 1), entry("a", U32, 1)), "twice"),
        (head(text(b"\xff") + struct.pack("<II", U32, 1)), "UTF-8"),
        (head(entry("a", 13, b"")), "unknown type, 13"),
        (head(entry("a", 7, b"\x02")), "neither 0 nor 1"),
        (head(entry("a", ARRAY, struct.pack("<IQ", ARRAY, 1) + bytes(20))), "unknown type, 9"),
        (head(entry("a", ARRAY, struct.pack("<IQ", U32, 1 << 62))), "ends in the middle"),
        (head(entry("a", ARRAY, struct.pack("<IQ", STRING, 1 << 62) + text("x"))), "ends in the middle"),
        (head(*(entry(f"k{i}", STRING, "x" * 1000) for i in range(2000))), "more of itself than"),
    ],
)
def test_what_is_not_one_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse_metadata(data)


def test_a_huge_file_costs_no_more_than_the_header_may_have(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(head(keys=1 << 40))
        file.truncate(1 << 30)  # sparse
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_metadata(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_HEADER
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=400))
@example(head(entry("a", ARRAY, struct.pack("<IQ", 8, 0))))
def test_arbitrary_bytes_give_metadata_or_one_error(data: bytes) -> None:
    for candidate in (data, head(data, keys=len(data)), head(data)):
        try:
            metadata = parse_metadata(candidate)
        except FormatError:
            continue
        assert all(isinstance(key, str) for key in metadata)


@given(st.data())
def test_an_adapter_with_changed_bytes_gives_metadata_or_one_error(data: st.DataObject) -> None:
    changed = bytearray(ADAPTER)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_metadata(bytes(changed))
    except FormatError:
        return


ADAPTER = lora(DIGEST, shapes={})
