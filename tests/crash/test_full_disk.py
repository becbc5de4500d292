"""A disk that is full: an error that says so, nothing lost or half believed, and all goes on when there is room again.

On a real small file system where the tests may mount one (root, Linux); everywhere, with files that may not grow
(RLIMIT_FSIZE), which SQLite and the file system report as they report a full disk.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import PROGRAM, last_json, verity
from crash_scenarios import SCENARIOS, World
from crasher import Crasher
from device_state import assert_all_ended, assert_bundle, look

from verity.store.bundles import read_bundle

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
NAMES = ["ask", "pull", "backup", "restore", "migrate"]
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); " + PROGRAM
ROOM = 8 << 20


def assert_refused(run: subprocess.CompletedProcess[str]) -> None:
    """A StoreError in words, with what to do, also as JSON."""
    assert run.returncode == 1, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert run.stderr.startswith("verity: ")
    said = last_json(run)
    assert said["exit_code"] == 1
    assert "room" in said["hint"] or "full" in said["hint"], said
    assert "full" in said["error"] or "space" in said["error"] or "large" in said["error"] or "I/O" in said["error"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, text=True)
    if not mounted or mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip() if mounted else 'no mount'}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Take up the room but for ``leave`` bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(max(shutil.disk_usage(disk).free - leave, 0)))
    return ballast


@pytest.mark.parametrize("name", NAMES)
def test_a_full_file_system(name: str, small_disk: Path, prepared: Callable[..., World], crasher: Crasher) -> None:
    scenario = BY_NAME[name]
    world = prepared(scenario).copy_to(small_disk / "world")
    arguments = scenario.arguments(world)
    ballast = fill(small_disk, 0)
    assert_refused(verity(*arguments, home=world.home))
    ballast.unlink()
    assert not scenario.done(world)
    assert_goes_on(name, world, crasher)


@pytest.mark.parametrize("name", ["first-ask", *NAMES])
def test_a_file_system_that_fills_at_any_moment(
    name: str, small_disk: Path, prepared: Callable[..., World], crasher: Crasher
) -> None:
    """With ever more room left, the command comes further and further before it is refused, and then is done."""
    scenario = BY_NAME[name]
    codes = []
    for leave in [n << 12 for n in (*range(0, 72, 6), 512)]:
        world = prepared(scenario).copy_to(small_disk / "world")
        arguments = scenario.arguments(world)
        ballast = fill(small_disk, leave)
        ended = crasher.run(*arguments, home=world.home)
        ballast.unlink()
        codes.append(ended.code)
        assert ended.code in (0, 1), ended.stderr
        assert "Traceback" not in ended.stderr
        assert scenario.done(world) == (ended.code == 0) or name == "migrate", leave
        if world.home.exists():
            look(world.home, world.facts.get("checkpoint"))
        shutil.rmtree(world.folder)
    assert codes[0] == 1
    assert codes[-1] == 0


def assert_goes_on(name: str, world: World, crasher: Crasher) -> None:
    """With room, the same command works, and the device is sound."""
    again = verity(*BY_NAME[name].arguments(world), home=world.home)
    assert again.returncode == 0, again.stderr
    assert BY_NAME[name].done(world)
    assert crasher.run("ask", "Next?", "--model", "scripted", home=world.home).code == 0
    found = look(world.home, world.facts["checkpoint"])
    assert_all_ended(world.home, found)
    assert_bundle(read_bundle(world.file("kept.verity.json")), world.home)


@pytest.mark.parametrize("name", NAMES)
def test_files_that_may_not_grow(name: str, world_of: Callable[..., World], crasher: Crasher) -> None:
    scenario = BY_NAME[name]
    world = world_of(scenario)
    arguments = scenario.arguments(world)
    assert_refused(verity(*arguments, home=world.home, program=LIMITED.format(24 << 10)))
    assert not scenario.done(world)
    assert_goes_on(name, world, crasher)
