"""Rotation: a new key, a new log, and everything from before still good; recovery and revocation by the device."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import msgspec
import pytest
from in_process import REPLY, in_process
from memory_signer import MemorySigner

import verity
from verity.backup import restore
from verity.engines.scripted import ScriptedEngine
from verity.errors import LogError, StoreError, UsageError
from verity.identity.device_key import KEY_FILE, NEXT_KEY_FILE, DeviceKey
from verity.log.checkpoint import open_checkpoint, split
from verity.log.cosignature import cosign
from verity.log.note import COSIGNATURE, VerifierKey, with_lines
from verity.node import Node
from verity.recorder import read_entry
from verity.rotation import rotate
from verity.statements.bundle import Bundle
from verity.statements.dsse import Envelope
from verity.statements.key_events import (
    NAMED,
    ClosedLog,
    InLog,
    Recovery,
    Revocation,
    SignedEvent,
    Succession,
    read_event,
    seconds,
    sign_event,
)
from verity.statements.receipt import EPOCH
from verity.store.database import Database
from verity.verify.key_events import check_event
from verity.verify.operators import Operators
from verity.verify.policy import Expected, Policy
from verity.verify.report import Report
from verity.verify.verifier import verify

RECOVERY, SPARE = MemorySigner(b"r" * 32), MemorySigner(b"s" * 32)
WITNESS = MemorySigner(b"w" * 32)
TIME = "2026-01-01T00:00:00Z"
VKEY = VerifierKey("w.example/1", COSIGNATURE, WITNESS.public)
WITNESSES = Operators(operators={"Example": [str(VKEY)]})
MODEL = ScriptedEngine(REPLY).model["blake3"]


def reopen(home: Path) -> Node:
    return verity.open(home, engine=ScriptedEngine(REPLY))


def seen(note: str, time_s: int) -> str:
    """The note with the witness's line: it saw this head at that time."""
    said = split(note)[1]
    return str(with_lines(said, [cosign(said.body, VKEY.name, WITNESS, time_s)]))


def witnessed(bundle: Bundle, time_s: int) -> Bundle:
    log = msgspec.structs.replace(bundle.log, checkpoint=seen(bundle.log.checkpoint, time_s))
    return msgspec.structs.replace(bundle, log=log)


def dated(signed: SignedEvent, time_s: int) -> SignedEvent:
    assert isinstance(signed.log, msgspec.Struct)
    log = msgspec.structs.replace(signed.log, checkpoint=seen(signed.log.checkpoint, time_s))
    return msgspec.structs.replace(signed, log=log)


def judged(bundle: Bundle, key: str, *events: SignedEvent) -> Report:
    """By a stranger, who has one witness and knows these events."""
    expected = Expected(device=key, key_events=[check_event(event) for event in events])
    return verify(bundle, Policy(witnesses=WITNESSES), expected, in_process)


def statuses(report: Report) -> tuple[str, str]:
    return report.check("signed").status, report.check("key-current").status


def test_a_new_key_goes_on_and_the_old_log_ends(scripted: Node) -> None:
    before = scripted.ask("Before", max_tokens=4)
    old, head = scripted.key.id, open_checkpoint(scripted.log.checkpoint(), scripted.key.public)
    rotated = scripted.rotate()
    with reopen(scripted.home) as node:
        assert (rotated.old, rotated.new) == (old, node.key.id)
        assert old != node.key.id
        assert node.log.origin == rotated.log == f"verity/{node.key.id}/1"
        assert node.check_log() == node.log_of(0).check() == []
        assert node.log_of(0).origin == f"verity/{old}/0"
        last, first = node.log_of(0).entry(head.size), node.log.entry(0)
        assert read_entry(last)[1].predicateType == NAMED
        assert read_entry(first)[1].predicateType == EPOCH
        with pytest.raises(UsageError, match="no entry"):
            node.log_of(0).entry(head.size + 1)
        (event,) = node.keyring.file().events
        body = read_event(event.event).body
        assert isinstance(body, Succession)
        assert body.previous_log is not None
        assert (body.previous_log.origin, body.previous_log.size) == (head.origin, head.size)
        after = node.ask("After", max_tokens=4)
        for receipt, signed_by in ((before.receipt, old), (after.receipt, node.key.id)):
            report = verity.verify(node.exporter.bundle(receipt), key=signed_by, replayer=in_process)
            assert [c.name for c in (*report.failed, *report.unmade)] == ["engine"], str(report)
        known = judged(node.exporter.bundle(before.receipt), old, event)
        assert known.check("key-current").evidence["in_the_closed_log"] is True
        assert statuses(judged(node.exporter.bundle(after.receipt), old, event)) == ("passed", "not made")
        assert statuses(judged(node.exporter.bundle(after.receipt), old)) == ("failed", "not made")


