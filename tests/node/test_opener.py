"""A device opens its states: those that it kept, or the same computed again; never others than it committed to."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from forger import forge
from in_process import REPLY, in_process

import verity
from verity.engines.engine import State
from verity.engines.scripted import ScriptedEngine
from verity.errors import EngineError, UsageError
from verity.node import Node
from verity.statements.segments import unpack
from verity.statements.states import decode_states
from verity.store.states import States

LONG = "Why is the sky blue, and why is the evening sky red, and what of the green flash?"


@pytest.fixture
def node(home: Path) -> Any:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as opened:
        yield opened


class OtherMachine(ScriptedEngine):
    """Computes in another way: its states differ in their last bits."""

    def state(self, sequence: int, bounds: Sequence[tuple[int, int]]) -> State | None:
        state = super().state(sequence, bounds)
        assert state is not None
        return State(state.encoding, [bytes([chunk[0] ^ 1]) + chunk[1:] for chunk in state.chunks])


def rows(chunks: Sequence[bytes]) -> list[bytes]:
    """All but the last segment are 32 positions of two bytes."""
    return [unpack(chunk, 64) for chunk in chunks[:-1]]


def test_what_was_evicted_is_computed_again_and_kept_again(node: Node) -> None:
    answer = node.ask(LONG, temperature=0.0)
    kept = node.states(answer.receipt)
    folder = node.home / "states"
    shutil.rmtree(folder)
    assert node.states.kept(answer.receipt, [1]) is None
    again = node.states(answer.receipt)
    assert rows(again) == rows(kept)
    assert (folder / answer.receipt).exists()
    assert node.states.kept(answer.receipt, [2]) == again[:2]


def test_only_what_a_challenge_needs_is_opened(node: Node) -> None:
    answer = node.ask(LONG, temperature=0.0)
    whole = node.states(answer.receipt)
    assert len(whole) == 5
    assert node.states(answer.receipt, [0]) == []
    assert node.states(answer.receipt, [2, 1]) == whole[:2]
    assert node.states(answer.receipt[:8], [3]) == whole[:3]
    assert node.states(answer.receipt, [99]) == whole
    shutil.rmtree(node.home / "states")
    assert [unpack(chunk, 64) for chunk in node.states(answer.receipt, [2])] == rows(whole)[:2]


def test_other_answers_in_between_change_nothing(node: Node) -> None:
    answer = node.ask(LONG, temperature=0.0)
    kept = node.states(answer.receipt)
    shutil.rmtree(node.home / "states")
    stream = node.stream("Another one?", temperature=0.0)
    next(stream)
    stream.close()
    assert rows(node.states(answer.receipt)) == rows(kept)
    assert verity.verify(node.ask("And on?").bundle, home=node.home, replayer=in_process).failed


def test_other_states_than_those_committed_to_are_not_opened(home: Path) -> None:
    with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
        receipt = node.ask(LONG, temperature=0.0).receipt
    shutil.rmtree(home / "states")
    with verity.open(home, engine=OtherMachine(REPLY)) as node:
        with pytest.raises(EngineError, match="other states than the receipt commits to") as caught:
            node.states(receipt)
        assert "on the computer that answered" in caught.value.hint
    assert not (home / "states").exists()


def test_a_liar_cannot_have_his_lie_computed_again(node: Node) -> None:
    def lie(evaluated: Any) -> Any:
        evaluated.chunks[0] = bytes(64)
        return evaluated

    bundle = forge(node, LONG, model="scripted", evaluated=lie, temperature=0.0)
    receipt = list(node.exporter.receipts.all())[-1].id
    assert node.states(receipt)
    shutil.rmtree(node.home / "states")
    with pytest.raises(EngineError):
        node.states(receipt)
    report = verity.verify(bundle, spot=99, states=node.states, key=node.key.id, replayer=in_process)
    assert report.check("spot-checked").status == "not made"


def test_receipts_without_segments_have_no_states(node: Node) -> None:
    forge(node, LONG, model="scripted", temperature=0.0)
    receipt = list(node.exporter.receipts.all())[-1].id
    with pytest.raises(UsageError, match="commits to no segments") as caught:
        node.states(receipt)
    assert caught.value.hint
    with pytest.raises(UsageError, match="commits to no segments"):
        node.states.kept(receipt, [1])
    with pytest.raises(UsageError):
        node.states("f" * 32)


def test_the_exported_file_holds_all_and_is_the_owners(node: Node, tmp_path: Path) -> None:
    answer = node.ask(LONG, temperature=0.0)
    path = node.states.export(answer.receipt[:10], tmp_path / "a.verity.states")
    assert path.stat().st_mode & 0o777 == 0o600
    assert decode_states(path.read_bytes(), answer.receipt) == node.states(answer.receipt)
    report = verity.verify(answer.bundle, spot=99, states=path, key=node.key.id, replayer=in_process)
    assert report.check("spot-checked").status == "passed"


def test_the_states_are_no_part_of_a_backup_and_are_made_again(node: Node, tmp_path: Path) -> None:
    from verity.backup import restore

    answer = node.ask(LONG, temperature=0.0)
    kept = rows(node.states(answer.receipt))
    node.back_up(tmp_path / "device.backup")
    restore(tmp_path / "device.backup", tmp_path / "restored", None)
    assert not (tmp_path / "restored" / "states").exists()
    with verity.open(tmp_path / "restored", engine=ScriptedEngine(REPLY)) as restored:
        assert rows(restored.states(answer.receipt)) == kept


def test_a_kept_file_of_another_device_is_not_opened(node: Node, tmp_path: Path) -> None:
    answer = node.ask(LONG, temperature=0.0)
    path = node.home / "states" / answer.receipt
    States(tmp_path).keep(answer.receipt, b"x" * 32, [b"another's"])
    path.write_bytes((tmp_path / "states" / answer.receipt).read_bytes())
    assert node.states.kept(answer.receipt, [1]) is None
    assert len(node.states(answer.receipt)) == 5
