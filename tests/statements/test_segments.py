"""Segments: published vectors, round trip, any flipped byte, the exact class of error."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.elements import segmented
from verity.engines.grammar import Constraint
from verity.engines.kv_state import Layout, Rows
from verity.errors import FormatError
from verity.statements.bundle import Bundle, SegmentOpening, decode_bundle
from verity.statements.commitments import SEGMENT_FIELD, derive_salt
from verity.statements.request import IntentName
from verity.statements.segments import (
    MAX_SEGMENT_BYTES,
    NO_GRAMMAR,
    Evaluated,
    SegmentRoot,
    chain,
    cut,
    evaluated_length,
    first_state,
    make_leaves,
    next_state,
    pack,
    row_bytes,
    unpack,
)
from verity.statements.strict import decode_hex
from verity.store.receipts import Token
from verity.verify.policy import Expected, Policy
from verity.verify.segments import leaf_hash
from verity.verify.verifier import verify

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "spec/vectors/segments.json").read_text())
ID, SECRET = bytes.fromhex(VECTORS["receipt_id"]), bytes.fromhex(VECTORS["secret"])
PROMPT, OUTPUT, SIZE = VECTORS["prompt"], VECTORS["output"], VECTORS["size"]
CHUNKS = [bytes.fromhex(chunk) for chunk in VECTORS["chunks"]]
FIELD = SegmentRoot(count=len(CHUNKS), encoding=VECTORS["encoding"], root=VECTORS["root"], size=SIZE)
STATES = chain(FIELD.encoding, SIZE, len(PROMPT) + len(OUTPUT) - 1, CHUNKS)
INTENT = bytes.fromhex(VECTORS["leaves"][0]["body"][:64])
DIGESTS = ("start_state", "end_state", "tokens", "sampler", "grammar")


def cases(name: str) -> pytest.MarkDecorator:
    found = VECTORS[f"{name}_cases"]
    return pytest.mark.parametrize("case", found, ids=[case["desc"] for case in found])


def read(value: Any) -> Bundle:
    return decode_bundle(json.dumps(value).encode())


def failed(bundle: Bundle) -> list[str]:
    """Of the checks that need nothing but the bundle."""
    made = ("receipt", "logged", "intent", "disclosure", "output", "nonce")
    return [c.name for c in verify(bundle, Policy(), Expected(), None).failed if c.name in made]


# --- published vectors ------------------------------------------------------------------------------------------------


def test_the_vectors_are_made_again_byte_for_byte(tmp_path: Path) -> None:
    program = Path(__file__).with_name("make_segment_vectors.py")
    subprocess.run([sys.executable, "-E", "-s", program, tmp_path], check=True)
    assert (tmp_path / "segments.json").read_bytes() == (ROOT / "spec/vectors/segments.json").read_bytes()


def test_the_vectors_share_no_code() -> None:
    source = Path(__file__).with_name("make_segment_vectors.py").read_text()
    modules = set(re.findall(r"^(?:from|import) ([\w]+)", source, re.MULTILINE))
    assert modules <= {*sys.stdlib_module_names, "make_vectors"}


def test_the_leaves_are_the_published() -> None:
    leaves = make_leaves(FIELD, PROMPT, OUTPUT, STATES, [NO_GRAMMAR] * len(CHUNKS))
    for leaf, said in zip(leaves, VECTORS["leaves"], strict=True):
        assert leaf[:3] == (said["number"], said["start"], said["end"])
        assert {name: getattr(leaf, name).hex() for name in DIGESTS} == {name: said[name] for name in DIGESTS}
        assert leaf.body(INTENT).hex() == said["body"]
        salt = derive_salt(SECRET, SEGMENT_FIELD, leaf.number)
        assert salt.hex() == said["salt"]
        assert leaf_hash(ID, salt, leaf, INTENT).hex() == said["leaf"]


def test_a_device_commits_to_the_published_root() -> None:
    tokens = [Token(id=token, piece=b"") for token in OUTPUT]
    evaluated = Evaluated(FIELD.encoding, SIZE, CHUNKS, [NO_GRAMMAR] * len(CHUNKS))
    field, kept = segmented(IntentName(ID.hex(), INTENT.hex()), SECRET, PROMPT, tokens, evaluated)
    assert field == msgspec.to_builtins(FIELD)
    assert [segment.state for segment in kept] == STATES


def test_rows_of_k_and_v_are_encoded_as_published() -> None:
    said = VECTORS["kv"]
    width = {"k": 3, "v": 2}
    made = {
        name: [
            np.array([[16 * layer + tensor, at, 16 * layer + tensor][: width[name]] for at in range(10)], dtype="u1")
            for layer in range(2)
        ]
        for tensor, name in enumerate(width)
    }
    rows = Rows(Layout(b"", 2, (8, 3), (8, 2)), made["k"], made["v"])
    chunks = [rows.chunk(start, end) for start, end in cut(said["size"], 10)]
    assert rows.layout.encoding == said["encoding"]
    assert [chunk.hex() for chunk in chunks] == said["chunks"]
    states = [first_state(said["encoding"]), *chain(said["encoding"], said["size"], 10, chunks)]
    assert [state.hex() for state in states] == said["states"]


@pytest.mark.parametrize("said", VECTORS["grammar"], ids=lambda said: str(said["vocabulary"]))
def test_what_a_grammar_allows_has_the_published_digest(said: dict[str, Any]) -> None:
    constraint = Constraint.__new__(Constraint)
    constraint._allowed = np.isin(np.arange(said["vocabulary"]), said["allowed"])
    assert constraint.digest().hex() == said["digest"]


@cases("encoding")
def test_encodings(case: dict[str, Any]) -> None:
    if case["row"] is not None:
        assert row_bytes(case["encoding"]) == case["row"]
    else:
        with pytest.raises(FormatError) as caught:
            row_bytes(case["encoding"])
        assert type(caught.value) is FormatError


@cases("pack")
def test_packed_rows(case: dict[str, Any]) -> None:
    if case["rows"] is not None:
        assert unpack(bytes.fromhex(case["packed"]), case["size"]).hex() == case["rows"]
    else:
        with pytest.raises(FormatError) as caught:
            unpack(bytes.fromhex(case["packed"]), case["size"])
        assert type(caught.value) is FormatError


@cases("bundle")
def test_what_somebody_without_a_key_changes(case: dict[str, Any]) -> None:
    changed = copy.deepcopy(VECTORS["bundle"])
    *parents, last = (int(key) if key.isdigit() else key for key in case["path"].split("/"))
    at: Any = changed
    for key in parents:
        at = at[key]
    if "value" in case:
        at[last] = case["value"]
    else:
        del at[last]
    if case["fails"] == "FormatError":
        with pytest.raises(FormatError):
            read(changed)
    else:
        assert failed(read(changed))[:1] == ([case["fails"]] if case["fails"] else [])


@cases("liar")
def test_what_a_lying_device_signs(case: dict[str, Any]) -> None:
    assert failed(read(case["bundle"])) == ([case["fails"]] if case["fails"] else [])


# --- round trip -------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=3000), st.integers(0, 8))
def test_rows_are_unpacked_as_they_were(rows: bytes, times: int) -> None:
    rows *= times
    assert unpack(pack(rows), len(rows)) == rows


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 60))
def test_segments_cover_every_evaluated_position_once(size: int, prompt: int, output: int) -> None:
    length = evaluated_length(prompt, output)
    bounds = cut(size, length)
    assert [at for start, end in bounds for at in range(start, end)] == list(range(length))
    assert all(end - start == size for start, end in bounds[:-1])
    assert length == (prompt + output - 1 if output else 0)


# --- any change is another digest, or refused -------------------------------------------------------------------------


@given(st.integers(0, 2**20), st.integers(1, 255))
def test_a_flipped_byte_of_the_rows_changes_every_later_state(at: int, mask: int) -> None:
    whole = b"".join(CHUNKS)
    at %= len(whole)
    changed = whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]
    cuts = cut(2 * SIZE, len(whole))
    states = chain(FIELD.encoding, SIZE, len(whole) // 2, [changed[start:end] for start, end in cuts])
    same = [a == b for a, b in zip(states, STATES, strict=True)]
    assert same == [end <= at for _, end in cuts]


@given(st.integers(0, 2**20), st.integers(1, 255))
def test_a_flipped_byte_of_a_leaf_is_another_leaf(at: int, mask: int) -> None:
    body = bytes.fromhex(VECTORS["leaves"][1]["body"])
    leaf = make_leaves(FIELD, PROMPT, OUTPUT, STATES, [NO_GRAMMAR] * 3)[1]
    at %= len(body)
    changed = body[:at] + bytes([body[at] ^ mask]) + body[at + 1 :]
    assert len(body) == 216
    assert leaf.body(INTENT) == body
    assert hashlib.sha256(changed).digest() != hashlib.sha256(body).digest()


@pytest.mark.parametrize("which", ["token", "prompt", "state", "grammar", "encoding", "intent", "receipt", "salt"])
def test_everything_in_a_leaf_counts(which: str) -> None:
    salt = bytes(16)

    def hashes(**changed: Any) -> list[bytes]:
        prompt, output = list(PROMPT), list(OUTPUT)
        given_: dict[str, Any] = {"states": list(STATES), "grammar": [NO_GRAMMAR] * 3, "root": FIELD} | changed
        prompt[0] += changed.get("prompt", 0)
        output[-1] += changed.get("token", 0)
        leaves = make_leaves(given_["root"], prompt, output, given_["states"], given_["grammar"])
        bound, named = changed.get("intent", INTENT), changed.get("receipt", ID)
        return [leaf_hash(named, changed.get("salt", salt), leaf, bound) for leaf in leaves]

    changes: dict[str, tuple[dict[str, Any], int]] = {
        "token": ({"token": 1}, 2),
        "prompt": ({"prompt": 1}, 0),
        "state": ({"states": [STATES[0], bytes(32), STATES[2]]}, 1),
        "grammar": ({"grammar": [NO_GRAMMAR, b"\1" * 32, NO_GRAMMAR]}, 1),
        "encoding": ({"root": msgspec.structs.replace(FIELD, encoding={"kind": "scripted", "row": 3})}, 0),
        "intent": ({"intent": bytes(32)}, 0),
        "receipt": ({"receipt": bytes(16)}, 0),
        "salt": ({"salt": b"\1" * 16}, 0),
    }
    change, first = changes[which]
    plain, other = hashes(), hashes(**change)
    assert plain[:first] == other[:first]
    assert plain[first] != other[first]
    if which in ("token", "prompt", "intent", "receipt", "salt"):
        assert all(a != b for a, b in zip(plain[first:], other[first:], strict=True))


def test_states_depend_on_where_they_end() -> None:
    before, rows = first_state(FIELD.encoding), CHUNKS[0]
    states = {next_state(before, start, end, rows) for start, end in ((0, 8), (0, 9), (8, 16), (8, 0))}
    assert len(states) == 4


# --- bad input has one class of error ---------------------------------------------------------------------------------


@given(st.binary(max_size=400), st.integers(0, 64))
def test_arbitrary_bytes_unpack_to_what_was_asked_for_or_not_at_all(data: bytes, size: int) -> None:
    try:
        rows = unpack(data, size)
    except FormatError:
        return
    assert len(rows) == size


@given(st.integers(0, 2**20), st.integers(1, 255), st.booleans())
def test_a_damaged_pack_is_refused_or_has_the_length(at: int, mask: int, cut_off: bool) -> None:
    data = pack(CHUNKS[0])
    at %= len(data)
    changed = data[:at] if cut_off else data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
    try:
        rows = unpack(changed, len(CHUNKS[0]))
    except FormatError:
        return
    assert len(rows) == len(CHUNKS[0])
    assert not cut_off


def test_a_bomb_is_not_inflated() -> None:
    bomb = pack(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(FormatError):
        unpack(bomb, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_no_segment_is_larger_than_any_honest_one() -> None:
    with pytest.raises(FormatError, match="at most 268,435,456 bytes"):
        unpack(b"", MAX_SEGMENT_BYTES + 1)


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from([VECTORS["kv"]["encoding"], FIELD.encoding]),
    st.sampled_from(["kind", "layers", "k", "v", "row"]),
    _JSON,
)
def test_any_encoding_has_a_size_or_is_refused(plain: dict[str, Any], member: str, value: Any) -> None:
    try:
        size = row_bytes(plain | {member: value})
    except FormatError:
        return
    assert type(size) is int
    assert 0 < size <= 1 << 24


@given(st.lists(st.tuples(st.text(max_size=3), _JSON, st.text(max_size=70)), max_size=4))
def test_any_openings_are_refused_as_a_disclosure(openings: list[tuple[str, Any, str]]) -> None:
    value = copy.deepcopy(VECTORS["bundle"])
    value["disclosure"]["segments"] = [{"salt": s, "state": h, "grammar": g} for s, h, g in openings]
    try:
        bundle = read(value)
    except (FormatError, ValueError):
        return
    assert failed(bundle) == (["disclosure"] if openings else [])


@given(st.integers(0, 2), st.sampled_from(["salt", "state"]), st.integers(0, 2**10), st.characters(max_codepoint=126))
def test_a_changed_opening_is_not_believed(which: int, member: str, at: int, character: str) -> None:
    value = copy.deepcopy(VECTORS["bundle"])
    opening = value["disclosure"]["segments"][which]
    text = opening[member]
    at %= len(text)
    opening[member] = text[:at] + character + text[at + 1 :]
    assert failed(read(value)) == ([] if opening[member] == text else ["disclosure"])


@given(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))
def test_openings_round_trip(salt: str, state: str, grammar: str) -> None:
    opening = SegmentOpening(salt=salt, state=state, grammar=grammar)
    plain = msgspec.to_builtins(opening)
    assert msgspec.convert(plain, SegmentOpening) == opening
    assert ("grammar" in plain) == bool(grammar)


@pytest.mark.parametrize("short", [0, 1, 2, 4])
def test_leaves_of_another_number_of_segments_are_not_made(short: int) -> None:
    root = msgspec.structs.replace(FIELD, count=short)
    with pytest.raises(FormatError):
        make_leaves(root, PROMPT, OUTPUT, STATES[:short], [NO_GRAMMAR] * short)
    given_grammar = [NO_GRAMMAR] * short
    with pytest.raises(FormatError):
        make_leaves(FIELD, PROMPT, OUTPUT, STATES, given_grammar)


def test_the_largest_bundle_does_not_take_for_ever() -> None:
    """As many different tokens as a bundle may open, in the shortest segments: what a leaf costs must not grow."""
    tokens = list(range(1 << 17))
    bounds = cut(8, len(tokens))
    root = msgspec.structs.replace(FIELD, count=len(bounds))
    leaves = make_leaves(root, [1], tokens, [bytes(32)] * len(bounds), [NO_GRAMMAR] * len(bounds))
    assert leaves[-1].end == len(tokens)
    assert (
        decode_hex(leaves[-1].sampler.hex(), 32, "digest")
        == hashlib.sha256(b"verity/state-sampler/v1\0" + np.array(tokens, dtype=">u4").tobytes()).digest()
    )
