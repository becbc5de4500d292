from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity import errors
from verity.errors import FormatError
from verity.log.tree import MemoryTree, hash_leaf, root_of
from verity.statements.commitments import (
    MAX_FIELDS,
    TOKEN_FIELD,
    Opening,
    commit,
    commit_token,
    decode_salt,
    derive_salt,
    digest_fields,
    open_all,
    withhold,
)
from verity.statements.strict import encode_base64, load

ID = bytes(16)
SALT = bytes(range(16))
SECRET = b"\x07" * 32
PARTS = ("intent", "result")
NAMES = st.text(min_size=1, max_size=16)
FIELDS = st.dictionaries(
    NAMES, st.none() | st.integers(-9, 9) | st.text("ab\u20ac") | st.lists(st.booleans()), max_size=6
)


def flips(data: bytes) -> list[bytes]:
    return [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data))]


def values(vector: dict[str, Any]) -> dict[str, Any]:
    return {line["field"]: line["value"] for line in vector["fields"]}


def line(**members: Any) -> Opening:
    return load(json.dumps(members).encode(), Opening, limit=1 << 20, what="line")


# --- published vectors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_salts_and_commitments_of_the_vectors(part: str, vectors: dict[str, Any]) -> None:
    receipt_id, secret = bytes.fromhex(vectors["receipt_id"]), bytes.fromhex(vectors["secret"])
    for vector in vectors[part]["fields"]:
        salt = derive_salt(secret, vector["field"])
        assert salt.hex() == vector["salt"]
        assert commit(receipt_id, vector["field"], salt, vector["value"]).hex() == vector["commitment"]


@pytest.mark.parametrize("part", PARTS)
def test_the_fields_digest_of_the_vectors(part: str, vectors: dict[str, Any]) -> None:
    receipt_id, secret = bytes.fromhex(vectors["receipt_id"]), bytes.fromhex(vectors["secret"])
    lines = open_all(secret, values(vectors[part]))
    assert msgspec.to_builtins(lines) == vectors["bundle"]["disclosure"][part]
    assert digest_fields(receipt_id, lines) == vectors[part]["fields_digest"]
    hidden = [withhold(receipt_id, opening) for opening in lines]
    assert [opening.commitment for opening in hidden] == [vector["commitment"] for vector in vectors[part]["fields"]]
    assert digest_fields(receipt_id, hidden) == vectors[part]["fields_digest"]


def test_the_token_tree_of_the_vectors(vectors: dict[str, Any]) -> None:
    receipt_id, secret = bytes.fromhex(vectors["receipt_id"]), bytes.fromhex(vectors["secret"])
    leaves = []
    for vector in vectors["tokens"]:
        salt = derive_salt(secret, TOKEN_FIELD, vector["index"])
        data = commit_token(receipt_id, vector["index"], salt, vector["id"], bytes.fromhex(vector["piece"]))
        assert salt.hex() == vector["salt"]
        assert data.hex() == vector["data"]
        leaves.append(hash_leaf(data))
        assert leaves[-1].hex() == vector["leaf"]
    tree = MemoryTree(leaves)
    assert tree.root.hex() == root_of(leaves).hex() == vectors["token_root"]
    assert [[h.hex() for h in tree.inclusion(index)] for index in range(len(leaves))] == [
        vector["path"] for vector in vectors["tokens"]
    ]


def test_vectors(line_case: dict[str, Any], vectors: dict[str, Any]) -> None:
    receipt_id, expected = bytes.fromhex(vectors["receipt_id"]), vectors["lines_digest"]
    if line_case["error"] in (None, "another digest"):
        digest = digest_fields(receipt_id, [line(**one) for one in line_case["lines"]])
        assert (digest == expected) == (line_case["error"] is None)
    else:
        with pytest.raises(getattr(errors, line_case["error"])) as caught:
            digest_fields(receipt_id, [line(**one) for one in line_case["lines"]])
        assert type(caught.value).__name__ == line_case["error"]


# --- round trip -------------------------------------------------------------------------------------------------------


@given(FIELDS, st.data())
def test_any_part_of_the_fields_can_be_withheld(fields: dict[str, Any], data: st.DataObject) -> None:
    lines = open_all(SECRET, fields)
    hidden = [withhold(ID, one) if data.draw(st.booleans()) else one for one in lines]
    again = load(msgspec.json.encode(hidden), list[Opening], limit=1 << 20, what="lines")
    assert again == hidden
    assert digest_fields(ID, again) == digest_fields(ID, lines)
    assert {one.field: one.value for one in again if one.opened}.items() <= fields.items()
    assert [withhold(ID, one) for one in again] == [withhold(ID, one) for one in lines]


@given(FIELDS, FIELDS)
def test_other_fields_have_another_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")
    assert (digest_fields(ID, open_all(SECRET, one)) == digest_fields(ID, open_all(SECRET, other))) == same


# --- any flipped byte is another commitment ---------------------------------------------------------------------------


