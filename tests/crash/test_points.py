"""Every durable write of every command: the process dies before it and after it, and nothing is lost or half believed.

The points of each scenario are held in an explicit list (crash_points.py): a command that gets a new durable write must
be given its points there, and so its tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash_points import POINTS
from crash_scenarios import ASK, PROMPT, SCENARIOS, Scenario, World
from crasher import Crasher, Ended
from crashing import DEAD
from device_state import PROMISED, assert_all_ended, assert_bundle, holds_bytes, look, open_node

from verity.store.bundles import read_bundle

WorldOf = Callable[[Scenario], World]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def _cases() -> list[Any]:
    """By default before every write, and after the last. After another is nearly before the next: that is slow."""
    cases = []
    for name, points in POINTS.items():
        for point in points:
            for when in ("before", "after"):
                slow = BY_NAME[name].slow or (when == "after" and point != points[-1])
                marks = [pytest.mark.slow] if slow else []
                cases.append(pytest.param(name, f"{point}/{when}", marks=marks, id=f"{name}-{point}/{when}"))
    return cases


@pytest.mark.parametrize(("name", "point"), _cases())
def test_a_crash_at_this_point(name: str, point: str, world_of: WorldOf, crasher: Crasher) -> None:
    scenario = BY_NAME[name]
    world = world_of(scenario)
    died = _run(scenario, world, crasher, point)
    assert died.code == DEAD, f"the point was not passed: {died}"
    before = scenario.done(world)  # fails by itself when it is there by half
    assert before or died.said is None, "success was reported and is not there"
    if scenario.ask_between:
        _ask_next(world, crasher)
    again = _run(scenario, world, crasher)
    if again.code == 2 and scenario.instead is not None:
        again = crasher.run(*scenario.instead(world), home=world.home)
    assert again.code == 0 or (before and again.code == 2), again.stderr
    assert scenario.done(world)
    if not scenario.ask_between:
        _ask_next(world, crasher)
    checked = crasher.run("log", "check", "--json", home=world.home)
    assert (checked.code, checked.said["problems"]) == (0, [])
    assert _leftovers(world) == []


def _run(scenario: Scenario, world: World, crasher: Crasher, point: str = "") -> Ended:
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(world.folder)}
    return crasher.run(*scenario.arguments(world), home=world.home, point=point, environment=environment)


def _ask_next(world: World, crasher: Crasher) -> None:
    """The next answer closes what died; the device is sound, and what was accepted is still there."""
    asked = crasher.run("ask", "Next?", *ASK, "--json", home=world.home)
    assert asked.code == 0, asked.stderr
    found = look(world.home, world.facts.get("checkpoint"))
    assert_all_ended(world.home, found)
    assert found.endings[asked.said["receipt"]] == ["length"]
    for name in world.facts.get("orphans", []):
        assert found.endings[name] == ["aborted"]
    for name in world.facts.get("promised", []):
        assert found.states[name] == PROMISED or found.endings[name] == ["length"]
    if "receipt" in world.facts and found.states[world.facts["receipt"]] == "forgotten":
        assert holds_bytes(world.home, PROMPT.encode()) == []
    elif "receipt" in world.facts:
        assert_bundle(read_bundle(world.file("kept.verity.json")), world.home)


def _leftovers(world: World) -> list[str]:
    """What a dead backup or restore left, once the command was given again: keys and databases; and steps that nothing
    opens any more."""
    left = [*world.folder.rglob(".backup-*/**/*"), *world.folder.rglob(".restoring-*/**/*")]
    left += world.folder.rglob(".release-*/**/*")
    with open_node(world.home) as node:
        known = {kept.id for kept in node.exporter.receipts.all() if kept.forgotten_at is None}
    left += [path for path in world.home.glob("steps/*") if path.name not in known]
    return [str(path) for path in left if path.is_file()]


@pytest.mark.parametrize(
    "scenario", [pytest.param(s, marks=[pytest.mark.slow] if s.slow else [], id=s.name) for s in SCENARIOS]
)
def test_the_list_has_every_durable_write(scenario: Scenario, world_of: WorldOf, crasher: Crasher) -> None:
    world = world_of(scenario)
    ended = _run(scenario, world, crasher, "list")
    assert ended.code == 0, ended.stderr
    assert ended.points == list(POINTS[scenario.name])
    assert scenario.done(world)


_NEVER_MISSED = ("answering", "tmp", "new")
_TEMPORARY = (".backup-", ".release-", ".restoring-", "new-", "wheel-")


@pytest.mark.parametrize(
    "scenario", [pytest.param(s, marks=[pytest.mark.slow] if s.slow else [], id=s.name) for s in SCENARIOS]
)
def test_a_power_cut_finds_contents_before_names(scenario: Scenario, world_of: WorldOf, crasher: Crasher) -> None:
    """What gets its name by rename or link was synced before, and its folder after, as are the folders of new folders:
    before the next transaction is durable, which may rely on it."""
    passed = _run(scenario, world_of(scenario), crasher, "list").passed
    assert passed
    for index, event in enumerate(passed):
        if event.point.startswith("states."):  # a cache: what is torn or gone is computed again (store/states.py)
            continue
        name = event.path.rpartition("/")[2]
        lasting = event.kind == "mkdir" and name not in _NEVER_MISSED and not name.startswith(_TEMPORARY)
        if event.kind in ("replace", "rename", "link"):
            assert event.inode in [e.inode for e in passed[:index] if e.kind.startswith("fsync")], event
        elif not lasting:
            continue
        until = next((n for n, e in enumerate(passed) if n > index and e.kind == "commit"), len(passed))
        assert event.folder in [e.inode for e in passed[index:until] if e.kind == "fsync-folder"], event


PAGE = Path(__file__).parents[2] / "docs/crashes.md"
HEADER = "| command | durable writes, in their order |"


def test_the_documentation_has_every_point(request: pytest.FixtureRequest) -> None:
    assert list(POINTS) == list(BY_NAME)
    rows = [f"| {s.does} | {' · '.join(f'`{p}`' for p in POINTS[s.name])} |" for s in SCENARIOS]
    table = "\n".join([HEADER, "|---|---|", *rows]) + "\n"
    before, _, shown = PAGE.read_text().partition(HEADER)
    if request.config.getoption("--write-tables"):
        PAGE.write_text(before + table)
        return
    assert HEADER + shown == table, "write it anew: pytest tests/crash -k documentation --write-tables"
