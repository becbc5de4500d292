"""Every row of the tamper table is carried out, and docs/tamper.md says what came of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import tamper
from tamper import KEY_HOLDER, LIMIT, ROWS, Row, World
from verity.node import Node

HERE = Path(__file__).parent
HEADER = "| attack | adversary | verifier holds | what comes of it |"
PAGE = HERE.parents[1] / "docs/tamper.md"


def _load(name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


ROW_FILES = (
    "outsider_rows", "key_holder_rows", "scoring_rows", "typed_rows", "adapter_rows", "segment_rows", "inference_rows",
    "log_rows", "witness_rows", "key_rows", "hardware_rows", "release_rows",
)  # fmt: skip
for _name in ROW_FILES:
    _load(_name)


@pytest.fixture
def world(tmp_path: Path, scripted: Node) -> World:
    return World(tmp_path, scripted, None)


def promised(row: Row, world: World) -> bool:
    """Whether the attack, carried out, comes to what its row says."""
    wanted = "aborted" if row.caught == "aborted in the log" else row.caught
    return tamper.becomes(row.act(world), wanted)


@pytest.mark.parametrize("row", [r for r in ROWS if not r.real], ids=lambda r: r.name)
def test_row(row: Row, world: World) -> None:
    assert promised(row, world), row.caught


@pytest.mark.model
@pytest.mark.parametrize("row", [r for r in ROWS if r.real and not r.slow], ids=lambda r: r.name)
def test_row_with_the_real_model(row: Row, tmp_path: Path, scripted: Node, model_node: Node) -> None:
    assert promised(row, World(tmp_path, scripted, model_node)), row.caught


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("row", [r for r in ROWS if r.slow], ids=lambda r: r.name)
def test_slow_row_with_the_real_model(row: Row, tmp_path: Path, scripted: Node, model_node: Node) -> None:
    assert promised(row, World(tmp_path, scripted, model_node)), row.caught


def test_an_honest_receipt_is_caught_by_nothing(world: World) -> None:
    issued = world.request()
    answer = world.node.ask(request=issued)
    policy = {"require": {"checks": ["receipt", "signed", "logged", "intent", "disclosure", "output", "seed-origin"]}}
    for result in (world.verify(world.honest()), world.verify(answer.bundle, request=issued, policy=policy)):
        assert tamper.becomes(result, LIMIT), str(result)


def test_the_table_is_as_long_and_as_hard_as_it_should_be() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 45
    assert sum(row.adversary == KEY_HOLDER for row in ROWS) * 2 >= len(ROWS)


def table() -> str:
    """The rows as the documentation has them."""
    lines = [HEADER, "|---|---|---|---|"]
    lines += [f"| {r.name}: {r.attack} | {r.adversary} | {r.holds} | {r.verdict} |" for r in ROWS]
    return "\n".join(lines) + "\n"


def test_the_documentation_has_every_row(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text()
    before, _, shown = text.partition(HEADER)
    if request.config.getoption("--write-tables"):
        PAGE.write_text(before + table())
        return
    shown = HEADER + shown
    assert shown == table(), "write it anew: pytest tests/tamper -k documentation --write-tables"
