from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verity.errors import LogError, UsageError
from verity.log import tree
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.device_log import DeviceLog, Draft
from verity.log.rows import FIRST, Stored
from verity.statements.keys import Signer
from verity.statements.receipt import Place
from verity.store.database import Database

Build = Callable[[Place], Draft]
Inspect = Callable[[Stored, Place], str | None]
Grow = Callable[[DeviceLog, int], DeviceLog]


def test_an_empty_log(database: Database, signer: Signer) -> None:
    log = DeviceLog(database, signer)
    assert log.size() == 0
    assert list(log.entries()) == []
    assert log.check() == []
    assert log.prove_consistency(0) == []
    for call in (log.checkpoint, lambda: log.proofs([])):
        with pytest.raises(LogError, match="is empty"):
            call()
    with pytest.raises(UsageError):
        log.entry(0)


def test_places_chain_the_entries(database: Database, signer: Signer, build: Build, inspect: Inspect) -> None:
    log = DeviceLog(database, signer, epoch=3)
    places: list[Place] = []

    def keep(place: Place) -> Draft:
        places.append(place)
        return build(place)

    assert [log.append(keep) for _ in range(3)] == [0, 1, 2]
    assert log.origin == f"verity/{signer.public.hex()}/3"
    assert places[0] == Place(log.origin, 0, FIRST)
    assert places[2] == Place(log.origin, 2, tree.hash_leaf(log.entry(1).entry).hex())
    assert [stored.envelope for stored in log.entries()] == [build(place).envelope for place in places]
    assert log.check(inspect=inspect) == []


def test_every_head_and_proof_holds(database: Database, signer: Signer, build: Build) -> None:
    log = DeviceLog(database, signer)
    leaves: list[bytes] = []
    heads: list[Checkpoint] = []
    for index in range(20):
        log.append(build)
        leaves.append(tree.hash_leaf(log.entry(index).entry))
        heads.append(open_checkpoint(log.checkpoint(), signer.public))
        assert heads[-1] == Checkpoint(log.origin, index + 1, tree.root_of(leaves))
    for head in heads:
        tree.check_consistency(head.size, 20, head.root, heads[-1].root, log.prove_consistency(head.size))
        for index in range(head.size):
            tree.check_inclusion(index, head.size, leaves[index], log.prove(index, head.size), head.root)
    note, proofs = log.proofs([3, 19])
    assert note == log.checkpoint()
    assert proofs == {3: log.prove(3), 19: log.prove(19)}


def test_entries_are_read_in_pages(log: DeviceLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verity.log.device_log._PAGE", 3)
    assert [stored.index for stored in log.entries()] == list(range(7))
    assert [stored.index for stored in log.entries(2, 6)] == [2, 3, 4, 5]
    assert list(log.entries(5, 5)) == []
    assert next(log.entries(6)) == log.entry(6)


def test_also_is_in_the_same_transaction(database: Database, log: DeviceLog, build: Build) -> None:
    insert = "INSERT INTO models VALUES (?, 'b', 's', 't')"
    with database.transaction() as connection:
        connection.execute("INSERT INTO blobs VALUES ('b', 's', 1, 1, 1, 't')")

    def also(connection: sqlite3.Connection, index: int) -> None:
        connection.execute(insert, (f"at {index}",))
        if index == 8:
            raise UsageError("changed my mind")

    assert log.append(build, also) == 7
    with pytest.raises(UsageError, match="changed my mind"):
        log.append(build, also)
    with database.snapshot() as connection:
        assert connection.execute("SELECT name FROM models").fetchall() == [("at 7",)]
    assert log.size() == 8
    assert log.check() == []


def test_a_build_that_fails_leaves_no_trace(log: DeviceLog, build: Build) -> None:
    def fail(place: Place) -> Draft:
        raise ZeroDivisionError

    before = log.checkpoint()
    with pytest.raises(ZeroDivisionError):
        log.append(fail)
    for draft in (Draft(b"short", bytes(16), b""), Draft(bytes(32), bytes(15), b"")):
        with pytest.raises(UsageError):
            log.append(lambda _place, draft=draft: draft)  # type: ignore[misc]
    assert log.checkpoint() == before
    assert log.append(build) == 7


def test_what_the_log_does_not_have(log: DeviceLog, database: Database, signer: Signer) -> None:
    calls: list[Callable[[], object]] = [
        lambda: log.entry(7),
        lambda: log.entry(-1),
        lambda: log.entry(2**70),
        lambda: log.entries(-1),
        lambda: log.entries(0, 8),
        lambda: log.prove(7),
        lambda: log.prove(0, 8),
        lambda: log.prove(5, 5),
        lambda: log.proofs([0, 7]),
        lambda: log.prove_consistency(8),
        lambda: log.prove_consistency(3, 2),
        lambda: log.prove_consistency(-1),
        lambda: DeviceLog(database, signer, epoch=-1),
    ]
    for call in calls:
        with pytest.raises(UsageError):
            call()


def test_two_processes_cannot_fork_the_log(tmp_path: Path, inspect: Inspect) -> None:
    program = [sys.executable, str(Path(__file__).with_name("append_many.py")), str(tmp_path), "25"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([*program, "one"], **pipes) as one,
        subprocess.Popen([*program, "two"], **pipes) as two,
    ):
        assert one.stdout
        assert two.stdout
        assert one.stdout.readline() == two.stdout.readline() == "ready\n"
        for process in (one, two):
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        indices = [[int(index) for index in process.communicate(timeout=60)[0].split()] for process in (one, two)]
    assert one.returncode == two.returncode == 0
    assert sorted(indices[0] + indices[1]) == list(range(50))
    database = Database.open(tmp_path)
    log = DeviceLog(database, ZeroSigner())
    assert log.size() == 50
    assert log.check(inspect=inspect) == []
    database.close()


class ZeroSigner:
    """The key of append_many.py."""

    _key = Ed25519PrivateKey.from_private_bytes(bytes(32))

    @property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)
