"""Steps of a network replayed in a process of their own: honest ones, and files and receipts that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import networks
import numpy as np
import pytest
from forger import forge_inference
from in_process import on
from onnx import TensorProto, helper
from steps_of import OBS, changed, refused, verify

import verity
from verity.engines.onnx import OnnxNetwork
from verity.errors import EngineError, FormatError
from verity.node import Node
from verity.replayer import ProcessReplayer
from verity.store.blobs import Blobs
from verity.verify.policy import Policy


@pytest.fixture
def device(scripted: Node, tmp_path: Path) -> Node:
    """A device with a policy."""
    networks.store(scripted, networks.policy(), tmp_path)
    return scripted


def apart(node: Node, **options: Any) -> ProcessReplayer:
    return ProcessReplayer(node.blobs, node.numerics, limit_s=60, **options)


def test_honest_steps_replay_in_a_locked_process_with_any_threads(device: Node, tmp_path: Path) -> None:
    networks.store(device, networks.policy((64, 256, 256, 16), seed=3), tmp_path)
    networks.store(device, networks.operator("Log", ["x"], "y"), tmp_path, "log")
    chance = np.random.default_rng(1)
    obs = [{"obs": chance.standard_normal((n, 64)).astype(np.float32)} for n in (1, 1, 100, 7)]
    bundle = forge_inference(device, "policy", obs)
    for threads in (1, 2):
        report = verify(bundle, device, replayer=apart(device, threads=threads))
        assert refused(report) == set(), str(report)
        large = [{"x": np.abs(chance.standard_normal((513, 100)).astype(np.float32))}]
        parts = forge_inference(device, "log", large)
        assert refused(verify(parts, device, replayer=apart(device, threads=threads))) == set()
    lie = forge_inference(device, "policy", obs, steps=changed(2, flip=1599))
    check = verify(lie, device, replayer=apart(device, threads=2)).check("replayed-exact")
    assert (check.status, check.evidence["number"]) == ("failed", 1599)


def test_a_lie_in_a_number_that_json_does_not_hold(device: Node, tmp_path: Path) -> None:
    values = [networks.value(name, ["N"], TensorProto.INT64) for name in ("x", "y")]
    networks.store(
        device, networks.model([helper.make_node("Identity", ["x"], ["y"])], [values[0]], [values[1]]), tmp_path, "same"
    )
    lie = changed(0, data=np.array([-(2**63), 7], np.int64).tobytes())
    bundle = forge_inference(device, "same", [{"x": np.array([2**62, 7], np.int64)}], steps=lie)
    check = verify(bundle, device, replayer=apart(device)).check("replayed-exact")
    assert check.status == "failed", check
    assert (check.evidence["claimed"], check.evidence["replayed"]) == (str(-(2**63)), str(2**62))


def test_another_verifier_measures_for_itself(device: Node, tmp_path: Path) -> None:
    bundle = forge_inference(device, "policy", OBS)
    with verity.open(tmp_path / "other") as other:
        report = verify(bundle, device, replayer=apart(other))
        assert "is not here" in report.check("replayed-exact").sentence
        networks.store(other, networks.policy(), tmp_path)
        assert refused(verify(bundle, device, replayer=apart(other))) == set()
        blake3 = device.network("policy").model["blake3"]
        assert list(other.numerics.known(blake3).values()) == [device.network("policy").numerics]
        assert other.numerics.declared(blake3) == {}


def test_a_receipt_that_names_another_model(device: Node, tmp_path: Path) -> None:
    networks.store(device, networks.policy(seed=9), tmp_path, "other")
    named = device.network("other")
    for numerics in (device.network("policy").numerics, named.numerics):
        said = {"model": dict(named.model), "numerics": msgspec.to_builtins(numerics)}
        bundle = forge_inference(device, "policy", OBS, intent=lambda f, said=said: f.update(said))  # type: ignore[misc]
        report = verify(bundle, device, replayer=apart(device))
        assert "replayed-exact" in refused(report)
    assert report.check("replayed-exact").status == "failed"
    policy = msgspec.convert({"trust": {"models": [device.network("policy").model["sha256"]]}}, Policy)
    assert "model" in refused(verify(bundle, device, policy=policy))


def test_other_numerics_give_no_exact_replay(device: Node) -> None:
    other = {"exact": True, "fingerprint": "00" * 32}
    report = verify(forge_inference(device, "policy", OBS, intent=lambda f: f.update(numerics=other)), device,
                    replayer=apart(device))  # fmt: skip
    assert report.check("replayed-exact").status == "not made"
    assert "numerics differ" in report.check("replayed-exact").sentence


def test_a_network_that_draws_is_never_replayed_exactly(device: Node, tmp_path: Path) -> None:
    networks.store(device, networks.operator("RandomNormalLike", ["x"], "y"), tmp_path, "noise")
    made = device.infer("noise", {"x": np.ones((2, 2), np.float32)})
    assert made.grade == "signed, logged"
    report = verify(made.bundle, device, replayer=apart(device))
    assert report.check("replayed-exact").status == "not made"


HOSTILE: dict[str, bytes] = {
    "damaged": networks.policy()[:-40],
    "elsewhere": networks.with_external_data(Path(), "/etc/passwd"),
    "an unknown operator": networks.operator("Nonsense", ["obs"], "action"),
    "no graph": b"\x08\x09" + bytes(64),
    "endless nesting": b"\x08\x09\x42\x02\x10\x11" + b"\x3a\x05" * 50,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file(name: str, device: Node, tmp_path: Path) -> None:
    """It is put into the store by hand, under a digest that a receipt names: pulling it is refused before."""
    with pytest.raises((FormatError, EngineError)):
        device.network(networks.store(device, HOSTILE[name], tmp_path, "hostile-policy"))
    with device.blobs.temporary() as path:
        path.write_bytes(HOSTILE[name])
        blob = Blobs(device.home, device.blobs.database).adopt(path)
    said = {"name": "hostile", "blake3": blob.blake3, "sha256": blob.sha256, "size": blob.size}
    bundle = forge_inference(device, "policy", OBS, intent=lambda f: f.update(model=said))
    check = verify(bundle, device, replayer=apart(device)).check("replayed-exact")
    assert check.status == "not made", check
    assert len(check.sentence) < 1000


@pytest.mark.slow
def test_a_step_that_never_ends(device: Node, tmp_path: Path) -> None:
    """A loop of 2^62 rounds: the time is bounded."""
    data = endless()
    networks.store(device, data, tmp_path, "endless")
    replayer = ProcessReplayer(device.blobs, device.numerics, threads=1, limit_s=2)
    digests = device.blobs.resolve("endless")[1]
    said = {"name": "endless", "blake3": digests.blake3, "sha256": digests.sha256, "size": digests.size}
    bundle = forge_inference(device, "policy", OBS, intent=lambda f: f.update(model=said))
    check = verify(bundle, device, replayer=replayer).check("replayed-exact")
    assert (check.status, "after the 2 seconds" in check.sentence) == ("not made", True), check


def endless() -> bytes:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("Tanh", ["now"], ["then"]),
        ],
        "body",
        [value("round", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("now", 1, ["N", 8])],
        [value("goes", TensorProto.BOOL, []), value("then", 1, ["N", 8])],
    )
    nodes = [
        helper.make_node("Constant", [], ["rounds"], value_int=1 << 62),
        helper.make_node("Loop", ["rounds", "", "obs"], ["action"], body=body),
    ]
    return networks.model(nodes, [networks.value("obs", ["N", 8])], [networks.value("action", ["N", 8])])


def test_the_network_given_may_be_any_engine(device: Node, tmp_path: Path) -> None:
    """A verifier's own replayer, on a network from a file."""
    path = tmp_path / "policy.onnx"
    bundle = forge_inference(device, "policy", OBS)
    assert refused(verify(bundle, device, replayer=on(OnnxNetwork(path)))) == set()


@pytest.mark.parametrize("member", ["context", "engine"])
def test_what_the_process_finds_out_before_it_runs_anything(member: str, device: Node) -> None:
    edit: Any = {"graph_optimization": "none"} if member == "context" else {"name": "llama.cpp"}
    bundle = forge_inference(device, "policy", OBS, intent=lambda f: f[member].update(edit))
    check = verify(bundle, device, replayer=apart(device)).check("replayed-exact")
    assert check.status == "not made"
    assert ("context options" if member == "context" else "no replay is made of the engine") in check.sentence.lower()
