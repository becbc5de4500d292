from __future__ import annotations

import base64
import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verity.errors import FormatError
from verity.statements.strict import (
    MAX_DEPTH,
    canonical,
    decode_base64,
    decode_hex,
    encode_base64,
    load,
    parse_json,
)

LIMIT = 8 << 20
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-(2.0**52), 2.0**52) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Person(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    age: int


def parse(data: bytes) -> Any:
    return parse_json(data, limit=LIMIT, what="test")


# --- published vectors ------------------------------------------------------------------------------------------------


def test_vectors(json_case: dict[str, Any]) -> None:
    data = bytes.fromhex(json_case["json"])
    if json_case["error"] is None:
        assert parse(data) == json.loads(data)
    else:
        with pytest.raises(FormatError) as caught:
            parse(data)
        assert type(caught.value).__name__ == json_case["error"]


def test_canonical_form_published_elsewhere() -> None:
    # RFC 8785, section 3.2.2 and 3.2.3.
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert canonical(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    names = {"€": 5, "\r": 1, "\ufb33": 7, "1": 2, "😀": 6, "\x80": 3, "ö": 4}
    assert list(json.loads(canonical(names)).values()) == [1, 2, 3, 4, 5, 6, 7]


# --- round trip -------------------------------------------------------------------------------------------------------


@given(PLAIN)
def test_canonical_json_reads_back_and_is_stable(value: Any) -> None:
    written = canonical(value)
    assert parse(written) == value
    assert canonical(parse(written)) == written


@given(PLAIN)
def test_canonical_json_does_not_depend_on_how_it_was_written(value: Any) -> None:
    assert canonical(parse(json.dumps(value, indent=2).encode())) == canonical(value)


@given(st.binary())
def test_base64_and_hexadecimal_round_trip(data: bytes) -> None:
    assert decode_base64(encode_base64(data), "bytes") == data
    assert decode_hex(data.hex(), len(data), "bytes") == data


# --- what is refused --------------------------------------------------------------------------------------------------


def test_the_size_cap_counts_bytes() -> None:
    assert parse_json(b'"\xc3\xa9"', limit=4, what="test") == "é"
    with pytest.raises(FormatError, match="larger than 3 bytes"):
        parse_json(b'"\xc3\xa9"', limit=3, what="test")


@pytest.mark.parametrize("nested", [b"[", b'{"a":', b'[{"a":', b"[1,[],"])
def test_depth_never_reaches_the_parser(nested: bytes) -> None:
    with pytest.raises(FormatError, match=f"more than {MAX_DEPTH} levels"):
        parse(nested * 100_000)


@pytest.mark.parametrize(
    "data",
    [
        b'"\\' * 500_000,
        b'"\\"' * 300_000,
        b'"\\"' * 300_000 + b"\\",
        b'"' + b"\\\\" * 500_000 + b"\\",
        b'"' + b"a" * 1_000_000,
        b'["' + b"\\" * 999_999,
        b'"a' * 500_001,
        b'"' * 1_000_001,
        b"]" * 1_000_000,
    ],
    ids=lambda data: repr(data[:6]),
)
def test_hostile_strings_end_in_time(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse(data)


@pytest.mark.parametrize("digits", [4_301, 1_000_000])
def test_huge_numbers_are_not_computed(digits: int) -> None:
    for number in (b"9" * digits, b"-" + b"9" * digits, b"0." + b"9" * digits, b"1e" + b"9" * digits):
        with pytest.raises(FormatError, match="too large"):
            parse(number)


@given(st.binary() | st.text().map(str.encode))
@example(b"\xff\xfe")
@example(b"[" * 30)
@example(b'{"a":"\\ud800"}')
@example(b"1" * 5000)
def test_arbitrary_bytes_have_only_one_error(data: bytes) -> None:
    try:
        value = parse(data)
    except FormatError:
        return
    assert value == json.loads(data)


@given(
    st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b"a", b"1", b":", b",", b"\\u", b"d800", b"\xe2"]))
)
def test_pieces_of_json_have_only_one_error(pieces: list[bytes]) -> None:
    try:
        value = parse(b"".join(pieces))
    except FormatError:
        return
    assert value == json.loads(b"".join(pieces))


@pytest.mark.parametrize(
    "data",
    [
        b'{"name": "a"}',
        b'{"name": "a", "age": "1"}',
        b'{"name": "a", "age": 1.0}',
        b'{"name": "a", "age": true}',
        b'{"name": "a", "age": null}',
        b'{"name": 1, "age": 1}',
        b'{"name": "a", "age": 1, "other": 1}',
        b'["a", 1]',
        b"null",
    ],
)
def test_another_type_is_refused(data: bytes) -> None:
    assert load(b'{"age": 1, "name": "a"}', Person, limit=99, what="person") == Person("a", 1)
    with pytest.raises(FormatError, match="not a valid person"):
        load(data, Person, limit=99, what="person")


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 2**53, -(2**53), "\ud800", {"\ud800": 1}, {1: 2}, object(), 1j], ids=repr
)
def test_what_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(FormatError):
        canonical([value])


def test_a_value_without_end_has_no_canonical_form() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(FormatError):
        canonical(endless)


@pytest.mark.parametrize("text", ["A", "AA", "AA=", "AB==", "A===", "AA==\n", " AA==", "AA==AA==", "-_==", "é", "\x00"])
def test_base64_that_would_not_be_written_so(text: str) -> None:
    with pytest.raises(FormatError):
        decode_base64(text, "bytes")


@given(st.text())
def test_arbitrary_base64_has_only_one_error(text: str) -> None:
    try:
        data = decode_base64(text, "bytes")
    except FormatError:
        return
    assert base64.b64encode(data).decode() == text


@pytest.mark.parametrize("text", ["", "0", "000", "0G", "0A", " 0", "0\n", "00\n", "٠٠", "0x"])
def test_hexadecimal_that_would_not_be_written_so(text: str) -> None:
    with pytest.raises(FormatError):
        decode_hex(text, 1, "byte")