def test_under_a_key_that_it_had_before_it_is_no_witness_of_its_own_log_either(scripted: Node) -> None:
    old = DeviceKey.load(scripted.home)
    first = VerifierKey("mill.example/1", COSIGNATURE, old.public)
    scripted.rotate()
    with reopen(scripted.home) as node:
        bundle = node.ask("After", max_tokens=4).bundle
        (event,) = node.keyring.file().events
    said = split(bundle.log.checkpoint)[1]
    log = msgspec.structs.replace(
        bundle.log, checkpoint=str(with_lines(said, [cosign(said.body, first.name, old, int(time.time()))]))
    )
    expected = Expected(device=old.id, key_events=[check_event(event)])
    policy = Policy(witnesses=Operators(operators={"Mill": [str(first)]}))
    check = verify(msgspec.structs.replace(bundle, log=log), policy, expected, in_process).check("witnessed")
    assert check.status == "not made"
    assert "the device itself" in check.sentence


def test_a_revocation_that_is_still_to_come_says_nothing_yet(scripted: Node) -> None:
    """Else a holder of the key could have `key-current` pass by it."""
    answer, later = scripted.ask("Before", max_tokens=4), "2999-01-01T00:00:00Z"
    event = SignedEvent(sign_event(scripted.key.id, Revocation("some day", later, later), [scripted.key]))
    bundle = witnessed(answer.bundle, int(time.time()))
    assert statuses(judged(bundle, scripted.key.id, event)) == ("passed", "not made")


def test_the_old_key_is_destroyed_or_kept(scripted: Node) -> None:
    was = (scripted.home / KEY_FILE).read_bytes()
    scripted.rotate()
    assert [p.name for p in scripted.home.iterdir() if p.is_file() and was in p.read_bytes()] == []
    assert not (scripted.home / NEXT_KEY_FILE).exists()
    with reopen(scripted.home) as node:
        second = node.key.id
        rotated = node.rotate(keep_old=True)
    assert rotated.kept is not None
    assert rotated.kept.name == f"device.key.old-{second[:8]}"
    assert rotated.kept.stat().st_mode & 0o777 == 0o600
    assert DeviceKey.load(scripted.home, rotated.kept.name).id == second


def test_the_bytes_of_a_destroyed_key_are_overwritten(scripted: Node) -> None:
    with (scripted.home / KEY_FILE).open("rb") as file:
        scripted.rotate()
        assert set(file.read()) == {0}


def test_a_node_that_is_open_meanwhile_signs_no_more(scripted: Node) -> None:
    with reopen(scripted.home) as other:
        other.rotate()
    with pytest.raises(LogError, match="goes on in epoch 1"):
        scripted.ask("Late", max_tokens=2)
    with pytest.raises(UsageError, match="passed on already"):
        scripted.rotate()
    with pytest.raises(LogError, match="goes on in epoch 1"):
        rotate(scripted.home, scripted._database, scripted.log, scripted.key, keep_old=False)
    assert not (scripted.home / NEXT_KEY_FILE).exists()


def test_not_while_an_answer_is_written(scripted: Node) -> None:
    key = (scripted.home / KEY_FILE).read_bytes()
    with reopen(scripted.home) as other:
        stream = scripted.stream("Why?", max_tokens=8)
        next(iter(stream))
        with pytest.raises(StoreError, match="being written"):
            other.rotate()
        assert (scripted.home / KEY_FILE).read_bytes() == key
        assert other.keyring.events() == []
        stream.close()
        other.rotate()


def test_what_was_promised_is_given_up(scripted: Node, tmp_path: Path) -> None:
    with reopen(tmp_path / "issuer") as issuer:
        late = issuer.issuer.issue("Why?", model=MODEL, late=True)
        signed = scripted.promise(late)
        issued = issuer.issuer.reveal(late, signed, scripted.key.id)
        other = issuer.issuer.issue("And?", model=MODEL, late=True)
        promised = scripted.promise(other)
        issuer.rotate()
    assert scripted.rotate().given_up == 2
    with reopen(scripted.home) as node, pytest.raises(UsageError, match="does not wait"):
        node.ask(request=issued)
    with reopen(tmp_path / "issuer") as issuer, pytest.raises(UsageError, match="not a request of this device"):
        issuer.issuer.reveal(other, promised, scripted.key.id)