def test_a_commitment_is_bound_to_receipt_field_salt_and_value() -> None:
    whole = commit(ID, "field", SALT, "value")
    others = {commit(other, "field", SALT, "value") for other in flips(ID)}
    others |= {commit(ID, "field", other, "value") for other in flips(SALT)}
    others |= {commit(ID, other.decode("latin-1"), SALT, "value") for other in flips(b"field")}
    others |= {commit(ID, "field", SALT, other.decode("latin-1")) for other in flips(b"value")}
    assert len(others) == 16 + 16 + 5 + 5
    assert whole not in others


def test_a_token_is_bound_to_receipt_index_salt_id_and_bytes() -> None:
    whole = commit_token(ID, 3, SALT, 5, b"piece")
    others = {commit_token(other, 3, SALT, 5, b"piece") for other in flips(ID)}
    others |= {commit_token(ID, 3, other, 5, b"piece") for other in flips(SALT)}
    others |= {commit_token(ID, index, SALT, 5, b"piece") for index in (0, 2, 4, 5, 3 << 32)}
    others |= {commit_token(ID, 3, SALT, token, b"piece") for token in (0, 3, 4, 5 << 8, 2**32 - 1)}
    others |= {commit_token(ID, 3, SALT, 5, other) for other in (*flips(b"piece"), b"", b"piec", b"\0piece")}
    assert len(others) == 16 + 16 + 5 + 5 + 8
    assert whole not in others


def test_name_and_salt_do_not_run_into_each_other() -> None:
    assert commit(ID, "ab", b"c" * 16, 1) != commit(ID, "abc", b"c" * 15, 1)
    one = digest_fields(ID, [Opening(field="a", commitment="00" * 32)])
    assert one != digest_fields(ID, [Opening(field="a\0", commitment="00" * 32)])


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=9))
def test_a_token_is_never_a_field(index: int, token: int, piece: bytes) -> None:
    # Both begin alike, but a token's index begins with a zero byte, and no JSON text does.
    data = index.to_bytes(8, "big") + token.to_bytes(4, "big") + piece
    with pytest.raises(FormatError):
        load(data, object, limit=99, what="value")
    assert commit_token(ID, index, SALT, token, piece) != commit(ID, TOKEN_FIELD + "/leaf", SALT, token)


def test_salts_are_bound_to_secret_field_and_index() -> None:
    salts = {derive_salt(secret, "field", 1) for secret in (SECRET, *flips(SECRET))}
    salts |= {derive_salt(SECRET, "field", index) for index in (0, 2, 256, 2**64 - 1)}
    salts |= {derive_salt(SECRET, field, 1) for field in ("fielc", "fiel", "field\0")}
    salts |= {derive_salt(SECRET, "field")}
    assert len(salts) == 33 + 4 + 3 + 1
    assert {len(salt) for salt in salts} == {16}


def test_who_is_shown_the_root_does_not_learn_the_salt_of_a_token() -> None:
    assert derive_salt(SECRET, TOKEN_FIELD) not in {derive_salt(SECRET, TOKEN_FIELD, index) for index in range(99)}


# --- the exact error class --------------------------------------------------------------------------------------------


def test_the_number_of_fields_is_limited() -> None:
    many = [Opening(field=f"{at:04}", commitment="0" * 64) for at in range(MAX_FIELDS + 1)]
    assert len(digest_fields(ID, many[:-1])) == 64
    with pytest.raises(FormatError, match=f"at most {MAX_FIELDS}"):
        digest_fields(ID, many)


@pytest.mark.parametrize("name", ["", "a" * 65, "€" * 22])
def test_the_length_of_a_name_is_limited(name: str) -> None:
    for use in (
        lambda: derive_salt(SECRET, name),
        lambda: commit(ID, name, SALT, 1),
        lambda: digest_fields(ID, [Opening(field=name, commitment="0" * 64)]),
    ):
        with pytest.raises(FormatError, match="1 to 64 bytes"):
            use()


def test_names_are_ordered_by_their_bytes() -> None:
    # In UTF-16, as RFC 8785 orders keys, these two would stand the other way round.
    fields = {"\U0001f600": 1, "\uff5e": 2}
    assert [one.field for one in open_all(SECRET, fields)] == ["\uff5e", "\U0001f600"]
    with pytest.raises(FormatError, match="not in order"):
        digest_fields(ID, open_all(SECRET, fields)[::-1])


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_the_length_of_a_salt(length: int) -> None:
    with pytest.raises(FormatError, match="16 bytes"):
        decode_salt(encode_base64(bytes(length)))


def test_a_value_without_canonical_form() -> None:
    with pytest.raises(FormatError):
        commit(ID, "field", SALT, float("nan"))
    with pytest.raises(FormatError):
        open_all(SECRET, {"field": 2**53})[0].commit(ID)


@given(
    st.dictionaries(
        st.sampled_from(["field", "value", "salt", "commitment", "x"]), st.none() | st.text() | st.integers()
    )
)
def test_arbitrary_lines_have_only_one_error(members: dict[str, Any]) -> None:
    try:
        digest_fields(ID, [load(msgspec.json.encode(members), Opening, limit=1 << 20, what="line")])
    except FormatError:
        return
    assert members.keys() in ({"field", "value", "salt"}, {"field", "commitment"})
