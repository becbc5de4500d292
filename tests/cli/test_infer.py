"""``verity infer`` as a user meets it: outputs on stdout, the receipt on stderr, steps that are shown one by one."""

from __future__ import annotations

import json
from pathlib import Path

import networks
import numpy as np
import pytest
from command import last_json, verity

OBS = [[0.5] * 8]


@pytest.fixture
def policy(home: Path, tmp_path: Path) -> str:
    """The name of a network that the device has."""
    path = tmp_path / "policy.onnx"
    path.write_bytes(networks.policy())
    run = verity("pull", path, "--json", home=home)
    assert last_json(run)["name"] == "policy", run.stderr
    return "policy"


def test_a_step_for_each_file_and_one_receipt(home: Path, policy: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8), np.float32))
    np.savez(tmp_path / "b.npz", obs=np.ones((1, 8), np.float32))
    (tmp_path / "c.json").write_text(json.dumps({"obs": OBS}))
    files = [argument for name in ("a.npy", "b.npz", "c.json") for argument in ("--input", tmp_path / name)]
    bundle = tmp_path / "steps.verity.json"
    said = last_json(verity("infer", policy, *files, "--save", bundle, "--json", home=home))
    assert [np.array(step["action"]).shape for step in said["outputs"]] == [(2, 4), (1, 4), (1, 4)]
    assert (said["steps"], said["bundle"], said["grade"]) == (3, str(bundle), "signed, logged, replayable bit for bit")
    verified = last_json(verity("verify", bundle, "--key", said["device"], "--json", home=home))
    assert (verified["passed"], verified["exit_code"]) == (True, 0)

    one = tmp_path / "one.verity.json"
    exported = last_json(verity("export", said["receipt"], "--steps", 1, "--save", one, "--json", home=home))
    assert (exported["steps"], exported["withheld"]) == (1, [])
    report = last_json(verity("verify", one, "--key", said["device"], "--json", home=home))
    replayed = next(c for c in report["checks"] if c["name"] == "replayed-exact")
    assert (report["passed"], replayed["evidence"]["steps"], replayed["evidence"]["of"]) == (True, 1, 3)
    (step,) = last_json(verity("show", one, "--json", home=home))["steps"]
    assert (step["index"], step["inputs"]["obs"], step["outputs"]) == (1, [[1.0] * 8], said["outputs"][1])
    shown = verity("show", one, "--steps", home=home).stdout
    assert "1 step is opened" in shown
    assert "{'obs': [[1.0, 1.0" in shown
    assert "--steps lists them" in verity("show", one, home=home).stdout
    assert verity("show", home=home).stdout.rstrip().endswith("done  inference")
    assert "output/steps" in verity("show", said["receipt"], home=home).stdout


def test_lines_of_stdin(home: Path, policy: str) -> None:
    run = verity("infer", policy, home=home, stdin=f"{json.dumps(OBS)}\n\n{json.dumps({'obs': OBS})}\n")
    assert run.returncode == 0, run.stderr
    first, second = (json.loads(line) for line in run.stdout.splitlines())
    assert first == second
    assert run.stderr.startswith("receipt ")
    assert "of 2 steps" in run.stderr


def test_what_is_refused_is_refused_before_anything_is_on_record(home: Path, policy: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"obs": "blue"}')
    wrong = [
        (("infer", policy), "nothing to run"),
        (("infer", policy, "--input", tmp_path / "bad.json"), "is no array of float32"),
        (("infer", policy, "--input", tmp_path / "missing"), "cannot be read"),
        (("infer", "unknown", "--input", tmp_path / "bad.json"), "no model"),
        (("infer", policy, "--save", tmp_path / "no/where", "--input", tmp_path / "bad.json"), "no folder"),
        (("export", "abcdef", "--steps", "x", "--save", tmp_path / "a"), "names no steps"),
        (("export", "abcdef", "--steps", "3:3", "--save", tmp_path / "a"), "names no steps"),
        (("export", "abcdef", "--steps", "1", "--everything", "--save", tmp_path / "a"), "say what to open"),
        (("pull", tmp_path / "bad.json"), "not a GGUF model file"),
    ]
    for arguments, said in wrong:
        run = verity(*arguments, home=home, stdin="")
        assert (run.returncode, said in run.stderr) == (2, True), run.stderr
    assert last_json(verity("show", "--json", home=home))["receipts"] == []
    shape = verity("infer", policy, home=home, stdin="[[1.5, 2.5]]\n")
    assert shape.returncode == 2
    assert "the model takes N×8" in shape.stderr
    assert last_json(verity("log", "check", "--json", home=home))["problems"] == []
