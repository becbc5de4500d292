"""``verity embed`` as a user meets it: vectors on stdout, the receipt on stderr, a bundle that verifies."""

from __future__ import annotations

import json
from pathlib import Path

from command import last_json, verity

SCRIPTED = ("--model", "scripted")


def test_a_vector_for_each_text_and_one_receipt(home: Path) -> None:
    run = verity("embed", "one text", "another", *SCRIPTED, home=home)
    assert run.returncode == 0, run.stderr
    vectors = [json.loads(line) for line in run.stdout.splitlines()]
    assert [len(vector) for vector in vectors] == [16, 16]
    assert abs(sum(x * x for x in vectors[0]) - 1) < 1e-6
    assert run.stderr.startswith("receipt ")
    assert run.stderr.count("\n") == 1


def test_lines_of_stdin(home: Path) -> None:
    run = verity("embed", "--json", "--pooling", "last", *SCRIPTED, home=home, stdin="one text\n\nanother\n")
    said = last_json(run)
    assert len(said["embeddings"]) == 2
    assert (said["tokens"], said["bundle"]) == (len("one text") + len("another") + 2, None)
    empty = verity("embed", *SCRIPTED, home=home, stdin="\n")
    assert empty.returncode == 2
    assert "1 to 2,048 texts" in empty.stderr


def test_bundle_show_and_forget(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.verity.json"
    said = last_json(verity("embed", "one text", "--json", "--save", path, *SCRIPTED, home=home))
    report = last_json(verity("verify", path, "--json", "--no-replay", home=home))
    assert [c["name"] for c in report["checks"] if c["status"] == "failed"] == ["engine"]
    shown = verity("show", path, home=home).stdout
    assert "1 vectors" not in shown
    assert "1 vector, base64 of float32" in shown
    assert "user: one text" in shown
    assert verity("show", home=home).stdout.rstrip().endswith("done  embedding")
    part = tmp_path / "part.verity.json"
    exported = verity("export", said["receipt"], "--output", "all", "--save", part, home=home)
    assert exported.returncode == 0, exported.stderr
    assert "the vector of a text that you withhold tells much of it" in exported.stderr
    assert last_json(verity("forget", said["receipt"], "--yes", "--json", home=home))["forgotten"] == 1
    assert last_json(verity("log", "check", "--json", home=home))["problems"] == []


def test_a_folder_that_is_not_there_is_told_before_the_work(home: Path, tmp_path: Path) -> None:
    run = verity("embed", "a", "--save", tmp_path / "no/where.verity.json", *SCRIPTED, home=home)
    assert run.returncode == 2
    assert not home.exists()
