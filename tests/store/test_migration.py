"""Databases of earlier schemas go on: their logs, receipts and proofs are what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import REPLY, in_process
from memory_signer import MemorySigner
from version_1 import make_version_1

import verity
from verity.engines.scripted import ScriptedEngine
from verity.log.device_log import DeviceLog, Draft
from verity.node import Node
from verity.store.database import Database


@pytest.fixture
def answers(home: Path) -> list[verity.Answer]:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        done = [node.ask("One", max_tokens=4), node.ask("Two", max_tokens=4)]
        begun = node.recorder.begin(_fields(node))  # its process dies
        begun.hold.release()
    make_version_1(home)
    return done


def _fields(node: Node) -> dict[str, object]:
    from verity.request import check_asked, intent_fields, make_request

    loaded = node.load()
    request = make_request(loaded.engine, check_asked("Three", sampling={}))
    return intent_fields(request, loaded.engine, loaded.model, loaded.numerics)


def test_everything_is_there_after_the_migration(home: Path, answers: list[verity.Answer]) -> None:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        assert node.log.size() == 6
        assert node.check_log(answers[1].bundle.log.checkpoint) == []
        states = [(kept.kind, kept.state) for kept in node.exporter.receipts.all()]
        assert states == [("generation", "done")] * 2 + [("generation", "open")]
        for answer in answers:
            again = node.exporter.bundle(answer.receipt)
            assert again.receipt == answer.bundle.receipt
            assert again.disclosure == answer.bundle.disclosure
            report = verity.verify(again, key=node.key.id, replayer=in_process, home=home)
            assert [c.name for c in (*report.failed, *report.unmade)] == ["engine"]
        node.ask("Four", max_tokens=4)  # closes the orphan first
        assert [kept.state for kept in node.exporter.receipts.all()] == ["done"] * 4
        assert node.log.size() == 9
        assert node.check_log() == []


def test_the_measured_numerics_are_kept(home: Path, answers: list[verity.Answer]) -> None:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        node.load()
        assert node.log.size() == 6  # nothing was declared again


def test_a_log_of_many_blocks_goes_on(home: Path) -> None:
    signer, draft = MemorySigner(bytes(32)), Draft(bytes(32), bytes(16), b"{}")
    with Database.open(home) as database:
        DeviceLog(database, signer).append_all([lambda _: draft] * 700)
        with database.snapshot() as connection:
            blocks = connection.execute("SELECT * FROM log_blocks ORDER BY 1, 2, 3").fetchall()
    make_version_1(home)
    with Database.open(home) as database:
        with database.snapshot() as connection:
            assert connection.execute("SELECT * FROM log_blocks ORDER BY 1, 2, 3").fetchall() == blocks
        log = DeviceLog(database, signer)
        assert log.append(lambda _: draft) == 700
        assert log.check() == []
