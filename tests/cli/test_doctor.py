"""``verity doctor`` as a user meets it: a line for everything, and an exit code that says whether to worry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import PROGRAM, last_json, verity

from verity.doctor.examination import CHECKS

WITHOUT_LLAMA = f"import sys; sys.modules['llama_cpp'] = None; {PROGRAM}"


def by_name(report: dict[str, list[dict[str, str]]]) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.model
def test_a_fresh_computer_is_ready_and_nothing_is_made(home: Path) -> None:
    run = verity("doctor", home=home)
    assert run.returncode == 0, run.stdout
    assert run.stderr == "everything that `ask` and `verify` need works\n"
    names = [line[17:].split()[0] for line in run.stdout.splitlines() if not line.startswith(" ")]
    assert names == [check.name for check in CHECKS]
    assert not home.exists()


@pytest.mark.model
def test_a_device_with_a_model(model_home: Path) -> None:
    before = {path.name for path in model_home.iterdir() if "verity.db-" not in path.name}
    run = verity("doctor", "--full", "--json", home=model_home)
    assert run.returncode == 0, run.stdout
    assert len(run.stdout.splitlines()) == 1
    report = last_json(run)
    assert report["works"]
    checks = by_name(report)
    assert checks["models"]["sentence"] == "smollm2-135m-instruct: every byte as it was"
    assert checks["numerics"]["status"] == "works"
    assert checks["build"]["status"] == "works"
    assert set(checks["key"]) == {"name", "status", "needed", "sentence", "hint"}
    assert {path.name for path in model_home.iterdir() if "verity.db-" not in path.name} == before


def test_without_llama_everything_else_is_examined(home: Path) -> None:
    run = verity("doctor", "--json", home=home, program=WITHOUT_LLAMA)
    assert run.returncode == 1
    report = last_json(run)
    assert (report["works"], report["exit_code"]) == (False, 1)
    checks = by_name(report)
    assert [name for name in checks if checks[name]["status"] == "does not work" and checks[name]["needed"]] == [
        "llama.cpp"
    ]
    assert "make setup" in checks["llama.cpp"]["hint"]
    assert checks["build"]["status"] == "note"


def test_what_does_not_work_comes_with_what_to_do(home: Path) -> None:
    assert verity("ask", "Why?", "--model", "scripted", home=home).returncode == 0
    (home / "device.key").write_text("nonsense")
    run = verity("doctor", home=home)
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if " key " in line)
    assert lines[at].startswith("✗ DOES NOT WORK  key")
    assert lines[at + 1].strip().startswith("restore it from a backup")
    assert run.stderr.startswith("`ask` and `verify` need: ")
    assert "key" in run.stderr


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run = verity("doctor", "--home", tmp_path / "file", "--json", home=tmp_path)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert by_name(json.loads(run.stdout))["home"]["status"] == "does not work"
