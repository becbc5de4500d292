"""The bytes of a step against the published vectors; round trips; and that no other bytes are read as a step."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.statements.make_step_vectors import vectors

from verity.errors import FormatError
from verity.log.tree import MemoryTree, check_inclusion, hash_leaf
from verity.statements.bundle import StepOpening, TensorOpening
from verity.statements.commitments import derive_salt
from verity.statements.steps import (
    DTYPES,
    MAX_STEP_BYTES,
    STEP_FIELD,
    Form,
    Step,
    Tensor,
    check_forms,
    check_step,
    commit_step,
    decode_step,
    encode_note,
    encode_step,
    tensor_head,
)
from verity.statements.strict import decode_base64, load

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/inference.json").read_text())
ID, SECRET = bytes.fromhex(VECTORS["receipt_id"]), bytes.fromhex(VECTORS["secret"])


def read(opening: Any) -> Step:
    """An opening as a bundle's reader takes it. Raises FormatError."""
    data = json.dumps(opening).encode()
    step = load(data, StepOpening, limit=1 << 20, what="step").step()
    check_step(step)
    encode_step(step)
    return step


def test_the_vectors_are_what_the_reference_makes() -> None:
    assert vectors() == VECTORS


@pytest.mark.parametrize("number", range(len(VECTORS["steps"])))
def test_published(number: int) -> None:
    case = VECTORS["steps"][number]
    step, data = read(case["opening"]), bytes.fromhex(case["bytes"])
    salt = derive_salt(SECRET, STEP_FIELD, number)
    assert encode_step(step) == data
    assert decode_step(number, data) == step
    assert (salt.hex(), decode_base64(case["opening"]["salt"], "salt")) == (case["salt"], salt)
    assert commit_step(ID, number, salt, data).hex() == case["data"]
    assert hash_leaf(commit_step(ID, number, salt, data)).hex() == case["leaf"]


def test_published_tree() -> None:
    tree = MemoryTree([bytes.fromhex(case["leaf"]) for case in VECTORS["steps"]])
    assert tree.root.hex() == VECTORS["root"]
    for opening in VECTORS["part"]:
        step = read(opening)
        leaf = hash_leaf(commit_step(ID, step.index, decode_base64(opening["salt"], "salt"), encode_step(step)))
        check_inclusion(step.index, tree.size, leaf, [bytes.fromhex(h) for h in opening["path"]], tree.root)


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["desc"])
def test_published_refusals(case: Any) -> None:
    with pytest.raises(FormatError):
        read(case["opening"])


@st.composite
def tensors(draw: st.DrawFn, name: str) -> Tensor:
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    count = DTYPES[dtype]
    for dimension in shape:
        count *= dimension
    elements = st.sampled_from(b"\0\1") if dtype == "bool" else st.integers(0, 255)
    return Tensor(name, dtype, shape, bytes(draw(st.lists(elements, min_size=count, max_size=count))))


NOTES = st.none() | st.booleans() | st.integers(-99, 99) | st.text(st.characters(codec="utf-8"), max_size=9)
NAMES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), unique=True, max_size=3)


@st.composite
def made_steps(draw: st.DrawFn) -> Step:
    parts = [[draw(tensors(name)) for name in draw(NAMES)] for _ in range(2)]
    return Step(draw(st.integers(0, 1 << 20)), parts[0], parts[1], draw(NOTES))


@given(made_steps())
def test_round_trip(step: Step) -> None:
    assert decode_step(step.index, encode_step(step)) == step
    opening = StepOpening(
        index=step.index,
        inputs=[TensorOpening.of(tensor) for tensor in step.inputs],
        outputs=[TensorOpening.of(tensor) for tensor in step.outputs],
        salt="",
        note=step.note,
    )
    assert read(msgspec.to_builtins(opening)) == step


@given(made_steps(), st.data())
def test_any_byte_changed_is_another_step_or_none(step: Step, data: st.DataObject) -> None:
    body = bytearray(encode_step(step))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_step(step.index, bytes(body))
    except FormatError:
        return
    assert other != step
    assert encode_step(other) == body


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    try:
        step = decode_step(0, data)
    except FormatError:
        return
    assert encode_step(step) == data


def test_a_step_that_promises_more_than_it_has() -> None:
    head = tensor_head("x", "float64", (1 << 40, 1 << 40))
    with pytest.raises(FormatError):
        decode_step(0, struct.pack(">H", 1) + head + bytes(64))


def test_limits() -> None:
    large = Tensor("x", "uint8", (MAX_STEP_BYTES,), bytes(MAX_STEP_BYTES))
    check_step(Step(0, [large], []))
    with pytest.raises(FormatError, match="at most 16,777,216 bytes"):
        check_step(Step(0, [large], [Tensor("y", "uint8", (1,), b"1")]))
    with pytest.raises(FormatError, match="at most 64 inputs"):
        check_step(Step(0, [Tensor(str(n), "bool", (), b"\0") for n in range(65)], []))
    with pytest.raises(FormatError, match="at most 65,536 bytes"):
        encode_note("x" * 65_535)
    with pytest.raises(FormatError, match="not valid Unicode"):
        tensor_head("\ud800", "bool", ())


def test_forms_that_no_network_has() -> None:
    good = Form(name="x", dtype="float32", shape=["N", None, 3])
    check_forms([good])
    wrong = [
        [],
        [good, good],
        [msgspec.structs.replace(good, dtype="string")],
        [msgspec.structs.replace(good, type="text")],
        [msgspec.structs.replace(good, shape=[-1])],
        [msgspec.structs.replace(good, shape=[1] * 17)],
        [msgspec.structs.replace(good, name="")],
        [Form(name=str(n), dtype="bool", shape=[]) for n in range(65)],
    ]
    for forms in wrong:
        with pytest.raises(FormatError):
            check_forms(forms)
