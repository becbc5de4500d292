"""Documentation that cannot rot: what it names exists, and what exists is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import networks
import pytest

import verity
from verity.cli import VERBS
from verity.doctor import examination, host
from verity.engines.scripted import ScriptedEngine
from verity.verify.policy import CHECKS, read_policy
from verity.verify.report import Check, Report

ROOT = Path(__file__).parents[1]


def test_every_check_is_explained() -> None:
    text = (ROOT / "docs/verify.md").read_text()
    assert {name for name in CHECKS if f"`{name}`" not in text} == set()


def test_the_policy_in_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs/verify.md").read_text()
    block = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    path = tmp_path / "policy.toml"
    path.write_text(block.group(1))
    assert read_policy(path).pin["sampling/top_k"] == 40
    assert tomllib.loads(block.group(1))["trust"]["devices"]


def test_the_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text()
    assert {verb for verb in VERBS if f"verity {verb}" not in text} == set()


def test_every_check_of_the_doctor_is_explained_once() -> None:
    text = (ROOT / "docs/platforms.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (yes|no) \|", text, re.MULTILINE)
    assert rows == [(check.name, "yes" if check.needed else "no") for check in examination.CHECKS]


def test_every_platform_that_the_doctor_knows_is_described() -> None:
    text = (ROOT / "docs/platforms.md").read_text()
    assert {name for name in host.PLATFORMS.values() if f"| {name.replace(', ', ' | ')} |" not in text} == set()


def test_the_page_on_typed_output_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/typed-output.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("verity.request.DEFAULT_MAX_TOKENS", 4096)  # the fake writes at random, and a byte is a token
    with verity.open(home, engine=ScriptedEngine(context_size=1 << 14)) as node:
        names = {"node": node, "__name__": "page"}
        for block in blocks:
            exec(compile(block, "page", "exec", dont_inherit=True), names)
        assert isinstance(names["person"], names["Person"])  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "talk").iterdir())[0] == "001.verity.json"


def test_the_page_on_networks_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/onnx.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    with verity.open(home, engine=ScriptedEngine()) as node:
        networks.store(node, networks.policy(), tmp_path)
        names: dict[str, Any] = {"node": node, "__name__": "page"}
        for block in blocks:
            exec(compile(block, "page", "exec", dont_inherit=True), names)
        report = verity.verify(names["bundle"], key=node.key.id, home=home, threads=1)
    assert report.check("replayed-exact").sentence == "The 10 opened steps of 2500 came out again, bit for bit."
    assert (tmp_path / "one.verity.json").exists()


@pytest.mark.parametrize(
    "page", [p.relative_to(ROOT).as_posix() for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{page}: {target}"


def test_a_report_cannot_steer_the_readers_terminal() -> None:
    report = Report(
        checks=[Check("model", "failed", "a model named \x1b[2J\u202e")], required=[], receipt="", device=""
    )
    assert "\x1b" not in str(report)
    assert r"\x1b[2J\u202e" in str(report)
