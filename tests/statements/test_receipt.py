from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity import errors
from verity.errors import FormatError
from verity.statements.commitments import Opening
from verity.statements.receipt import (
    EMBEDDING_INTENT_FIELDS,
    EMBEDDING_RESULT_FIELDS,
    FINISHES,
    GENERATION,
    INFERENCE_INTENT_FIELDS,
    INFERENCE_RESULT_FIELDS,
    INPUT_PREFIX,
    INTENT,
    INTENT_FIELDS,
    KINDS,
    MAX_STATEMENT_BYTES,
    RESULT,
    RESULT_FIELDS,
    SEED_FIELDS,
    Place,
    Predicate,
    convert_field,
    input_field,
    make_statement,
    read_statement,
    statement_digest,
    table_of,
)

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "spec/vectors/receipt.json").read_text())
SPECIFICATION = (ROOT / "spec/receipt.md").read_text()
TYPES = {"intent": INTENT, "result": RESULT}
GOOD: bytes = VECTORS["intent"]["statement"].encode()


# --- published vectors ------------------------------------------------------------------------------------------------


def test_the_vectors_are_made_again_byte_for_byte(tmp_path: Path) -> None:
    program = Path(__file__).with_name("make_vectors.py")
    subprocess.run([sys.executable, "-I", program, tmp_path], check=True)
    made = (tmp_path / "receipt.json").read_bytes()
    assert made == (ROOT / "spec/vectors/receipt.json").read_bytes()


def test_the_vectors_share_no_code() -> None:
    source = Path(__file__).with_name("make_vectors.py").read_text()
    modules = set(re.findall(r"^(?:from|import) ([\w]+)", source, re.MULTILINE))
    assert modules <= {*sys.stdlib_module_names, "cryptography"}


@pytest.mark.parametrize("part", TYPES)
def test_the_statements_are_written_byte_for_byte(part: str) -> None:
    vector = VECTORS[part]
    payload = vector["statement"].encode()
    statement = read_statement(payload, TYPES[part])
    assert statement.fields_digest() == vector["fields_digest"]
    assert make_statement(TYPES[part], statement.predicate, vector["fields_digest"]) == payload
    assert statement_digest(payload) == vector["statement_digest"]


def test_statement_vectors(statement_case: dict[str, Any]) -> None:
    payload = statement_case["statement"].encode()
    if statement_case["error"] is None:
        assert read_statement(payload, statement_case["type"]).predicateType == statement_case["type"]
    else:
        with pytest.raises(getattr(errors, statement_case["error"])) as caught:
            read_statement(payload, statement_case["type"])
        assert type(caught.value).__name__ == statement_case["error"]


# --- the specification ------------------------------------------------------------------------------------------------


def fields_of_table(heading: str, text: str = SPECIFICATION) -> set[str]:
    section = re.split(rf"\n##+ {heading}\n", text)[1].split("\n#")[0].split("\n| finish |")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_specification_lists_every_field() -> None:
    assert fields_of_table("Fields of the intent") == INTENT_FIELDS | {"inputs/0000"} | SEED_FIELDS
    assert fields_of_table("Fields of the result") == set(RESULT_FIELDS)
    assert {finish for finish in FINISHES if f"| `{finish}` |" in SPECIFICATION} == set(FINISHES)


def test_the_specification_of_embeddings_lists_every_field() -> None:
    text = (ROOT / "spec/embedding.md").read_text()
    assert fields_of_table("Fields of the intent", text) == EMBEDDING_INTENT_FIELDS | {"inputs/0000"}
    assert fields_of_table("Fields of the result", text) == EMBEDDING_RESULT_FIELDS


def test_the_specification_of_inferences_lists_every_field() -> None:
    text = (ROOT / "spec/inference.md").read_text()
    assert fields_of_table("Fields of the intent", text) == INFERENCE_INTENT_FIELDS | {"inputs/0000"}
    assert fields_of_table("Fields of the result", text) == INFERENCE_RESULT_FIELDS


def test_the_specification_has_every_kind() -> None:
    assert all(f"\n| `{kind}` |" in SPECIFICATION for kind in KINDS)


def test_the_vectors_have_every_field() -> None:
    intent = {line["field"] for line in VECTORS["intent"]["fields"]}
    assert intent - SEED_FIELDS - {"inputs/0000", "inputs/0001"} == INTENT_FIELDS == table_of(GENERATION).intent
    assert {line["field"] for line in VECTORS["result"]["fields"]} == RESULT_FIELDS == table_of(GENERATION).result


def test_the_specification_shows_the_vectors() -> None:
    example = SPECIFICATION.split("\n## Example\n")[1].split("\n## ")[0]
    for part in TYPES:
        vector = VECTORS[part]
        assert vector["statement"] in example
        for key in ("fields_digest", "statement_digest", "signature", "envelope_digest", "entry", "leaf"):
            assert vector[key] in example, key
    for key in ("seed", "public", "receipt_id", "secret", "token_root"):
        assert VECTORS[key] in example, key
    token = VECTORS["tokens"][4]
    assert {token["salt"], token["data"], token["leaf"]} <= set(re.findall(r"[0-9a-f]{32,}", example))