def test_rotations_race(scripted: Node) -> None:
    """Two at once: one happens, and the device is whole."""
    nodes = [reopen(scripted.home) for _ in range(2)]
    outcomes: list[str] = []

    def run(home: Path) -> None:
        with reopen(home) as node:
            barrier.wait()
            try:
                outcomes.append(node.rotate().new)
            except (LogError, UsageError):
                outcomes.append("refused")

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=run, args=(scripted.home,)) for _ in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in nodes:
        each.close()
    assert outcomes.count("refused") == 1
    with reopen(scripted.home) as node:
        assert node.key.id in outcomes
        assert node.check_log() == []


def test_many_keys_and_receipts_of_each(scripted: Node) -> None:
    home, receipts, keys = scripted.home, [scripted.ask("0", max_tokens=2).receipt], [scripted.key.id]
    scripted.rotate()
    for number in range(3):
        with reopen(home) as node:
            receipts.append(node.ask(str(number), max_tokens=2).receipt)
            keys.append(node.key.id)
            node.rotate()
    with reopen(home) as node:
        events = node.keyring.file().events
        for receipt, key in zip(receipts, keys, strict=True):
            bundle = node.exporter.bundle(receipt)
            assert bundle.receipt.intent.device() == key
            assert statuses(judged(bundle, keys[0], *events)) == ("passed", "passed")
            report = verity.verify(bundle, home=home, replay=False)  # the device knows its earlier keys
            assert statuses(report) == ("passed", "passed")
        last = judged(node.exporter.bundle(node.ask("now", max_tokens=2).receipt), keys[1], *events)
        assert last.check("signed").evidence["successor_of"] == keys[1:]
        assert judged(node.exporter.bundle(receipts[0]), keys[1], *events).check("signed").status == "failed"


def test_since_a_head_of_the_old_key(scripted: Node) -> None:
    receipt = scripted.ask("Before", max_tokens=2).receipt
    kept = scripted.log.checkpoint()
    scripted.ask("More", max_tokens=2)
    old = scripted.key.id
    scripted.rotate()
    with reopen(scripted.home) as node:
        bundle = node.exporter.bundle(receipt, since=kept)
    report = verity.verify(bundle, key=old, checkpoint=kept, replay=False)
    assert report.check("consistent").status == "passed"


def test_backup_and_restore_of_a_device_that_rotated(scripted: Node, tmp_path: Path) -> None:
    before = scripted.ask("Before", max_tokens=2).receipt
    scripted.back_up(tmp_path / "early")
    old = scripted.key.id
    scripted.rotate()
    with reopen(scripted.home) as node:
        after = node.ask("After", max_tokens=2).receipt
        node.back_up(tmp_path / "late")
        events = node.keyring.file().events
        current = node.key.id
    notes, origin = restore(tmp_path / "late", tmp_path / "again")
    assert notes.device == current
    with reopen(tmp_path / "again") as node:
        assert node.log.origin == origin
        for receipt in (before, after):
            assert statuses(judged(node.exporter.bundle(receipt), old, *events))[0] == "passed"
        node.rotate()
    # What the early backup cannot know: that its key was passed on. Others do.
    restore(tmp_path / "early", tmp_path / "stale")
    with reopen(tmp_path / "stale") as node:
        assert node.key.id == old
        late = node.exporter.bundle(node.ask("Too late", max_tokens=2).receipt)
        assert statuses(judged(late, old, *events)) == ("passed", "failed")
        node.keyring.know(events)  # told, it knows
        assert node.keyring.standing().successor == current
        with pytest.raises(UsageError, match="passed on already"):
            node.rotate()


