"""Backup and restore: a device goes on in a new epoch, and nothing that is no backup becomes one."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import REPLY, in_process

import verity
from verity.backup import restore
from verity.engines.scripted import ScriptedEngine
from verity.errors import FormatError, LogError, UsageError, VerityError
from verity.identity.tpm.chip import DEFAULT_TCTI
from verity.log.checkpoint import open_checkpoint
from verity.node import Node
from verity.store.database import Database


@pytest.fixture
def backup(scripted: Node, tmp_path: Path) -> Path:
    scripted.ask("Before", max_tokens=4)
    path = tmp_path / "device.backup"
    scripted.back_up(path)
    return path


def reopen(home: Path) -> Node:
    return verity.open(home, engine=ScriptedEngine(REPLY))


def test_a_restored_device_goes_on_in_a_new_epoch(scripted: Node, backup: Path, tmp_path: Path) -> None:
    before = scripted.ask("Before, and not in the backup", max_tokens=4)
    notes, origin = restore(backup, tmp_path / "new")
    assert (notes.device, notes.origin, notes.size) == (scripted.key.id, scripted.log.origin, 3)
    with reopen(tmp_path / "new") as node:
        assert node.key.id == scripted.key.id
        assert node.log.origin == origin != scripted.log.origin
        assert node.log_of(0).size() == 3
        assert node.check_log() == node.log_of(0).check() == []
        old = next(iter(node.exporter.receipts.all()))
        for receipt in (old.id, node.ask("After", max_tokens=4).receipt):
            report = verity.verify(node.exporter.bundle(receipt), key=node.key.id, replayer=in_process)
            assert [c.name for c in (*report.failed, *report.unmade)] == ["engine"], str(report)
        with pytest.raises(UsageError, match="no receipt"):
            node.exporter.bundle(before.receipt)
        with pytest.raises(LogError, match="goes on in epoch"):
            node.log_of(0).append(lambda place: pytest.fail("nothing is appended"))


def test_two_restores_of_one_backup_do_not_share_a_log(backup: Path, tmp_path: Path) -> None:
    origins = {restore(backup, tmp_path / name)[1] for name in ("one", "two")}
    assert len(origins) == 2


def test_the_new_epoch_names_the_old_log(backup: Path, tmp_path: Path, scripted: Node) -> None:
    restore(backup, tmp_path / "new")
    head = open_checkpoint(scripted.log.checkpoint(), scripted.key.public)
    with reopen(tmp_path / "new") as node, node._database.snapshot() as connection:
        (private,) = connection.execute("SELECT disclosure FROM receipts WHERE kind = 'epoch'").fetchone()
    said = json.loads(private)["intent"]["previous_log"]
    assert said == {"origin": head.origin, "size": head.size, "root": head.root.hex()}


def test_what_was_under_way_is_not_gone_on_with(scripted: Node, tmp_path: Path) -> None:
    model = ScriptedEngine(REPLY).model["blake3"]
    with verity.open(tmp_path / "issuer", engine=ScriptedEngine(REPLY)) as issuer:
        late = issuer.issuer.issue("Why?", model=model, late=True)
        signed = scripted.promise(late)
        scripted.back_up(tmp_path / "device")
        issuer.back_up(tmp_path / "issuer.backup")
        issued = issuer.issuer.reveal(late, signed, scripted.key.id)
    restore(tmp_path / "device", tmp_path / "device2")
    with reopen(tmp_path / "device2") as node, pytest.raises(UsageError, match="does not wait"):
        node.ask(request=issued)
    restore(tmp_path / "issuer.backup", tmp_path / "issuer2")
    with reopen(tmp_path / "issuer2") as issuer, pytest.raises(UsageError, match="did not issue"):
        issuer.issuer.reveal(late, signed, scripted.key.id)  # a second nonce could be another


def test_a_backup_says_neither_how_a_tpm_is_reached_nor_which_file_is_shown(scripted: Node, tmp_path: Path) -> None:
    """An address of a TPM may be a command (``cmd:…``) or a library, and the event log's file travels in bundles."""
    with Database.open(scripted.home) as database, database.transaction() as connection:
        connection.execute("INSERT INTO attestation_keys VALUES ('000b', x'01', x'02', 'ecc', '2026-01-01T00:00:00Z')")
        row = "cmd:touch /tmp/somewhere", "/etc/shadow", "2026-01-01T00:00:00Z"
        connection.execute("INSERT INTO hardware_record VALUES (1, '000b', x'7b7d', ?, ?, ?)", row)
    scripted.back_up(tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    with Database.open(tmp_path / "restored") as database, database.snapshot() as connection:
        found = connection.execute("SELECT tcti, event_log, record FROM hardware_record").fetchall()
    assert found == [(DEFAULT_TCTI, None, b"{}")]


def test_a_passphrase(scripted: Node, tmp_path: Path) -> None:
    scripted.ask("A secret question", max_tokens=4)
    path = tmp_path / "locked"
    scripted.back_up(path, "correct horse")
    assert path.read_bytes().startswith(b"age-encryption.org/v1")
    assert path.stat().st_mode & 0o777 == 0o600
    for wrong, error in ((None, UsageError), ("battery staple", FormatError)):
        with pytest.raises(error):
            restore(path, tmp_path / "new", wrong)
        assert not (tmp_path / "new").exists()
    assert restore(path, tmp_path / "new", "correct horse")[0].device == scripted.key.id


def test_nothing_is_overwritten(scripted: Node, backup: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there already"):
        scripted.back_up(backup)
    with pytest.raises(UsageError, match="not empty"):
        restore(backup, scripted.home)
    (tmp_path / "empty").mkdir()
    restore(backup, tmp_path / "empty")


def _rewritten(data: bytes, edit: Any) -> bytes:
    """The backup with members as ``edit`` leaves them in a dict."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    edit(members)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def _notes(members: dict[str, bytes], **changes: Any) -> None:
    members["backup.json"] = json.dumps(json.loads(members["backup.json"]) | changes).encode()


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.pop("device.key"),
        lambda m: m.update({"../../outside": b"x"}),
        lambda m: m.update({"device.key": m["device.key"][:-1]}),
        lambda m: m.update({"verity.db": m["verity.db"][:-1] + b"!"}),
        lambda m: m.update({"backup.json": b"{}"}),
        lambda m: m.update({"backup.json": b"x" * 100_000}),
        lambda m: _notes(m, format="verity-backup/9"),
        lambda m: _notes(m, device="ab" * 32),
        lambda m: _notes(m, files={}),
        lambda m: _notes(m, files={n: {"sha256": "ab" * 32, "size": -1} for n in ("device.key", "verity.db")}),
    ],
)  # fmt: skip
def test_what_is_no_backup(backup: Path, tmp_path: Path, edit: Any) -> None:
    path = tmp_path / "edited"
    path.write_bytes(_rewritten(backup.read_bytes(), edit))
    with pytest.raises(FormatError):
        restore(path, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".restoring")] == []


def test_a_bomb_is_not_unpacked_beyond_what_it_promises(backup: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    target = io.BytesIO()
    with zipfile.ZipFile(backup) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in old.infolist():
            archive.writestr(info.filename, old.read(info) if info.filename != "verity.db" else bytes(50_000_000))
    path.write_bytes(target.getvalue())
    with pytest.raises(FormatError, match="not as long"):
        restore(path, tmp_path / "new")


@given(data=st.data())
def test_damaged_backups_have_one_error(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "backup"
    path.write_bytes(_damaged(data))
    with pytest.raises(FormatError):
        restore(path, folder / "new")


_SOUND: list[bytes] = []


def _damaged(data: st.DataObject) -> bytes:
    if not _SOUND:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for name in ("backup.json", "device.key", "verity.db"):
                archive.writestr(name, b"{}" if name.endswith("json") else b"x" * 50)
        _SOUND.append(target.getvalue())
    content = bytearray(_SOUND[0])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    return bytes(content[: data.draw(st.integers(0, len(content)))])


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(VerityError, match="cannot be read"):
        restore(tmp_path / "missing", tmp_path / "new")


def test_a_flipped_byte_anywhere_is_refused_or_does_no_harm(backup: Path, tmp_path: Path, scripted: Node) -> None:
    """Some bytes of a ZIP file mean nothing; those of the compressed members are checked as they are unpacked."""
    data = backup.read_bytes()
    changed = tmp_path / "changed.backup"
    refused = 0
    for position in range(0, len(data), 97):
        changed.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        home = tmp_path / f"home-{position}"
        try:
            notes, _ = restore(changed, home)
        except FormatError:
            refused += 1
            assert not home.exists()
        else:
            assert notes.device == scripted.key.id
    assert refused > len(data) // 97 // 2
