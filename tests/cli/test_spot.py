"""`verity export --states` and `verity verify --spot`, on a tiny model and a real replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import last_json, verity
from gguf import tiny

LONG = "Why is the sky blue, and why is the evening sky red, and what of the green flash?"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device with a tiny model, and a bundle of an answer of it with its states beside it."""
    folder = tmp_path_factory.mktemp("spot")
    (folder / "tiny.gguf").write_bytes(tiny())
    done(verity("pull", folder / "tiny.gguf", home=folder / "home"))
    asked = verity("ask", LONG, "--model", "tiny", "--max-tokens", 40, "--threads", 1, "--json", home=folder / "home")
    receipt = last_json(done(asked))["receipt"]
    export = ("export", receipt, "--everything", "--states", "--save", folder / "a.verity.json", "--json")
    said = last_json(done(verity(*export, home=folder / "home")))
    assert said["states"] == str(folder / "a.verity.states")
    assert Path(said["states"]).stat().st_mode & 0o777 == 0o600
    (folder / "receipt").write_text(receipt)
    return folder / "home"


def done(run: Any) -> Any:
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def spotted(home: Path, *options: Any, bundle: str = "a.verity.json", **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and the check."""
    trusted = ("--model", digest(home), "--key", last_json(verity("device", "--json", home=home))["key"])
    command = ("verify", home.parent / bundle, *trusted, "--threads", 1, "--json", *options)
    run = verity(*command, home=home, **environment)
    return run.returncode, {check["name"]: check for check in last_json(run)["checks"]}


def digest(home: Path) -> str:
    return str(next(m["blake3"] for m in last_json(verity("models", "--json", home=home))["models"]))


@pytest.mark.model
def test_the_file_beside_the_bundle_is_taken(home: Path) -> None:
    code, checks = spotted(home, "--spot", 3)
    assert code == 0, checks
    found = checks["spot-checked"]
    assert (found["status"], len(found["evidence"]["segments"])) == ("passed", 3)
    assert checks["replayed-exact"]["status"] == "not made"
    code, checks = spotted(home, "--spot", 1, "--replay", "--states", home.parent / "a.verity.states")
    assert code == 0
    assert checks["replayed-exact"]["status"] == checks["spot-checked"]["status"] == "passed"


@pytest.mark.model
def test_without_the_file_the_check_is_not_made_and_says_what_to_do(home: Path) -> None:
    (home.parent / "b.verity.json").write_bytes((home.parent / "a.verity.json").read_bytes())
    code, checks = spotted(home, "--spot", 99, bundle="b.verity.json")
    assert (code, checks["spot-checked"]["status"]) == (3, "not made")
    assert "b.verity.states cannot be read" in checks["spot-checked"]["sentence"]
    assert "--everything --states" in checks["spot-checked"]["sentence"]


@pytest.mark.slow
@pytest.mark.model
def test_a_file_of_something_else_fails(home: Path) -> None:
    code, checks = spotted(home, "--spot", 99, "--states", home.parent / "a.verity.json")
    assert (code, checks["spot-checked"]["status"]) == (1, "failed")
    assert "not a file of states" in checks["spot-checked"]["sentence"]


@pytest.mark.slow
@pytest.mark.model
def test_a_server_that_is_not_there(home: Path) -> None:
    code, checks = spotted(home, "--spot", 99, "--states", "http://127.0.0.1:9")
    assert (code, checks["spot-checked"]["status"]) == (3, "not made")
    assert "could not be asked" in checks["spot-checked"]["sentence"]


@pytest.mark.model
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--states", "x.states"], "states are for a spot check"),
        (["--spot", "0"], "0"),
        (["--spot", "three"], "three"),
        (["--spot", "1", "--states", "http://example.org"], "in clear"),
    ],
)
def test_what_cannot_be_meant(options: list[str], said: str, home: Path) -> None:
    run = verity("verify", home.parent / "a.verity.json", *options, home=home)
    assert run.returncode == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.model
def test_from_a_pipe_the_states_must_be_named(home: Path) -> None:
    bundle = (home.parent / "a.verity.json").read_text()
    run = verity("verify", "-", "--spot", 1, home=home, stdin=bundle)
    assert run.returncode == 2
    assert "--states" in run.stderr


@pytest.mark.model
def test_states_go_with_everything_only(home: Path) -> None:
    receipt, path = (home.parent / "receipt").read_text(), home.parent / "c.verity.json"
    run = verity("export", receipt, "--output", "all", "--states", "--save", path, home=home)
    assert run.returncode == 2
    assert "--everything" in run.stderr
    assert not path.exists()


@pytest.mark.model
def test_a_receipt_without_segments_has_no_states_to_export(home: Path) -> None:
    run = verity("embed", "A text.", "--model", "tiny", "--threads", 1, "--json", home=home)
    receipt, path = last_json(done(run))["receipt"], home.parent / "d.verity.json"
    run = verity("export", receipt, "--everything", "--states", "--save", path, home=home)
    assert run.returncode == 2
    assert "commits to no segments" in run.stderr
