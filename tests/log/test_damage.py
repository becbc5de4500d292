"""Logs that were damaged, cut back or rewritten."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from verity.errors import FormatError, LogError, SignatureError, UsageError
from verity.log import tree
from verity.log.checkpoint import Checkpoint, open_checkpoint, sign
from verity.log.device_log import DeviceLog, Draft
from verity.log.rows import Stored
from verity.statements.keys import Signer
from verity.statements.receipt import Place
from verity.store.database import Database

Build = Callable[[Place], Draft]
Inspect = Callable[[Stored, Place], str | None]
Grow = Callable[[DeviceLog, int], DeviceLog]


def execute(database: Database, statement: str, *values: Any) -> None:
    with database.transaction() as connection:
        connection.execute(statement, values)


def test_a_dropped_entry(database: Database, log: DeviceLog, build: Build, inspect: Inspect) -> None:
    execute(database, "DELETE FROM log_entries WHERE position = 3")
    assert log.check(inspect=inspect) == ["entry 3 is missing"]
    for call in (lambda: log.entry(3), lambda: list(log.entries()), lambda: log.prove(3)):
        with pytest.raises(LogError, match="entry 3 is missing"):
            call()
    execute(database, "DELETE FROM log_entries WHERE position >= 5")
    assert log.check() == ["entry 3 is missing", "entries 5 to 6 are missing"]
    with pytest.raises(LogError, match="entry 6 is missing"):
        log.append(build)


def test_an_edited_entry(database: Database, log: DeviceLog, inspect: Inspect) -> None:
    execute(database, "UPDATE log_entries SET entry = ? WHERE position = 2", bytes(32))
    problems = log.check(log.checkpoint(), inspect)
    assert problems[0] == "entry 2 is not the one in the log's tree"
    assert "entry 2 is not made of its envelope" in problems
    assert "entry 3 names another predecessor" in problems
    assert any(problem.startswith("the signed root is") for problem in problems)
    assert any(problem.startswith("the log was rewritten: at size 7") for problem in problems)
    with pytest.raises(LogError, match="is not the one in the log's tree"):
        log.prove(2)


@pytest.mark.parametrize("column", ["salt", "envelope"])
def test_an_edited_envelope_is_the_callers_to_find(
    database: Database, log: DeviceLog, column: str, inspect: Inspect
) -> None:
    execute(database, f"UPDATE log_entries SET {column} = x'00' WHERE position = 2")
    assert log.check() == []
    assert log.check(inspect=inspect) == ["entry 2 is not made of its envelope"]


def test_an_inspection_that_raises_is_a_problem(log: DeviceLog) -> None:
    def fail(stored: Stored, place: Place) -> str | None:
        raise FormatError("the envelope is not JSON")

    assert log.check(inspect=fail)[6] == "entry 6: the envelope is not JSON"


def test_swapped_entries(database: Database, log: DeviceLog, inspect: Inspect) -> None:
    for position, other in ((2, -2), (3, 2), (-2, 3)):
        execute(database, "UPDATE log_entries SET position = ? WHERE position = ?", other, position)
    problems = log.check(inspect=inspect)
    assert "entry 2 is not the one in the log's tree" in problems
    assert "entry 3 is not the one in the log's tree" in problems


def block(database: Database) -> bytes:
    """The hashes of the tree over seven leaves, which are one block: a leaf, a leaf, their parent, …"""
    with database.snapshot() as connection:
        [(level, position, hashes)] = connection.execute("SELECT level, position, hashes FROM log_blocks").fetchall()
    assert (level, position, len(hashes)) == (0, 0, (7 + 3 + 1) * 32)
    return bytes(hashes)


def rewrite(database: Database, hashes: bytes) -> None:
    execute(database, "UPDATE log_blocks SET hashes = ?", hashes)


def test_every_stored_hash_counts(database: Database, log: DeviceLog, build: Build) -> None:
    sound = block(database)
    for at in range(0, len(sound), 32):
        rewrite(database, sound[:at] + bytes(32) + sound[at + 32 :])
        [problem] = log.check()
        inner = at // 32 in (2, 5, 6, 9)  # the parents come after their right child
        assert ("level" if inner else "entry") in problem
        for shorter in (sound[:at], sound[: at + 31], sound[:at] + sound[at + 32 :]):
            rewrite(database, shorter)
            assert log.check()
            with pytest.raises(LogError):
                log.append(build)
    for more in (b"\0", bytes(32)):
        rewrite(database, sound + more)
        assert log.check() == ["the tree has hashes that belong to no entry: 1"]
        with pytest.raises(LogError, match="already holds hashes"):
            log.append(build)
    rewrite(database, sound)
    execute(database, "INSERT INTO log_blocks VALUES (0, 1, 0, ?)", bytes(32))
    assert log.check() == ["the tree has hashes that belong to no entry: 1"]


@pytest.mark.parametrize("change", [lambda h: h[: 6 * 32] + bytes(32) + h[7 * 32 :], lambda h: b"", lambda h: h[:-1]])
def test_a_damaged_tree_gives_no_proof_and_no_append(
    database: Database, log: DeviceLog, change: Callable[[bytes], bytes], build: Build
) -> None:
    rewrite(database, change(block(database)))
    calls: list[Callable[[], object]] = [
        lambda: log.prove(5),
        lambda: log.proofs([6]),
        lambda: log.prove_consistency(5),
        lambda: log.append(build),
    ]
    for call in calls:
        with pytest.raises(LogError):
            call()


def test_entries_outside_the_log(database: Database, log: DeviceLog, build: Build) -> None:
    for position, problem in ((7, "lies beyond the signed head, which counts 7"), (-1, "has position -1")):
        execute(database, "INSERT INTO log_entries VALUES (0, ?, ?, ?, ?)", position, bytes(32), bytes(16), b"")
        assert problem in log.check()[0]
        with pytest.raises(LogError, match="beyond its signed head"):
            log.append(build)
        execute(database, "DELETE FROM log_entries WHERE position = ?", position)
    assert log.check() == []


def truncate(database: Database, log: DeviceLog, size: int, signer: Signer) -> None:
    """What an owner who wants the last entries gone would do, with the key in hand."""
    with database.transaction() as connection:
        connection.execute("DELETE FROM log_entries WHERE position >= ?", (size,))
        kept = 2 * size - size.bit_count()  # the hashes of a tree, in the order in which they came to be
        connection.execute("UPDATE log_blocks SET hashes = substr(hashes, 1, ?)", (kept * 32,))
        rows = connection.execute("SELECT entry FROM log_entries ORDER BY position").fetchall()
        root = tree.root_of(tree.hash_leaf(entry) for (entry,) in rows)
        note = sign(Checkpoint(log.origin, size, root), signer)
        connection.execute("UPDATE log_heads SET size = ?, root = ?, checkpoint = ?", (size, root, note))


def test_a_kept_checkpoint_shows_a_log_cut_back(
    database: Database, log: DeviceLog, signer: Signer, inspect: Inspect
) -> None:
    kept = log.checkpoint()
    truncate(database, log, 5, signer)
    assert log.check(inspect=inspect) == []  # alone, it is a sound log
    assert log.check(kept) == ["the log was cut back: a kept checkpoint counts 7 entries, the log has 5"]


def test_a_kept_checkpoint_shows_a_log_rewritten(
    database: Database, log: DeviceLog, signer: Signer, grow: Grow
) -> None:
    kept = log.checkpoint()
    truncate(database, log, 4, signer)
    log.append(lambda place: Draft(bytes(32), bytes(16), b"another history"))
    grow(log, 4)
    assert log.check() == []
    [problem] = log.check(kept)
    old = open_checkpoint(kept, signer.public)
    assert problem.startswith(f"the log was rewritten: at size 7 its root was {old.root.hex()}, now ")


def test_a_kept_checkpoint_of_an_honest_log(log: DeviceLog, grow: Grow) -> None:
    kept = log.checkpoint()
    assert log.check(kept) == []
    assert grow(log, 9).check(kept) == []


def test_a_kept_checkpoint_and_a_gap(database: Database, log: DeviceLog) -> None:
    kept = log.checkpoint()
    execute(database, "DELETE FROM log_entries WHERE position = 0")
    assert log.check(kept) == [
        "entry 0 is missing",
        "the kept checkpoint, at size 7, cannot be compared, for entries before it are missing",
    ]


def test_a_kept_checkpoint_of_another_log(log: DeviceLog, signer: Signer, stranger: Signer) -> None:
    root = bytes(32)
    with pytest.raises(UsageError, match="is of the log"):
        log.check(sign(Checkpoint(log.origin[:-1] + "1", 3, root), signer))
    with pytest.raises(SignatureError):
        log.check(sign(Checkpoint(log.origin, 3, root), stranger))
    with pytest.raises(FormatError):
        log.check("not a checkpoint")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE log_heads SET size = 6",
        "UPDATE log_heads SET size = -1",
        "UPDATE log_heads SET root = zeroblob(32)",
        "UPDATE log_heads SET root = x''",
        "UPDATE log_heads SET origin = 'verity/other/0'",
        "UPDATE log_heads SET origin = CAST(x'ff' AS TEXT)",
        "UPDATE log_heads SET checkpoint = ''",
        "UPDATE log_heads SET checkpoint = CAST(x'ff00' AS TEXT)",
        "UPDATE log_heads SET checkpoint = replace(checkpoint, char(10) || '7', char(10) || '6')",
        "UPDATE log_heads SET checkpoint = checkpoint || char(10)",
        "DELETE FROM log_heads",
    ],
)
def test_a_damaged_head(database: Database, log: DeviceLog, change: str, build: Build, inspect: Inspect) -> None:
    kept = log.checkpoint()
    execute(database, change)
    assert log.check(kept, inspect)
    calls: list[Callable[[], object]] = [log.checkpoint, lambda: log.proofs([0]), lambda: log.append(build)]
    for call in calls:
        with pytest.raises(LogError) as caught:
            call()
        assert caught.value.hint


def test_a_head_of_another_device_or_epoch(
    database: Database, log: DeviceLog, signer: Signer, stranger: Signer, build: Build
) -> None:
    with pytest.raises(LogError, match="does not verify"):
        DeviceLog(database, stranger).append(build)
    execute(database, "UPDATE log_heads SET epoch = 1")
    with pytest.raises(LogError, match="holds the log"):
        DeviceLog(database, signer, epoch=1).append(build)


def test_an_epoch_that_is_over_takes_no_more_entries(
    database: Database, log: DeviceLog, signer: Signer, build: Build
) -> None:
    before = log.checkpoint()
    later = DeviceLog(database, signer, epoch=5)
    assert later.append(build) == 0
    with pytest.raises(LogError, match="goes on in epoch 5"):
        log.append(build)
    assert log.checkpoint() == before
    assert log.check() == later.check() == []
    assert (log.size(), later.size()) == (7, 1)


def test_compacted_entries_keep_their_leaves(database: Database, log: DeviceLog, inspect: Inspect) -> None:
    execute(database, "UPDATE log_entries SET salt = NULL, envelope = NULL WHERE position IN (1, 4)")
    assert log.check(None, inspect) == []
    log.prove(1)
    assert log.entry(4).envelope is None


def test_a_stale_head_is_put_back(database: Database, log: DeviceLog, build: Build) -> None:
    """An older head with a good signature, as from a restored file: the next append must not sign a second history."""
    with database.snapshot() as connection:
        stale = connection.execute("SELECT size, root, checkpoint FROM log_heads").fetchone()
    log.append(build)
    execute(database, "UPDATE log_heads SET size = ?, root = ?, checkpoint = ?", *stale)
    with pytest.raises(LogError, match="beyond its signed head"):
        log.append(build)
    assert "entry 7 lies beyond the signed head, which counts 7" in log.check()


@pytest.mark.parametrize("change", ["UPDATE log_heads SET size = 99", "UPDATE log_heads SET root = zeroblob(32)"])
def test_a_head_that_moves_during_an_append(database: Database, log: DeviceLog, change: str, build: Build) -> None:
    held: list[sqlite3.Connection] = []
    log.append(build, lambda connection, _index: held.append(connection))

    def meddle(place: Place) -> Draft:
        held[0].execute(change)
        return build(place)

    before = log.checkpoint()
    with pytest.raises(LogError, match="changed during an append"):
        log.append(meddle)
    assert log.checkpoint() == before
    assert log.check(before) == []


def test_a_head_that_appears_during_the_first_append(database: Database, signer: Signer, build: Build) -> None:
    log = DeviceLog(database, signer)

    def meddle(place: Place) -> Draft:
        database._connection.execute("INSERT INTO log_heads VALUES (0, 'x', 1, x'', '')")
        return build(place)

    with pytest.raises(LogError, match="changed during an append"):
        log.append(meddle)
    assert log.size() == 0


def test_problems_are_listed_up_to_a_number(
    database: Database, log: DeviceLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verity.log.audit.MAX_PROBLEMS", 3)
    execute(database, "UPDATE log_entries SET entry = x''")
    problems = log.check()
    assert len(problems) == 4
    assert problems[3] == "there are more problems than are listed here"
