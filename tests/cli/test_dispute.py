"""``verity dispute``: two bundles in, a signed verdict out."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from command import last_json, verity

import verity as library
from liars import tell
from verity.engines.scripted import ScriptedEngine
from verity.node import Node
from verity.statements.states import encode_states
from verity.store import bundles

ASKED: dict[str, Any] = {"max_tokens": 40, "nonce": b"n" * 32, "temperature": 0.9}
PROMPT = "Why is the sky blue?"


def _saved(node: Node, bundle: library.Bundle, path: Path) -> Path:
    """A bundle beside its states, as they were committed."""
    bundles.save(bundle, path)
    receipt = library.verify(bundle, replay=False).receipt
    chunks = node.states.kept(receipt, [1 << 13])
    assert chunks is not None
    path.with_name(path.name.replace(".verity.json", ".verity.states")).write_bytes(encode_states(receipt, chunks))
    return path


@pytest.mark.model
@pytest.mark.slow
def test_a_dispute_of_the_real_model(model_home: Path, model_node: Node, tmp_path: Path) -> None:
    honest = model_node.ask(PROMPT, **ASKED).bundle
    lie = tell(model_node, "edited token", random.Random(1), PROMPT, honest=honest, **ASKED)
    assert lie is not None
    a = _saved(model_node, lie, tmp_path / "a.verity.json")
    b = _saved(model_node, honest, tmp_path / "b.verity.json")
    saved = tmp_path / "ab.verdict.json"
    run = verity("dispute", str(a), str(b), "--save", str(saved), "--threads", "1", "--json", home=model_home)
    assert run.returncode == 0, run.stderr
    said = last_json(run)
    assert (said["a"]["finding"], said["b"]["finding"], said["settled"]) == ("false", "holds", True)
    assert said["segment"] is not None
    read = verity("dispute", str(saved), "--referee", model_node.key.id, "--json", home=tmp_path / "reader")
    assert read.returncode == 0, read.stderr
    assert last_json(read)["findings"] == ["false", "holds"]
    other = verity("dispute", str(saved), "--referee", "ab" * 32, home=tmp_path / "reader")
    assert other.returncode == 1


def test_what_no_referee_can_replay_is_not_settled(tmp_path: Path) -> None:
    """The scripted engine is replayed by no process: the command says so, and signs that."""
    with library.open(tmp_path / "device", engine=ScriptedEngine("Blue light is scattered more.")) as node:
        honest = node.ask(PROMPT, **ASKED).bundle
        one = _saved(node, honest, tmp_path / "a.verity.json")
        lie = tell(node, "edited token", random.Random(1), PROMPT, honest=honest, **ASKED)
        assert lie is not None
        two = _saved(node, lie, tmp_path / "b.verity.json")
        other = _saved(node, node.ask("Why?", **ASKED).bundle, tmp_path / "c.verity.json")
    run = verity("dispute", str(one), str(two), "--json", home=tmp_path / "home")
    assert run.returncode == 3, run.stderr
    assert last_json(run)["a"]["finding"] == "undecided"
    different = verity("dispute", str(one), str(other), home=tmp_path / "home")
    assert different.returncode == 2
    assert "different requests" in different.stderr
    same = verity("dispute", str(one), str(one), home=tmp_path / "home")
    assert same.returncode == 2
    assert "the same" in same.stderr


@pytest.mark.parametrize("given", [["a.verity.json"], ["a.verity.json", "b.verity.json"]])
def test_what_is_missing_is_named(given: list[str], tmp_path: Path) -> None:
    run = verity("dispute", *(str(tmp_path / name) for name in given), home=tmp_path / "home")
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
