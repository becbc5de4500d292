"""The steps of a session on the disk: sealed, forgotten with their receipt, and not lost when the process dies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import networks
import numpy as np
import pytest
from sessions import check, opened, run, steps

import verity
from verity import Selection
from verity.errors import LogError, StoreError, UsageError
from verity.node import Node
from verity.store.steps import Steps, StepWriter


@pytest.fixture
def device(scripted: Node, tmp_path: Path) -> Node:
    networks.store(scripted, networks.policy(), tmp_path)
    return scripted


def step_file(node: Node, receipt: str) -> Path:
    return node.home / "steps" / receipt


def test_nothing_of_a_step_stands_in_clear_on_the_disk(device: Node) -> None:
    rare = np.frombuffer(b"rarebits" * 4, np.float32).reshape(1, 8)
    with device.session("policy") as session:
        session.run({"obs": rare})
    for path in device.home.rglob("*"):
        assert not path.is_file() or b"rarebits" not in path.read_bytes(), path
    assert step_file(device, session.receipt).stat().st_mode & 0o777 == 0o600
    assert steps(session.bundle())[0].inputs[0].data == rare.tobytes()


def test_forgetting_takes_the_steps_too(device: Node) -> None:
    with device.session("policy") as session:
        run(session, 3)
    with device.session("policy") as other:
        run(other, 3)
    kept = step_file(device, session.receipt).read_bytes()
    assert device.recorder.forget([session.receipt]) == 1
    assert device.recorder.steps.names() == [other.receipt]
    with pytest.raises(UsageError, match="was forgotten"):
        session.bundle()
    step_file(device, session.receipt).write_bytes(kept)  # as a copy, or a crash before the file was removed, leaves it
    assert list(device.recorder.steps.read(session.receipt, bytes(32))) == []
    assert check(other.bundle(), device).passed
    device.recorder.forget([other.receipt])
    assert device.recorder.steps.names() == []


def test_steps_that_are_damaged_or_gone(device: Node) -> None:
    with device.session("policy", flush_every=4) as session:
        run(session, 12)
    path = step_file(device, session.receipt)
    sound = path.read_bytes()
    for damaged in (sound[:-1], sound[:40] + bytes([sound[40] ^ 1]) + sound[41:], sound[: len(sound) // 2]):
        path.write_bytes(damaged)
        with pytest.raises((LogError, StoreError)):
            session.bundle((0, 1))
    path.unlink()
    with pytest.raises(StoreError, match="a backup does not hold them"):
        session.bundle()
    assert set(opened(device.exporter.bundle(session.receipt, Selection(fields=["*"])))) > {"output/steps"}


CRASH = """
import os, sys
import numpy as np
import verity
node = verity.open(sys.argv[1])
session = node.session("policy")
for number in range(10):
    session.run({"obs": np.full((1, 8), number / 8, np.float32)})
    if number == 6:
        session.flush()
print(session.receipt, session.durable, flush=True)
os._exit(9)
"""


def test_what_was_flushed_outlives_the_process(tmp_path: Path) -> None:
    with verity.open(tmp_path / "home") as node:
        networks.store(node, networks.policy(), tmp_path)
        command = [sys.executable, "-c", CRASH, str(node.home)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
        assert done.returncode == 9, done.stderr
        receipt, durable = done.stdout.split()
        path = step_file(node, receipt)
        path.write_bytes(path.read_bytes() + b"\0\0\1\0torn")  # and a chunk that was being written
        assert node.recorder.close_orphans() == [receipt]
        bundle = node.exporter.bundle(receipt)
        assert (opened(bundle)["output/finish"], len(steps(bundle)), durable) == ("aborted", 7, "7")
        assert check(bundle, node).passed
        assert node.check_log() == []


def test_a_disk_that_is_full_ends_the_session_with_what_was_durable(
    device: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = device.session("policy", flush_every=4)
    run(session, 6)
    whole = os.write

    def torn(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", full)
        return whole(descriptor, bytes(data)[: len(data) // 2])

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", torn)
    with pytest.raises(StoreError, match="No space"):
        run(session, 2, 6)
    monkeypatch.setattr(os, "write", whole)
    bundle = session.bundle()
    assert (opened(bundle)["output/finish"], len(steps(bundle))) == ("error", 4)
    assert check(bundle, device).passed


def test_a_writer_that_failed_writes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer: StepWriter = Steps(tmp_path).writer("ab" * 16, bytes(32))
    writer.append([b"one"])

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreError, match="Input/output"):
        writer.append([b"two"])
    monkeypatch.undo()
    with pytest.raises(StoreError, match="could not be written before"):
        writer.append([b"three"])
    assert next(Steps(tmp_path).read("ab" * 16, bytes(32))) == b"one"
    assert list(Steps(tmp_path).read("ab" * 16, b"x" * 32)) == []
    with pytest.raises(StoreError, match="no receipt's id"):
        Steps(tmp_path).writer("../../x", bytes(32))


def test_chunks_hold_many_steps_and_large_ones(tmp_path: Path) -> None:
    store, bodies = Steps(tmp_path), [bytes([n]) * size for n, size in enumerate((1, 0, 5 << 20, 3, 9 << 20, 7))]
    writer = store.writer("cd" * 16, bytes(32))
    writer.append(bodies[:4])
    writer.append(bodies[4:])
    writer.close()
    assert list(store.read("cd" * 16, bytes(32))) == bodies
    assert store.names() == ["cd" * 16]


def test_the_private_half_in_the_database_holds_no_step(device: Node) -> None:
    with device.session("policy") as session:
        run(session, 500)
    secret, private = device.exporter.receipts.private(device.exporter.receipts.get(session.receipt))
    assert len(msgspec.json.encode(private)) < 4096
    assert len(secret) == 32
