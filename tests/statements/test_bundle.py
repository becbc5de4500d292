from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import FormatError
from verity.statements import bundle as module
from verity.statements.bundle import MAX_BUNDLE_BYTES, MAX_TOKENS, Bundle, Disclosure, TokenOpening, decode_bundle
from verity.verify.policy import Expected, Policy
from verity.verify.verifier import verify

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/receipt.json").read_text())
WHOLE: dict[str, Any] = VECTORS["bundle"]
STEPS = ("receipt", "logged", "intent", "disclosure", "output", "nonce")


def read(value: Any) -> Bundle:
    return decode_bundle(json.dumps(value).encode())


def statuses(bundle: Bundle) -> dict[str, str]:
    """The checks that need nothing but the bundle."""
    report = verify(bundle, Policy(), Expected(), None)
    return {check.name: check.status for check in report.checks if check.name in STEPS}


def failed(bundle: Bundle) -> list[str]:
    return [name for name, status in statuses(bundle).items() if status == "failed"]


def apply(case: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(WHOLE)
    *parents, last = (int(key) if key.isdigit() else key for key in case["path"].split("/"))
    at: Any = changed
    for key in parents:
        at = at[key]
    if "value" in case:
        at[last] = case["value"]
    else:
        del at[last]
    return changed


# --- published vectors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bundle", "redacted"])
def test_the_bundles_are_read_and_written_again(name: str) -> None:
    bundle = read(VECTORS[name])
    assert json.loads(bundle.encode()) == VECTORS[name]
    assert decode_bundle(bundle.encode()) == bundle
    assert bundle.encode().endswith(b"}\n")


def test_the_whole_bundle_verifies() -> None:
    assert statuses(read(WHOLE)) == dict.fromkeys(STEPS, "passed")


def test_the_redacted_bundle_verifies_as_far_as_it_goes() -> None:
    expected = dict.fromkeys(STEPS, "passed") | {"output": "not made", "nonce": "not made"}
    assert statuses(read(VECTORS["redacted"])) == expected


def test_bundle_vectors(bundle_case: dict[str, Any]) -> None:
    if bundle_case["fails"] == "FormatError":
        with pytest.raises(FormatError) as caught:
            failed(read(apply(bundle_case)))
        assert type(caught.value) is FormatError
    else:
        assert failed(read(apply(bundle_case)))[:1] == ([bundle_case["fails"]] if bundle_case["fails"] else [])


def test_what_a_lying_device_signs(liar_case: dict[str, Any]) -> None:
    assert failed(read(liar_case["bundle"])) == ([liar_case["fails"]] if liar_case["fails"] else [])


def test_the_example_in_the_documentation_has_the_members() -> None:
    assert module.__doc__ is not None
    assert all(f'"{name}"' in module.__doc__ for name in Bundle.__struct_fields__)


# --- round trip -------------------------------------------------------------------------------------------------------


def test_without_a_disclosure() -> None:
    bundle = msgspec.structs.replace(read(WHOLE), disclosure=msgspec.UNSET)
    assert "disclosure" not in json.loads(bundle.encode())
    assert decode_bundle(bundle.encode()) == bundle


@given(st.binary(max_size=9), st.integers(0, 2**32 - 1), st.none() | st.lists(st.just("0" * 64)))
def test_tokens_round_trip(piece: bytes, number: int, path: list[str] | None) -> None:
    opening = TokenOpening(
        id=number, index=number, piece=piece.hex(), salt="", path=msgspec.UNSET if path is None else path
    )
    bundle = msgspec.structs.replace(read(WHOLE), disclosure=Disclosure(intent=[], result=[], tokens=[opening]))
    assert decode_bundle(bundle.encode()) == bundle


# --- changes are refused or read as they are --------------------------------------------------------------------------


def members(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in below for place in members(inner, (*at, key)))]


PLACES = members(WHOLE)[1:]
JUNK: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.just({}) | st.just([{}])
)


def place_in(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        value = value[key]
    return value


def normal(value: dict[str, Any]) -> dict[str, Any]:
    """Tokens may be left out when there are none."""
    disclosure = value.get("disclosure")
    return value | {"disclosure": {"tokens": [], **disclosure}} if disclosure else value


@given(st.sampled_from(PLACES), JUNK, st.booleans())
def test_a_changed_member_is_refused_or_read_as_it_is(place: tuple[Any, ...], junk: Any, remove: bool) -> None:
    value = copy.deepcopy(WHOLE)
    if remove:
        del place_in(value, place)[place[-1]]
    else:
        place_in(value, place)[place[-1]] = junk
    try:
        bundle = read(value)
    except FormatError:
        return
    assert normal(json.loads(bundle.encode())) == normal(value)


@given(st.integers(0, 1 << 20), st.integers(1, 255), st.sampled_from(["flip", "drop", "double", "cut"]))
def test_a_damaged_file_is_refused_or_another_bundle(at: int, mask: int, how: str) -> None:
    data = read(WHOLE).encode()
    at %= len(data)
    changed = {
        "flip": data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :],
        "drop": data[:at] + data[at + 1 :],
        "double": data[: at + 1] + data[at:],
        "cut": data[:at],
    }[how]
    try:
        bundle = decode_bundle(changed)
    except FormatError:
        return
    same = bundle == read(WHOLE)
    assert not same or json.loads(changed) == WHOLE  # white space, or a digit written as 0 and -0


@given(st.sampled_from([place for place in PLACES if place[0] == "disclosure"]), JUNK)
def test_no_change_of_a_disclosure_is_believed(place: tuple[Any, ...], junk: Any) -> None:
    value = copy.deepcopy(WHOLE)
    place_in(value, place)[place[-1]] = junk
    if value == WHOLE:
        return
    try:
        bundle = read(value)
    except FormatError:
        return
    report = statuses(bundle)
    assert report["disclosure"] in ("failed", "not made") or place[-1] == "path"


@given(st.binary())
def test_arbitrary_bytes_have_only_one_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_bundle(data)


@given(st.sampled_from([place for place in PLACES if isinstance(place_in(WHOLE, place)[place[-1]], dict)]))
def test_unknown_members_are_refused_outside_values(place: tuple[Any, ...]) -> None:
    value = copy.deepcopy(WHOLE)
    place_in(value, place)[place[-1]]["unknown"] = 1
    if "value" in place:
        assert failed(read(value)) == ["disclosure"]
    else:
        with pytest.raises(FormatError):
            read(value)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_the_size_cap() -> None:
    data = read(WHOLE).encode()
    assert decode_bundle(data + b" " * (MAX_BUNDLE_BYTES - len(data)))
    with pytest.raises(FormatError, match="larger than 33,554,432 bytes"):
        decode_bundle(data + b" " * (MAX_BUNDLE_BYTES - len(data) + 1))


def test_the_number_of_tokens_is_limited() -> None:
    token = TokenOpening(id=0, index=0, piece="", salt="")
    whole = read(WHOLE)

    def many(count: int) -> bytes:
        disclosure = Disclosure(intent=[], result=[], tokens=[token] * count)
        return msgspec.structs.replace(whole, disclosure=disclosure).encode()

    assert decode_bundle(many(MAX_TOKENS))
    with pytest.raises(FormatError, match="at most 131,072 tokens"):
        decode_bundle(many(MAX_TOKENS + 1))
