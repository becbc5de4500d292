"""``verity score`` as a user meets it: scores on stdout, the receipt on stderr, a bundle that verifies."""

from __future__ import annotations

import math
from pathlib import Path

from command import last_json, verity

SCRIPTED = ("--model", "scripted")


def test_a_line_for_each_token_and_one_receipt(home: Path) -> None:
    run = verity("score", "Why?", "--answer", "Th", "--chat", "--top", "2", *SCRIPTED, home=home)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == len("user: Why?\n") + len("Th") + 1 + 2  # the fake ends each text by a token of its own
    assert lines[0].strip() == "'u'"
    assert lines[11].endswith("'T'  *")
    assert [line.startswith("next ") for line in lines[-3:]] == [False, True, True]
    said = run.stderr.splitlines()
    assert said[0].startswith("the answer, from * on: log-probability -")
    assert said[1].startswith("receipt ")
    assert len(said) == 2


def test_json_bundle_and_show(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.verity.json"
    run = verity("score", "-", "--json", "--save", path, *SCRIPTED, home=home, stdin="one text")
    said = last_json(run)
    assert [t["text"] for t in said["tokens"]] == [*"one text", ""]
    assert (len(said["logprobs"]), len(said["candidates"]), said["start"]) == (8, 5, 1)
    assert math.isclose(said["logprob"], math.fsum(said["logprobs"]))
    assert math.isclose(said["perplexity"], math.exp(-said["logprob"] / 8))
    report = last_json(verity("verify", path, "--json", "--no-replay", home=home))
    assert [c["name"] for c in report["checks"] if c["status"] == "failed"] == ["engine"]
    shown = verity("show", path, home=home).stdout
    assert "8 log-probabilities" in shown
    assert "user: one text" in shown
    assert verity("show", home=home).stdout.rstrip().endswith("done  scoring")


def test_wrong_usage(home: Path, tmp_path: Path) -> None:
    missing = ("--save", tmp_path / "no/where.verity.json")
    for options in (("--top", "257"), ("--adapter", "a=b"), missing, ("--system", "a", "--raw")):
        run = verity("score", "a", *options, *SCRIPTED, home=home)
        assert run.returncode == 2, options
        assert run.stdout == ""
