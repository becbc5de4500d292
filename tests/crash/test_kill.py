"""Twenty real ``kill -9`` at moments drawn from a seed, on the disk: asking, pulling, backing up, migrating."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import asking
import crashing
import pytest
from command import verity
from crash_scenarios import PROMPT
from device_state import assert_all_ended, assert_bundle, look, open_node
from version_1 import make_version_1, version_of

from verity.backup import restore
from verity.store.bundles import read_bundle
from verity.store.schema import MIGRATIONS

SEED = 20261124
ASKING = 12
SIZE = 50_000_000


def run_until(seconds: float | None, *command: str | Path | float, home: Path) -> tuple[int, list[str], float]:
    """Run a program that says "ready" first, and kill it so long after. Its exit code, the lines that it wrote after
    that (a line that was cut is none), and how long it ran."""
    process = subprocess.Popen(
        [sys.executable, "-B", *map(str, command)],
        env={**os.environ, "VERITY_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    started = time.monotonic()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(signal.SIGKILL)
    ran = time.monotonic() - started
    said, _ = process.communicate(timeout=60)
    return process.returncode, said.splitlines()[: said.count("\n")], ran


def run_verity(seconds: float | None, *arguments: str | Path, home: Path) -> tuple[int, list[str], float]:
    return run_until(seconds, crashing.__file__, "ready", "--", *arguments, home=home)


@pytest.fixture(scope="module")
def home_with_an_answer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("killed") / "home"
    with open_node(home) as node:
        node.ask(PROMPT, temperature=0.0).save(home.parent / "kept.verity.json")
    return home


def test_answers_that_were_reported_stay_and_the_others_are_closed_once(tmp_path: Path, home: Path) -> None:
    moments = random.Random(SEED)
    aborted = 0
    with open_node(home) as node:
        node.load()
        checkpoint = node.log.checkpoint()
    for round_ in range(ASKING):
        moment = moments.uniform(0.02, 0.3)
        code, said, _ = run_until(moment, asking.__file__, home, tmp_path, 0.005, home=home)
        where = f"round {round_}, {moment:.4f} s after the first question (seed {SEED})"
        assert code == -signal.SIGKILL, where
        found = look(home, checkpoint)
        for line in said:
            receipt, path = line.split(" ", 1)
            assert found.endings[receipt] == ["length"], where
            assert read_bundle(path).receipt
        for saved in sorted(tmp_path.glob("*.verity.json"))[-2:]:
            assert_bundle(read_bundle(saved), home)
        with open_node(home) as node:
            node.ask("Next?", max_tokens=2)
            checkpoint = node.log.checkpoint()
        found = look(home, checkpoint)
        assert_all_ended(home, found)
        aborted = sum(ended == ["aborted"] for ended in found.endings.values())
    assert 0 < aborted <= ASKING


def _moments(count: int, whole_s: float) -> list[float]:
    """Spread over the time that the whole takes, each at a drawn place in its share of it."""
    draw = random.Random(SEED)
    return [whole_s * (n + draw.random()) / count for n in range(count)]


def test_a_pulled_file_is_there_whole_or_not_at_all(home_with_an_answer: Path, tmp_path: Path) -> None:
    file = tmp_path / "large.gguf"
    file.write_bytes(b"GGUF" + random.Random(SEED).randbytes(SIZE - 4))
    shutil.copytree(home_with_an_answer, tmp_path / "whole")
    code, _, whole_s = run_verity(None, "pull", file, home=tmp_path / "whole")
    assert code == 0
    home = tmp_path / "home"
    shutil.copytree(home_with_an_answer, home)
    killed = 0
    for moment in _moments(3, whole_s):
        code, said, _ = run_verity(moment, "pull", file, "--json", home=home)
        killed += code == -signal.SIGKILL
        look(home)
        with open_node(home) as node:
            assert all(node.blobs.check(model.blake3).size == SIZE for model in node.blobs.models())
            assert node.blobs.models() or not said
    assert killed > 0
    assert verity("pull", file, home=home).returncode == 0
    assert verity("models", "gc", "--json", home=home).returncode == 0
    assert [path for path in (home / "blobs").rglob("*") if path.is_file() and path.stat().st_size != SIZE] == []


@pytest.fixture(scope="module")
def large_home_of_version_1(home_with_an_answer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("version-1") / "home"
    shutil.copytree(home_with_an_answer, home)
    make_version_1(home, more_receipts=1500)
    return home


def test_a_migration_is_made_whole_or_not_at_all(
    large_home_of_version_1: Path, home_with_an_answer: Path, tmp_path: Path
) -> None:
    shutil.copytree(large_home_of_version_1, tmp_path / "whole")
    code, _, whole_s = run_verity(None, "device", home=tmp_path / "whole")
    assert code == 0
    killed = 0
    for number, moment in enumerate(_moments(2, whole_s)):
        home = tmp_path / f"home-{number}"
        shutil.copytree(large_home_of_version_1, home)
        code, _, _ = run_verity(moment, "device", home=home)
        killed += code == -signal.SIGKILL
        assert version_of(home) in (1, len(MIGRATIONS))
        look(home)
        assert version_of(home) == len(MIGRATIONS)
        assert_bundle(read_bundle(home_with_an_answer.parent / "kept.verity.json"), home)
    assert killed > 0


def test_a_backup_is_there_whole_or_not_at_all(
    large_home_of_version_1: Path, home_with_an_answer: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(large_home_of_version_1, home)
    code, _, whole_s = run_verity(None, "backup", tmp_path / "first.backup", home=home)
    assert code == 0
    killed = 0
    for number, moment in enumerate(_moments(3, whole_s)):
        path = tmp_path / f"{number}.backup"
        code, said, _ = run_verity(moment, "backup", path, "--json", home=home)
        killed += code == -signal.SIGKILL
        assert path.exists() or not said
        look(home)
        if path.exists():
            restore(path, tmp_path / f"restored-{number}")
            assert_bundle(read_bundle(home_with_an_answer.parent / "kept.verity.json"), tmp_path / f"restored-{number}")
    assert killed > 0
    assert verity("backup", tmp_path / "last.backup", home=home).returncode == 0
    assert list(tmp_path.glob(".backup-*")) == []
