"""Sessions of a network on a device: what is on record however they end, and what may be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from sessions import check, obs, opened, run, steps

import verity
from verity import Selection
from verity.engines.network import to_array
from verity.errors import EngineError, FormatError, UsageError
from verity.node import Node
from verity.statements.bundle import MAX_BUNDLE_BYTES
from verity.statements.receipt import INFERENCE, INFERENCE_INTENT_FIELDS, INFERENCE_RESULT_FIELDS


@pytest.fixture
def device(scripted: Node, tmp_path: Path) -> Node:
    networks.store(scripted, networks.policy(), tmp_path)
    return scripted


def test_every_field_is_there_and_no_other(device: Node) -> None:
    with device.session("policy", show=["model"]) as session:
        outputs = run(session, 3)
    bundle = session.bundle()
    fields = opened(bundle)
    assert set(fields) == INFERENCE_INTENT_FIELDS | INFERENCE_RESULT_FIELDS | {"inputs/0000"}
    assert fields["inputs/0000"] == {"type": "tensor", "name": "obs", "dtype": "float32", "shape": ["N", 8]}
    assert (fields["output/finish"], fields["output/steps"]["count"]) == ("end", 3)
    for number, step in enumerate(steps(bundle)):
        assert np.array_equal(to_array(step.inputs[0]), obs(number)["obs"])
        assert np.array_equal(to_array(step.outputs[0]), outputs[number]["action"])
    assert check(bundle, device).passed
    assert session.grade == "signed, logged, replayable bit for bit"


def test_one_receipt_is_two_entries_in_the_log(device: Node) -> None:
    device.network("policy")
    before = device.log.size()
    with device.session("policy", flush_every=3) as session:
        run(session, 10)
        assert (session.steps, session.durable) == (10, 9)
    assert device.log.size() == before + 2
    assert device.check_log() == []
    assert device.exporter.receipts.get(session.receipt).kind == INFERENCE


def test_what_is_on_record_is_what_ran_and_not_what_became_of_it(device: Node) -> None:
    with device.session("policy") as session:
        given = obs(1)
        gave = session.run(given)["action"].copy()
        given["obs"][:] = 7
        session.run(obs(2))["action"][:] = 7
        session.run(given)
    found = steps(session.bundle())
    assert np.array_equal(to_array(found[0].inputs[0]), obs(1)["obs"])
    assert np.array_equal(to_array(found[0].outputs[0]), gave)
    assert not np.array_equal(to_array(found[1].outputs[0]), np.full((1, 4), 7))
    assert np.array_equal(to_array(found[2].inputs[0]), given["obs"])
    assert check(session.bundle(), device).passed


def test_any_step_can_be_shown_alone(device: Node) -> None:
    with device.session("policy", flush_every=7) as session:
        run(session, 40)
    for number in (0, 6, 7, 31, 39):
        bundle = session.bundle((number, number + 1))
        (step,) = steps(bundle)
        assert step.index == number
        assert np.array_equal(to_array(step.inputs[0]), obs(number)["obs"])
        report = check(bundle, device)
        assert report.passed
        assert "The opened step of 40" in report.check("replayed-exact").sentence
    with pytest.raises(UsageError, match="no range 40:41"):
        session.bundle((40, 41))
    with pytest.raises(UsageError, match="no range 0:0"):
        session.bundle((0, 0))
    whole = device.exporter.bundle(session.receipt, Selection(output=(1, 3)))
    assert [step.index for step in steps(whole)] == [1, 2]
    assert set(opened(whole)) == {"output/steps"}
    all_output = device.exporter.bundle(session.receipt, Selection(output=True))
    assert set(opened(all_output)) == {"output/steps", "output/finish"}
    assert len(steps(all_output)) == 40
    answer = device.ask("Why?", max_tokens=2)
    with pytest.raises(UsageError, match="no steps"):
        device.exporter.bundle(answer.receipt, Selection(steps=(0, 1)))


def test_notes(device: Node) -> None:
    with device.session("policy") as session:
        session.run(obs(0), note={"at": "2026-01-02T03:04:05Z", "reward": 0.5})
        session.run(obs(1))
        for wrong in (object(), float("nan"), "x" * 70_000, 1 << 60):
            with pytest.raises(FormatError):
                session.run(obs(2), note=wrong)
    assert [step.note for step in steps(session.bundle())] == [{"at": "2026-01-02T03:04:05Z", "reward": 0.5}, None]
    assert check(session.bundle(), device).passed


def test_a_step_that_is_refused_is_not_on_record(device: Node) -> None:
    with device.session("policy") as session:
        run(session, 2)
        refused: list[Any] = [{}, {"obs": [1.0]}, {"obs": np.zeros((1, 9), np.float32)}, {"obs": np.zeros((1, 8))}]
        for wrong in refused:
            with pytest.raises(UsageError):
                session.run(wrong)
        run(session, 1, 2)
    assert len(steps(session.bundle())) == 3


def test_two_inputs_in_the_networks_own_order(device: Node, tmp_path: Path) -> None:
    networks.store(device, networks.added(), tmp_path, "added")
    inferred = device.infer("added", {"right": np.ones(3, np.float32), "left": np.zeros((2, 3), np.float32)})
    (step,) = steps(inferred.bundle)
    assert [t.name for t in step.inputs] == ["left", "right"]
    assert [(t.name, t.dtype, t.data) for t in step.outputs][1] == ("above", "bool", b"\1" * 6)
    report = verity.verify(inferred.bundle, key=device.key.id, home=device.home, threads=1)
    assert report.passed, str(report)
    assert np.array_equal(inferred.outputs["sum"], np.ones((2, 3)))
    assert inferred.save(tmp_path / "a.verity.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("error", "finish"),
    [(KeyboardInterrupt(), "cancelled"), (ValueError(), "error"), (EngineError("it broke"), "error")],
    ids=["ctrl-c", "bug", "engine"],
)
def test_a_session_that_is_left_by_an_exception(error: BaseException, finish: str, device: Node) -> None:
    with pytest.raises(type(error)), device.session("policy") as session:  # noqa: PT012
        run(session, 5)
        raise error
    bundle = session.bundle()
    assert (opened(bundle)["output/finish"], len(steps(bundle))) == (finish, 5)
    report = check(bundle, device)
    assert report.passed
    assert "cut off, on the device's word" in report.check("output").sentence
    with pytest.raises(UsageError, match="over"):
        session.run(obs(0))
    session.close()


def test_a_session_that_nobody_closed_is_closed_with_its_device(tmp_path: Path) -> None:
    with verity.open(tmp_path / "home") as node:
        networks.store(node, networks.policy(), tmp_path)
        session = node.session("policy")
        run(session, 2)
        with pytest.raises(UsageError, match="no result"):
            session.bundle()
    with verity.open(tmp_path / "home") as node:
        assert opened(node.exporter.bundle(session.receipt))["output/finish"] == "cancelled"


def test_two_sessions_at_a_time(device: Node) -> None:
    with device.session("policy") as first, device.session("policy") as second:
        for number in range(6):
            (first, second)[number % 2].run(obs(number))
    assert [to_array(s.inputs[0])[0, 0] * 8 for s in steps(second.bundle())] == [1, 3, 5]
    assert check(first.bundle(), device).passed


def test_no_step_at_all(device: Node) -> None:
    with device.session("policy") as session:
        pass
    report = check(session.bundle(), device)
    assert report.failed == []
    assert "nothing to replay" in report.check("replayed-exact").sentence
    assert device.recorder.steps.names() == []


def test_what_is_refused(device: Node, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no field 'nonce'"):
        device.session("policy", show=["nonce"])
    with pytest.raises(UsageError, match="after every step at most"):
        device.session("policy", flush_every=0)
    with pytest.raises(verity.VerityError, match="nonsense"):
        device.session("nonsense")
    with verity.open(device.home) as other, pytest.raises(EngineError, match="not a GGUF"):
        other.ask("Why?", model="policy")
    assert list(device.exporter.receipts.all()) == []


def test_limits(device: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verity.inference.MAX_STEPS", 2)
    with device.session("policy") as session:
        run(session, 2)
        with pytest.raises(UsageError, match="at most 2 steps"):
            session.run(obs(2))
    with device.session("policy") as session, pytest.raises(UsageError, match="larger than"):
        session.run({"obs": np.zeros(((16 << 20) // 36, 8), np.float32)})
    assert len(steps(session.bundle())) == 0


def test_more_than_a_bundle_holds_is_opened_in_ranges(device: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    with device.session("policy") as session:
        for _ in range(3):
            session.run({"obs": np.zeros((300_000, 8), np.float32)})
    with pytest.raises(UsageError, match="3 steps do not fit into one bundle") as caught:
        session.bundle()
    assert "--steps A:B" in caught.value.hint
    assert len(session.bundle((1, 2)).encode()) < MAX_BUNDLE_BYTES
    monkeypatch.setattr("verity.steps.MAX_OPENED_STEPS", 2)
    with pytest.raises(UsageError, match="do not fit"):
        session.bundle((0, 3))
