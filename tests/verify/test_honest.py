"""Honest generations with the real model: every one replays exactly. 200 of them run in benchmarks/receipts.py."""

from __future__ import annotations

from pathlib import Path

import pytest

import verity
from cases import MACHINES, Machine, honest_cases
from verity.node import Node
from verity.replayer import ProcessReplayer

COUNT = 15

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("generate", "replay"), MACHINES)
def test_honest_generations_replay_exactly(generate: Machine, replay: Machine, model_home: Path) -> None:
    cases = [case for case in honest_cases(COUNT) if case.generate == generate]
    assert len(cases) == COUNT // len(MACHINES)
    with verity.open(model_home, threads=generate.threads, micro_batch=generate.micro_batch) as node:
        apart = ProcessReplayer(node.blobs, node.numerics, threads=replay.threads, micro_batch=replay.micro_batch)
        with apart.together(len(cases)) as replayer:
            for case in cases:
                answer = node.ask(case.prompt, **case.options)
                report = verity.verify(answer.bundle, key=node.key.id, replayer=replayer, home=model_home)
                assert report.passed, f"{case}\n{report}"
                assert report.check("replayed-exact").status == "passed"


def test_one_prompt_is_beyond_a_thousand_tokens(model_node: Node) -> None:
    engine = model_node.load().engine
    longest = max(len(engine.tokenize(case.prompt)) for case in honest_cases(COUNT))
    assert longest > 1000


def test_two_devices(model_home: Path, model_path: Path, tmp_path: Path) -> None:
    """One home asks; another, with a key and a model of its own, verifies."""
    from verity.store.pull import pull

    with verity.open(model_home, threads=1) as owner:
        answer = owner.ask("Name a planet.", max_tokens=8)
        path, key = answer.save(tmp_path / "planet.verity.json"), owner.key.id
    with verity.open(tmp_path / "other") as other:
        assert other.key.id != key
        missing = verity.verify(path, key=key, home=other.home)
        assert missing.check("replayed-exact").status == "not made"
        assert "verity pull smollm2-135m-instruct" in missing.check("replayed-exact").sentence
        pull(str(model_path), other.blobs, name="smollm2-135m-instruct")
    unknown = verity.verify(path, home=tmp_path / "other", replay=False)
    assert unknown.check("signed").status == "not made"
    assert "unknown" in unknown.check("signed").sentence
    report = verity.verify(path, key=key, home=tmp_path / "other", threads=1)
    assert report.passed, str(report)
    stranger = verity.verify(path, key=other.key.id, home=tmp_path / "other", replay=False)
    assert [c.name for c in stranger.failed] == ["signed"]