def test_a_backup_of_another_state_is_refused(scripted: Node, tmp_path: Path) -> None:
    with reopen(scripted.home) as stale:
        scripted.rotate()
        with pytest.raises((StoreError, LogError)):
            stale.back_up(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_crash_before_the_exchange_is_finished_by_whoever_comes_next(
    scripted: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = scripted.key.id
    monkeypatch.setattr("verity.rotation._take_place", lambda home: None)
    rotated = scripted.rotate()
    assert DeviceKey.load(scripted.home).id == old
    monkeypatch.undo()
    with reopen(scripted.home) as node:
        assert node.key.id == rotated.new == DeviceKey.load(scripted.home).id
        assert node.check_log() == []


def test_a_next_key_that_is_another_changes_nothing(scripted: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verity.rotation._take_place", lambda home: None)
    scripted.rotate()
    monkeypatch.undo()
    os.replace(scripted.home / NEXT_KEY_FILE, scripted.home / "elsewhere")
    DeviceKey.load(scripted.home, NEXT_KEY_FILE)
    before = (scripted.home / KEY_FILE).read_bytes()
    with reopen(scripted.home) as node, pytest.raises(LogError, match="does not verify"):
        node.check_log("") if node.log.size() else None
    assert (scripted.home / KEY_FILE).read_bytes() == before
    os.replace(scripted.home / "elsewhere", scripted.home / NEXT_KEY_FILE)
    with reopen(scripted.home) as node:
        assert node.check_log() == []


# --- recovery and revocation ------------------------------------------------------------------------------------------


def test_the_first_recovery_key_counts(scripted: Node) -> None:
    first = scripted.keyring.name_recovery(RECOVERY)
    assert scripted.keyring.name_recovery(RECOVERY) == first  # again: nothing new
    assert len(scripted.keyring.events()) == 1
    with pytest.raises(UsageError, match="already"):
        scripted.keyring.name_recovery(SPARE)
    scripted.keyring.name_recovery(SPARE, RECOVERY)
    assert scripted.keyring.standing().recovery == SPARE.public.hex()
    for event in scripted.keyring.file().events:
        assert isinstance(check_event(event).event.body, Recovery)


def test_a_stolen_key(scripted: Node, tmp_path: Path) -> None:
    """Named before, robbed, revoked, passed on by the recovery key: the thief's receipts fail, the owner's do not."""
    old = scripted.key.id
    scripted.keyring.name_recovery(RECOVERY)
    early = scripted.exporter.bundle(scripted.ask("Before the theft", max_tokens=2).receipt)
    naming = scripted.keyring.file().events[0]
    scripted.back_up(tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "thief")
    theft = "2026-11-20T00:00:00Z"
    with reopen(tmp_path / "thief") as thief:
        forged = thief.exporter.bundle(thief.ask("By the thief", max_tokens=2).receipt)
        thief.rotate()
    with reopen(tmp_path / "thief") as thief:
        theirs = thief.keyring.file(old).events[-1]
        passed_on = thief.exporter.bundle(thief.ask("By his new key", max_tokens=2).receipt)
    scripted.keyring.revoke(theft, "stolen with the laptop", RECOVERY)
    with pytest.raises(UsageError, match="revoked"):
        scripted.rotate()
    scripted.rotate(RECOVERY)
    with reopen(scripted.home) as node:
        events = node.keyring.file(old).events
        late = node.exporter.bundle(node.ask("By the owner", max_tokens=2).receipt)
    at = seconds(theft)
    known = [dated(naming, at - 50), *events[1:], dated(theirs, at + 5)]
    assert statuses(judged(witnessed(early, at - 10), old, *known)) == ("passed", "passed")
    assert statuses(judged(early, old, *known)) == ("passed", "failed")  # nobody saw it before the theft
    assert statuses(judged(witnessed(forged, at + 10), old, *known)) == ("passed", "failed")
    assert statuses(judged(forged, old, *known)) == ("passed", "failed")
    assert judged(passed_on, old, *known).check("signed").status == "failed"
    assert judged(late, old, *known).check("signed").status == "passed"
    # Who does not know when the recovery key was named trusts nobody new.
    doubtful = [naming, *known[1:]]
    assert judged(late, old, *doubtful).check("signed").status == "failed"


def test_a_lost_key(scripted: Node, tmp_path: Path) -> None:
    old, kept = scripted.key.id, scripted.log
    scripted.keyring.name_recovery(RECOVERY)
    receipt = scripted.ask("Before", max_tokens=2).receipt
    before = scripted.exporter.bundle(receipt)
    naming = scripted.keyring.file().events
    last = open_checkpoint(kept.checkpoint(), scripted.key.public)
    with reopen(tmp_path / "new") as node:
        with pytest.raises(UsageError, match="not known here"):
            node.keyring.recover(old, RECOVERY, last)
        node.keyring.know(naming)
        with pytest.raises(UsageError, match="not known here"):
            node.keyring.recover(old, SPARE, last)
        node.keyring.recover(old, RECOVERY, last)
        events = node.keyring.file(old).events
        assert len(events) == 2
        after = node.exporter.bundle(node.ask("After", max_tokens=2).receipt)
    assert statuses(judged(after, old, *events)) == ("passed", "not made")
    assert statuses(judged(before, old, *events)) == ("passed", "passed")
    beyond = scripted.exporter.bundle(scripted.ask("Found again?", max_tokens=2).receipt)
    assert statuses(judged(beyond, old, *events)) == ("passed", "not made")
    assert judged(beyond, old, *events).unmade[0].name == "key-current"


def test_revoking_is_for_what_has_happened(scripted: Node) -> None:
    with pytest.raises(UsageError, match="not over"):
        scripted.keyring.revoke("2999-01-01T00:00:00Z", "in advance")
    with pytest.raises(UsageError, match="does not hold"):
        scripted.keyring.revoke("2026-01-01T00:00:00Z", "another's", key="ab" * 32)
    scripted.keyring.revoke("2026-01-01T00:00:00Z", "lost")
    report = verity.verify(
        scripted.exporter.bundle(scripted.ask("After", max_tokens=2).receipt), home=scripted.home, replay=False
    )
    assert report.check("key-current").status == "failed"
    assert report.exit_code == 1


def test_what_is_known_is_kept_with_its_date(scripted: Node, tmp_path: Path) -> None:
    with reopen(tmp_path / "other") as other:
        other.keyring.name_recovery(RECOVERY)
        events = other.keyring.file().events
        key = other.key.id
    assert [new for _, new in scripted.keyring.know(events)] == [True]
    assert [new for _, new in scripted.keyring.know(events)] == [False]
    (kept,) = scripted.keyring.events()
    scripted.keyring.know([dated(events[0], 5)])  # under a head with a cosignature: another copy
    assert kept in scripted.keyring.events()
    scripted.keyring.know(events)
    assert len(scripted.keyring.events()) == 2
    assert scripted.keyring.standing(key).recovery == RECOVERY.public.hex()
    broken = msgspec.structs.replace(events[0], log=msgspec.UNSET)
    with pytest.raises(LogError, match="not shown"):
        scripted.keyring.know([broken])


def logged_again(device: Node, event: Envelope) -> SignedEvent:
    """What a holder of the device's key can do: name an event, whoever signed it, as its log's last entry."""
    named = {"event": {"sha256": read_event(event).digest, "type": read_event(event).type}, "time/started": TIME}
    index = device.recorder.declare(NAMED, "succession", named, shown=True)
    statement, checkpoint, proof = device.exporter.statement(index)
    return SignedEvent(event, InLog(checkpoint, proof, statement))


def end_of(device: Node) -> ClosedLog:
    head = open_checkpoint(device.log.checkpoint(), device.key.public)
    return ClosedLog(head.origin, head.root.hex(), head.size)


def test_a_succession_that_a_thief_had_dated_before_the_theft(scripted: Node, tmp_path: Path) -> None:
    """He signs it with keys of his own, lets a verifier know it, and adds the stolen key's signature afterwards."""
    scripted.ask("Before", max_tokens=2)
    old, thief = scripted.key, MemorySigner(b"t" * 32)
    body = Succession(end_of(scripted), thief.public.hex(), TIME)
    prepared = SignedEvent(sign_event(old.id, body, [thief, SPARE]))
    completed = logged_again(scripted, sign_event(old.id, body, [thief, old]))
    revoked = SignedEvent(sign_event(old.id, Revocation("stolen", "2026-02-01T00:00:00Z", TIME), [old]))
    with reopen(tmp_path / "verifier") as verifier:
        verifier.keyring.know([prepared])
        with Database.open(verifier.home) as database, database.transaction() as connection:
            connection.execute("UPDATE key_events SET known_at = '2026-01-15T00:00:00Z'")
        verifier.keyring.know([completed, revoked])
        assert verifier.keyring.standing(old.id).successor is None


def test_a_succession_is_proven_in_the_very_log_that_it_closes(scripted: Node) -> None:
    """A thief of a retired key logs its last entry in another history: that proves nothing of the one that ended."""
    scripted.ask("Before", max_tokens=2)
    successor, closed = MemorySigner(b"n" * 32), end_of(scripted)
    other = msgspec.structs.replace(closed, root="00" * 32)
    event = sign_event(scripted.key.id, Succession(other, successor.public.hex(), TIME), [scripted.key, successor])
    with pytest.raises(LogError, match="not the last entry of the log that it closes"):
        check_event(logged_again(scripted, event))


def test_a_damaged_event_is_not_taken_for_none(scripted: Node) -> None:
    scripted.keyring.revoke("2026-01-01T00:00:00Z", "lost")
    bundle = scripted.exporter.bundle(scripted.ask("After", max_tokens=2).receipt)
    with Database.open(scripted.home) as database, database.transaction() as connection:
        connection.execute("UPDATE key_events SET signed = x'00'")
    with pytest.raises(LogError, match="damaged"):
        verity.verify(bundle, home=scripted.home, replay=False)


def test_an_event_signed_by_hand_is_the_same(scripted: Node) -> None:
    """What the device says is what statements/key_events.py makes of the same bytes."""
    scripted.keyring.name_recovery(RECOVERY)
    event = scripted.keyring.file().events[0].event
    body = read_event(event).body
    assert sign_event(scripted.key.id, body, [RECOVERY, scripted.key]) == event
