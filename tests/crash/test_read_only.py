"""A home that may not be written to: every verb that writes says so, and those that only read need none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import PROGRAM, last_json, verity
from crash_scenarios import ASK, SCENARIOS, SCRIPT, World

# Root too heeds permission bits once it has given up its capabilities (capset(2), version 3).
PLAIN_USER = (
    "import ctypes, struct\n"
    "assert ctypes.CDLL(None).capset(struct.pack('Ii', 0x20080522, 0), bytes(24)) == 0\n" + PROGRAM
)
DEVICE = next(scenario for scenario in SCENARIOS if scenario.name == "pull")
LATE = next(scenario for scenario in SCENARIOS if scenario.name == "restore")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="drops root's capabilities as Linux has them")


def as_plain_user(*arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    return verity(*arguments, "--json", home=home, program=PLAIN_USER)


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    return world_of(DEVICE)


@pytest.fixture
def read_only(world: World) -> Iterator[World]:
    """The device's home, its files and its folders without write permission."""
    paths = [world.home, *world.home.rglob("*")]
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(path.stat().st_mode & 0o555)
    yield world
    for path, mode in zip(paths, modes, strict=True):
        if path.exists():
            path.chmod(mode)


def assert_refused(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 1, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    said = last_json(run)
    assert said["exit_code"] == 1
    assert "VERITY_HOME" in said["hint"]


WRITING: dict[str, Callable[[World], list[str]]] = {
    "ask": lambda w: ["ask", "Why?", *ASK],
    "nonce": lambda w: ["nonce", "Why?", "--model", SCRIPT, "--save", str(w.file("r.request.json"))],
    "pull": lambda w: ["pull", str(w.file("small-model.gguf"))],
    "forget": lambda w: ["forget", w.facts["receipt"], "--yes"],
    "compact": lambda w: ["log", "compact"],
    "models check": lambda w: ["models", "check"],
    "models rm": lambda w: ["models", "rm", "mine"],
    "models gc": lambda w: ["models", "gc"],
    "backup": lambda w: ["backup", str(w.file("new.backup"))],
    "export": lambda w: ["export", w.facts["receipt"], "--nothing", "--save", str(w.file("public.verity.json"))],
}


@pytest.mark.parametrize("verb", WRITING)
def test_a_verb_that_needs_the_home_says_that_it_cannot_be_written(verb: str, read_only: World) -> None:
    assert_refused(as_plain_user(*WRITING[verb](read_only), home=read_only.home))


def test_restoring_where_nothing_may_be_made(world_of: Callable[..., World], tmp_path: Path) -> None:
    world = world_of(LATE)
    place = tmp_path / "place"
    place.mkdir(mode=0o555)
    assert_refused(as_plain_user(*LATE.arguments(world)[:2], "--home", place / "home", home=world.home))
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["verity.db", "device.key"])
def test_a_file_of_the_home_that_may_not_be_written(world: World, name: str) -> None:
    """The key is only read; the database is not."""
    (world.home / name).chmod(0o400)
    run = as_plain_user("ask", "Why?", *ASK, home=world.home)
    if name == "device.key":
        assert run.returncode == 0, run.stderr
    else:
        assert_refused(run)


def test_a_folder_of_the_home_that_may_not_be_written(world: World) -> None:
    (world.home / "blobs").mkdir(mode=0o555)
    assert_refused(as_plain_user("pull", world.file("small-model.gguf"), home=world.home))
    (world.home / "answering").chmod(0o555)
    assert_refused(as_plain_user("ask", "Why?", *ASK, home=world.home))
    (world.home / "answering").chmod(0o700)
    assert as_plain_user("ask", "Why?", *ASK, home=world.home).returncode == 0


def _only_read(world: World, home: Path) -> None:
    bundle = world.file("kept.verity.json")
    key = world.facts["key"]
    report = last_json(as_plain_user("verify", bundle, "--no-replay", "--key", key, home=home))
    status = {check["name"]: check["status"] for check in report["checks"]}
    assert [status[name] for name in ("signed", "logged", "disclosure")] == ["passed"] * 3
    shown = as_plain_user("show", bundle, home=home)
    assert shown.returncode == 0, shown.stderr
    assert last_json(shown)["receipt"] == world.facts["receipt"]
    checkpoint = world.file("checkpoint")
    checkpoint.write_text(world.facts["checkpoint"])
    assert as_plain_user("log", "compare", checkpoint, checkpoint, "--key", key, home=home).returncode == 0


def test_what_only_reads_works_in_a_read_only_home(read_only: World) -> None:
    before = sorted(read_only.home.rglob("*"))
    _only_read(read_only, read_only.home)
    assert sorted(read_only.home.rglob("*")) == before


def test_what_only_reads_works_without_a_home(world: World, tmp_path: Path) -> None:
    missing = tmp_path / "none" / "home"
    _only_read(world, missing)
    assert not missing.parent.exists()
