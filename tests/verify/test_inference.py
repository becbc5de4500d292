"""Lies of a key holder about the steps of a network, and edits of those who hold no key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import networks
import numpy as np
import pytest
from forger import forge, forge_embedding, forge_inference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import on
from steps_of import OBS, Edit, changed, exchanged, refused, verify

from tamper import edited, line
from verity import Selection
from verity.node import Node
from verity.statements.steps import Tensor


@pytest.fixture
def device(scripted: Node, tmp_path: Path) -> Node:
    """A device with a policy."""
    networks.store(scripted, networks.policy(), tmp_path)
    return scripted


def with_tensors(**parts: list[Tensor]) -> Edit:
    return lambda steps: [msgspec.structs.replace(steps[0], **parts), *steps[1:]]


def test_the_truth(device: Node) -> None:
    report = verify(forge_inference(device, "policy", OBS), device)
    assert refused(report) == set()
    for name in ("intent-first", "nonce", "seed-origin"):
        assert "not drawn at random" in report.check(name).sentence
    assert report.check("output").sentence == "There are 6 steps, of the form that the intent names."
    assert report.check("replayed-exact").sentence == "All 6 steps came out again, bit for bit."
    assert report.check("replayed-exact").evidence["of"] == 6


STEP_LIES: dict[str, tuple[Edit, str]] = {
    "one bit of an output": (changed(2, flip=3), "replayed-exact"),
    "one bit of an input": (changed(2, "inputs", flip=5), "replayed-exact"),
    "outputs exchanged": (exchanged("outputs"), "replayed-exact"),
    "inputs exchanged": (exchanged("inputs"), "replayed-exact"),
    "an output of another shape": (changed(0, shape=(2, 2)), "replayed-exact"),
    "an input of another shape": (changed(0, "inputs", shape=(8, 1)), "output"),
    "an input of another type": (changed(0, "inputs", dtype="int32"), "output"),
    "an output of another type": (changed(0, dtype="uint32"), "output"),
    "an input of another name": (changed(0, "inputs", name="obs2"), "output"),
    "no output": (with_tensors(outputs=[]), "output"),
    "no input": (with_tensors(inputs=[]), "output"),
}


@pytest.mark.parametrize("name", STEP_LIES)
def test_a_lie_in_a_step(name: str, device: Node) -> None:
    edit, caught = STEP_LIES[name]
    report = verify(forge_inference(device, "policy", OBS, steps=edit), device)
    assert caught in refused(report), str(report)
    alone = verify(forge_inference(device, "policy", OBS, steps=edit, opened=(1, 2)), device)
    assert refused(alone) == set(), "step 1 is honest, and can be shown alone"


def test_what_differs_is_named(device: Node) -> None:
    report = verify(forge_inference(device, "policy", OBS, steps=changed(2, flip=3)), device)
    check = report.check("replayed-exact")
    assert "output 'action' of step 2" in check.sentence
    assert (check.evidence["step"], check.evidence["number"]) == (2, 3)
    assert check.evidence["margin"] == abs(check.evidence["claimed"] - check.evidence["replayed"]) > 0


def test_numbers_that_are_none_are_told_apart_too(device: Node) -> None:
    for bits, number in ((0x7FC00000, "nan"), (0xFF800000, "-inf")):
        data = np.array([bits, 0, 0, 0], np.uint32).tobytes()
        check = verify(forge_inference(device, "policy", OBS[:1], steps=changed(0, data=data)), device).check(
            "replayed-exact"
        )
        assert (check.status, str(check.evidence["claimed"])) == ("failed", number)


def test_negative_zero_is_another_number(device: Node, tmp_path: Path) -> None:
    networks.store(device, networks.operator("Identity", ["x"], "y"), tmp_path, "same")
    replayer = on(device.network("same").network)
    lie = changed(0, data=np.array([-0.0], np.float32).tobytes())
    for steps, status in ((lambda steps: steps, "passed"), (lie, "failed")):
        bundle = forge_inference(device, "same", [{"x": np.zeros((1, 1), np.float32)}], steps=steps)
        assert verify(bundle, device, replayer=replayer).check("replayed-exact").status == status


FIELD_LIES: dict[str, tuple[str, Callable[[dict[str, Any]], None], str]] = {
    "another number of steps": ("result", lambda f: f["output/steps"].update(count=7), "disclosure"),
    "fewer steps": ("result", lambda f: f["output/steps"].update(count=5), "disclosure"),
    "minus one step": ("result", lambda f: f["output/steps"].update(count=-1), "disclosure"),
    "2^30 steps": ("result", lambda f: f["output/steps"].update(count=1 << 30), "disclosure"),
    "another root": ("result", lambda f: f["output/steps"].update(root="00" * 32), "disclosure"),
    "no root": ("result", lambda f: f.update({"output/steps": None}), "disclosure"),
    "another end": ("result", lambda f: f.update({"output/finish": "length"}), "output"),
    "no time": ("result", lambda f: f.update({"time/finished": "later"}), "replayed-exact"),
    "another input": ("intent", lambda f: f["inputs/0000"].update(name="x"), "output"),
    "another axis": ("intent", lambda f: f["inputs/0000"].update(shape=["N", 9]), "output"),
    "a free axis": ("intent", lambda f: f["inputs/0000"].update(shape=["N", "M"]), "replayed-exact"),
    "a text": ("intent", lambda f: f.update({"inputs/0000": {"type": "text", "content": "x"}}), "output"),
    "no output": ("intent", lambda f: f.update(outputs=[]), "output"),
    "an output twice": ("intent", lambda f: f.update(outputs=f["outputs"] * 2), "output"),
    "an unknown type": ("intent", lambda f: f["outputs"][0].update(dtype="float8"), "output"),
    "an adapter": ("intent", lambda f: f.update(adapters=[{}]), "replayed-exact"),
    "a later feature": ("intent", lambda f: f.update(batch={"root": "0"}), "replayed-exact"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELD_LIES)
def test_a_lie_in_a_field(name: str, device: Node) -> None:
    part, edit, caught = FIELD_LIES[name]
    lie: Any = {part: edit}
    report = verify(forge_inference(device, "policy", OBS, **lie), device)
    assert caught in refused(report), str(report)


REALS = st.floats(allow_nan=False, allow_infinity=False)
ATOMS = st.none() | st.booleans() | st.integers(-9, 2**53 - 1) | REALS | st.text(max_size=6)
NAMES = st.sampled_from(["count", "root", "name", "dtype", "shape", "type", "blake3"])
VALUES = st.recursive(ATOMS, lambda x: st.lists(x, max_size=3) | st.dictionaries(NAMES, x, max_size=4))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(["inputs/0000", "outputs", "output/steps", "output/finish"]), value=VALUES)
def test_any_value_makes_a_report(device: Node, field: str, value: Any) -> None:
    part = "result" if field.startswith("output/") else "intent"
    edit: Any = {part: lambda fields: fields.update({field: value})}
    bundle = forge_inference(device, "policy", OBS[:2], **edit)
    assert refused(verify(bundle, device)), (field, value)


@pytest.mark.parametrize("field", ["nonce", "seed", "template", "tokenizer", "output/text", "output/embeddings"])
def test_fields_of_another_kind_are_refused(field: str, device: Node) -> None:
    bundle = forge_inference(device, "policy", OBS, intent=lambda f: f.update({field: None}))
    assert "another kind" in verify(bundle, device).check("disclosure").sentence
    for other in (forge, lambda node, **edit: forge_embedding(node, ["a"], **edit)):
        told = other(device, intent=lambda f: f.update({"outputs": []}))
        assert "another kind" in verify(told, device).check("disclosure").sentence


# --- an outsider ------------------------------------------------------------------------------------------------------


def steps_of(plain: Any) -> Any:
    return plain["disclosure"]["steps"]


OUTSIDER: dict[str, Callable[[Any], Any]] = {
    "an element": lambda p: steps_of(p)[1]["outputs"][0].update(data=steps_of(p)[0]["outputs"][0]["data"]),
    "an input": lambda p: steps_of(p)[1]["inputs"][0].update(name="obs2"),
    "a type": lambda p: steps_of(p)[1]["inputs"][0].update(dtype="int32"),
    "a shape": lambda p: steps_of(p)[1]["inputs"][0].update(shape=[8, 2]),
    "two exchanged": lambda p: steps_of(p).__setitem__(slice(0, 2), steps_of(p)[1::-1]),
    "two renumbered": lambda p: (steps_of(p)[0].update(index=1), steps_of(p)[1].update(index=0)),
    "one twice": lambda p: steps_of(p).insert(1, steps_of(p)[0]),
    "one missing": lambda p: steps_of(p).pop(),
    "a note": lambda p: steps_of(p)[0].update(note="I was there"),
    "a salt": lambda p: steps_of(p)[0].update(salt=steps_of(p)[1]["salt"]),
    "all missing": lambda p: p["disclosure"].pop("steps"),
    "the root": lambda p: line(p, "output/steps")["value"].update(root="00" * 32),
    "a huge shape": lambda p: steps_of(p)[0]["inputs"][0].update(shape=[2**50, 2**50]),
    "not base64": lambda p: steps_of(p)[0]["inputs"][0].update(data="blue"),
    "a long name": lambda p: steps_of(p)[0]["inputs"][0].update(name="x" * 300),
}


@pytest.mark.parametrize("name", OUTSIDER)
def test_an_outsiders_edits(name: str, device: Node) -> None:
    for opened in (None, (0, 3)):
        bundle = forge_inference(device, "policy", OBS, opened=opened)
        assert refused(verify(edited(bundle, lambda plain: None), device)) == set()
        if name in ("one missing", "all missing") and opened is not None:
            continue  # whoever has three steps may pass on two
        report = verify(edited(bundle, OUTSIDER[name]), device)
        assert refused(report), str(report)


def test_part_of_the_steps(device: Node) -> None:
    bundle = forge_inference(device, "policy", OBS, opened=(2, 4))
    report = verify(bundle, device)
    assert refused(report) == set()
    assert report.check("output").evidence == {"steps": 6, "opened": 2, "finish": "end"}
    assert report.check("replayed-exact").sentence == "The 2 opened steps of 6 came out again, bit for bit."
    assert report.check("disclosure").evidence["steps_opened"] == 2
    one = verify(edited(bundle, lambda p: steps_of(p).pop(0)), device)
    assert one.check("replayed-exact").sentence == "The opened step of 6 came out again, bit for bit."
    none = verify(edited(bundle, lambda p: p["disclosure"].pop("steps")), device)
    assert {c.name for c in none.unmade} == {"output", "replayed-exact"}


def test_steps_of_another_receipt_do_not_fit(device: Node) -> None:
    first, second = (msgspec.json.decode(forge_inference(device, "policy", OBS).encode()) for _ in range(2))
    first["disclosure"]["steps"] = second["disclosure"]["steps"]
    assert "disclosure" in refused(verify(msgspec.json.encode(first), device))
    answer = msgspec.json.decode(device.ask("Why?", max_tokens=3).bundle.encode())
    answer["disclosure"]["steps"] = second["disclosure"]["steps"]
    assert "disclosure" in refused(verify(msgspec.json.encode(answer), device))


def test_withheld_fields_leave_the_checks_unmade(device: Node) -> None:
    receipt = verify(forge_inference(device, "policy", OBS), device).receipt
    for field, check in (("outputs", "output"), ("numerics", "replayed-exact"), ("inputs/*", "output")):
        names = [n for n in ("adapters", "batch", "context", "engine", "inputs/*", "model", "numerics", "outputs",
                             "previous_turn", "request", "retention", "time/*", "output/*") if n != field]  # fmt: skip
        bundle = device.exporter.bundle(receipt, Selection(fields=names, output=(0, 2)))
        report = verify(bundle, device)
        assert check in {c.name for c in report.unmade}
        assert report.failed == []
