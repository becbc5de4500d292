"""Processes of one device at once, some of them dying: a live answer is never closed by another, a dead one once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import asking
import pytest
from crash_scenarios import ASK
from crasher import Crasher
from crashing import DEAD
from device_state import OPEN, assert_all_ended, look, open_node, receipts_in

from verity.errors import StoreError
from verity.store.answering import Answering

DIES = ("recorder.begin/commit/after", "answering.hold/create/after", "recorder.finish/commit/before")


@pytest.fixture
def device(home: Path) -> Path:
    with open_node(home) as node:
        node.load()
    return home


@contextlib.contextmanager
def answering(home: Path, folder: Path, seconds_per_token: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that answers all the time; it is ended in the end."""
    command = [sys.executable, "-B", asking.__file__, str(home), str(folder), str(seconds_per_token)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def wait_for_open(home: Path) -> str:
    """The receipt that the other process is writing."""
    for _ in range(2000):
        if found := receipts_in(home, OPEN):
            return found[0]
    raise AssertionError("the other process began nothing")


@pytest.mark.parametrize("point", DIES)
def test_a_slow_answer_is_left_alone_while_others_die(
    device: Path, tmp_path: Path, crasher: Crasher, point: str
) -> None:
    with answering(device, tmp_path, 0.4) as slow:
        written = wait_for_open(device)
        for _ in range(3):
            assert crasher.run("ask", "Why?", *ASK, home=device, point=point).code == DEAD
            assert crasher.run("ask", "Next?", *ASK, home=device).code == 0
            assert receipts_in(device, OPEN) == [written]
        assert slow.stdout is not None
        assert slow.stdout.readline().split()[0] == written
    found = look(device)
    assert found.endings[written] == ["length"]
    assert sum(ended == ["aborted"] for ended in found.endings.values()) == (0 if "hold" in point else 3)


def test_many_ask_while_some_die(device: Path, tmp_path: Path, crasher: Crasher) -> None:
    with answering(device, tmp_path, 0.002) as one, answering(device, tmp_path, 0.003) as two:
        for point in DIES * 3:
            assert crasher.run("ask", "Why?", *ASK, home=device, point=point).code == DEAD
        one.kill()
        two.kill()
        reported = [line.split()[0] for p in (one, two) for line in p.communicate()[0].splitlines(keepends=True)
                    if line.endswith("\n")]  # fmt: skip
    assert crasher.run("ask", "Next?", *ASK, home=device).code == 0
    found = look(device)
    assert_all_ended(device, found)
    assert len(reported) > 1
    assert all(found.endings[receipt] == ["length"] for receipt in reported)
    aborted = sum(ended == ["aborted"] for ended in found.endings.values())
    assert 6 <= aborted <= 6 + 2


def test_one_orphan_found_by_many_is_closed_once(device: Path, crasher: Crasher) -> None:
    for _ in range(5):
        assert crasher.run("ask", "Why?", *ASK, home=device, point=DIES[0]).code == DEAD
    command = [sys.executable, "-B", "-c", "from verity.cli import main; main()", "ask", "Next?", *ASK]
    environment = {**os.environ, "VERITY_HOME": str(device)}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    found = look(device)
    assert_all_ended(device, found)
    assert sorted(finish for ended in found.endings.values() for finish in ended) == ["aborted"] * 5 + ["length"] * 4


def test_a_new_receipt_waits_for_whoever_looks_for_leftovers(home: Path) -> None:
    home.mkdir()
    locks = Answering(home)
    looking = locks.hold("ab" * 16)
    with pytest.raises(StoreError, match="being answered by another process"):
        locks.hold("ab" * 16)
    threading.Timer(0.2, looking.release).start()
    with locks.hold("ab" * 16, new=True):
        assert list(locks.leftovers()) == ["ab" * 16]
    assert list(locks.leftovers()) == []
