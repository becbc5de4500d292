"""What a device keeps of its models' states: sealed, bounded, and closed for ever when the receipt is forgotten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import StoreError, UsageError
from verity.node import Node
from verity.statements.states import encode_states
from verity.store.states import States

SECRET = bytes(range(32))
CHUNKS = [b"the first chunk", b"the second", b"3"]
IDS = [f"{number:032x}" for number in range(4)]


@pytest.fixture
def states(tmp_path: Path) -> States:
    return States(tmp_path)


def file_of(folder: Path, receipt: str) -> Path:
    return folder / "states" / receipt


def test_what_is_kept_is_opened_again(states: States) -> None:
    states.keep(IDS[0], SECRET, CHUNKS)
    assert states.open(IDS[0], SECRET, None) == CHUNKS
    assert states.open(IDS[0], SECRET, 2) == CHUNKS[:2]
    assert states.open(IDS[0], SECRET, 0) == []
    assert states.open(IDS[1], SECRET, None) is None


def test_it_is_sealed_and_the_owners_alone(states: States, tmp_path: Path) -> None:
    states.keep(IDS[0], SECRET, CHUNKS)
    path = file_of(tmp_path, IDS[0])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert b"chunk" not in path.read_bytes()
    assert states.open(IDS[0], bytes(32), None) is None
    assert sorted(entry.name for entry in path.parent.iterdir()) == [IDS[0]]


def test_the_same_chunk_is_never_sealed_twice_alike(states: States, tmp_path: Path) -> None:
    """Another zlib packs the same rows in other bytes: under one key and one nonce, the two would tell each other."""
    written = []
    for _ in range(2):
        states.keep(IDS[0], SECRET, [b"the same", b"the same"])
        data = file_of(tmp_path, IDS[0]).read_bytes().partition(b"}\n")[2]
        written += [data[: len(data) // 2], data[len(data) // 2 :]]
    assert len({sealed[:12] for sealed in written}) == len({sealed[12:] for sealed in written}) == 4


def test_a_file_in_anothers_place_is_not_opened(states: States, tmp_path: Path) -> None:
    states.keep(IDS[0], SECRET, CHUNKS)
    data = file_of(tmp_path, IDS[0]).read_bytes()
    file_of(tmp_path, IDS[1]).write_bytes(data)
    assert states.open(IDS[1], SECRET, None) is None
    file_of(tmp_path, IDS[1]).write_bytes(data.replace(IDS[0].encode(), IDS[1].encode()))
    assert states.open(IDS[1], SECRET, None) is None


def test_chunks_in_each_others_place_are_not_opened(states: States, tmp_path: Path) -> None:
    states.keep(IDS[0], SECRET, [b"one", b"two"])
    data = file_of(tmp_path, IDS[0]).read_bytes().partition(b"}\n")[2]
    half = len(data) // 2
    file_of(tmp_path, IDS[0]).write_bytes(encode_states(IDS[0], [data[half:], data[:half]]))
    assert states.open(IDS[0], SECRET, None) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header", "folder"])
def test_a_damaged_file_is_as_none(damage: str, states: States, tmp_path: Path) -> None:
    states.keep(IDS[0], SECRET, CHUNKS)
    path = file_of(tmp_path, IDS[0])
    data = path.read_bytes()
    damaged = {"flip": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "empty": b"", "header": data[:20]}
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(damaged[damage])
    assert states.open(IDS[0], SECRET, None) is None
    if damage != "folder":
        states.keep(IDS[0], SECRET, CHUNKS)
        assert states.open(IDS[0], SECRET, None) == CHUNKS


def test_the_oldest_make_room(tmp_path: Path) -> None:
    states = States(tmp_path, limit=700)
    for number, receipt in enumerate(IDS):
        states.keep(receipt, SECRET, [b"a" * 100])
        os.utime(file_of(tmp_path, receipt), (number, number))
    kept = [receipt for receipt in IDS if states.open(receipt, SECRET, None) is not None]
    size = file_of(tmp_path, IDS[3]).stat().st_size
    assert kept == IDS[4 - 700 // size :]
    states.keep("f" * 32, SECRET, [b"a" * 1000])  # more than all that may be kept: nothing goes for it
    assert [receipt for receipt in IDS if states.open(receipt, SECRET, None) is not None] == kept
    assert states.open("f" * 32, SECRET, None) is None


def test_no_room_on_the_disk_leaves_nothing_behind(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="No space left"):
        states.keep(IDS[0], SECRET, CHUNKS)
    assert list((tmp_path / "states").iterdir()) == []


def test_an_answer_whose_states_cannot_be_kept_is_on_record(scripted: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("no room")

    monkeypatch.setattr(scripted.recorder.states, "keep", full)
    answer = scripted.ask("Why?", temperature=0.0)
    monkeypatch.undo()
    assert answer.finish == "end"
    assert scripted.check_log() == []
    assert scripted.states(answer.receipt)  # computed again


def test_what_is_forgotten_stays_closed(home: Path, tmp_path: Path) -> None:
    """A copy of the file from before, and of the whole folder, is of no use once the secret is gone."""
    with verity.open(home, engine=ScriptedEngine("Blue light is scattered more than red light.")) as node:
        answer = node.ask("Why is the sky blue?", temperature=0.0)
        kept = node.exporter.receipts.get(answer.receipt)
        secret, _ = node.exporter.receipts.private(kept)
        path = file_of(home, answer.receipt)
        copy = path.read_bytes()
        assert States(home).open(answer.receipt, secret, None)
        node.recorder.forget([answer.receipt])
        assert not path.exists()
        path.write_bytes(copy)
        with pytest.raises(UsageError):
            node.states(answer.receipt)
        found = [
            p
            for p in home.rglob("*")
            if p.is_file() and (secret in p.read_bytes() or secret.hex().encode() in p.read_bytes())
        ]
        assert found == []