def test_every_digest_in_the_specification_is_in_the_vectors() -> None:
    vectors = json.dumps(VECTORS)
    assert [h for h in re.findall(r"[0-9a-f]{32,}", SPECIFICATION) if h not in vectors] == []


# --- round trip -------------------------------------------------------------------------------------------------------

HEX32, HEX16 = (st.binary(min_size=size, max_size=size).map(bytes.hex) for size in (32, 16))
PLACES = st.builds(Place, origin=st.text(), index=st.integers(0, 2**53 - 1), previous=HEX32)


@given(HEX16, st.text(), PLACES, st.lists(st.text()), HEX32, HEX32 | st.none())
def test_round_trip(
    receipt_id: str, kind: str, place: Place, critical: list[str], digest: str, intent: str | None
) -> None:
    shown = [Opening(field="a", value=[1, "é", None], salt="AAAAAAAAAAAAAAAAAAAAAA==")]
    named = msgspec.UNSET if intent is None else intent
    predicate = Predicate(id=receipt_id, kind=kind, log=place, critical=critical, shown=shown, intent=named)
    written = make_statement(INTENT if intent is None else RESULT, predicate, digest)
    statement = read_statement(written, INTENT if intent is None else RESULT)
    assert statement.predicate == predicate
    assert statement.fields_digest() == digest
    assert make_statement(statement.predicateType, statement.predicate, digest) == written


def test_how_a_statement_is_written_does_not_matter() -> None:
    rewritten = json.dumps(json.loads(GOOD), indent=2).encode()
    assert read_statement(rewritten, INTENT) == read_statement(GOOD, INTENT)
    assert statement_digest(rewritten) != statement_digest(GOOD)


# --- any flipped byte is noticed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", TYPES)
def test_any_flipped_byte_is_refused_or_another_statement(part: str) -> None:
    payload = VECTORS[part]["statement"].encode()
    statement = read_statement(payload, TYPES[part])
    for at in range(len(payload)):
        for bit in (0x01, 0x20, 0x80):
            changed = payload[:at] + bytes([payload[at] ^ bit]) + payload[at + 1 :]
            assert statement_digest(changed) != statement_digest(payload)
            try:
                other = read_statement(changed, TYPES[part])
            except FormatError:
                continue
            assert other != statement


# --- the exact error class --------------------------------------------------------------------------------------------


def test_the_size_cap() -> None:
    assert read_statement(GOOD + b" " * (MAX_STATEMENT_BYTES - len(GOOD)), INTENT)
    with pytest.raises(FormatError, match="larger than 1,048,576 bytes"):
        read_statement(GOOD + b" " * (MAX_STATEMENT_BYTES - len(GOOD) + 1), INTENT)


@given(st.binary(), st.sampled_from([INTENT, RESULT]))
def test_arbitrary_bytes_have_only_one_error(data: bytes, kind: str) -> None:
    with pytest.raises(FormatError):
        read_statement(data, kind)


def members(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in below for place in members(inner, (*at, key)))]


JUNK: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({}) | st.just([{}])
)


@given(st.sampled_from(members(json.loads(GOOD))[1:]), JUNK)
def test_any_member_of_another_form_has_only_one_error(place: tuple[Any, ...], junk: Any) -> None:
    value = json.loads(GOOD)
    at = value
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = junk
    try:
        statement = read_statement(json.dumps(value).encode(), INTENT)
    except FormatError:
        return
    assert json.loads(make_statement(INTENT, statement.predicate, statement.fields_digest())).keys() == value.keys()


@pytest.mark.parametrize("place", members(json.loads(GOOD))[1:], ids=str)
def test_every_member_is_needed(place: tuple[Any, ...]) -> None:
    value = json.loads(GOOD)
    at = value
    for key in place[:-1]:
        at = at[key]
    del at[place[-1]]
    free = place in {("predicate", "shown"), ("predicate", "shown", 0), ("predicate", "shown", 1)}
    if free or (place[:4] == ("predicate", "shown", 1, "value") and len(place) == 5):
        assert read_statement(json.dumps(value).encode(), INTENT) != read_statement(GOOD, INTENT)
    else:
        with pytest.raises(FormatError):
            read_statement(json.dumps(value).encode(), INTENT)


def test_inputs_have_their_own_names() -> None:
    assert [input_field(index) for index in (0, 12)] == ["inputs/0000", "inputs/0012"]
    assert not any(field.startswith(INPUT_PREFIX) for field in INTENT_FIELDS | RESULT_FIELDS)
    assert not INTENT_FIELDS & RESULT_FIELDS
    assert not SEED_FIELDS & (INTENT_FIELDS | RESULT_FIELDS)


@pytest.mark.parametrize(
    ("value", "kind"), [("1", int), (1, str), (True, int), (1.5, int), (None, str), ([1], list[str])]
)
def test_a_field_of_another_form_is_named(value: Any, kind: Any) -> None:
    with pytest.raises(FormatError, match="field 'some/field' has the wrong form"):
        convert_field(value, kind, "some/field")
