"""Many entries under one head, and the blocks in which their hashes lie."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import UsageError
from verity.log import blocks, tree
from verity.log.checkpoint import open_checkpoint
from verity.log.device_log import DeviceLog, Draft
from verity.statements.keys import Signer
from verity.statements.receipt import Place
from verity.store.database import Database

Build = Callable[[Place], Draft]


@pytest.mark.parametrize("sizes", [[1, 1, 1], [16], [17, 15, 1], [5, 300, 1, 700], [256, 256]])
def test_batches_make_the_log_that_single_appends_make(
    database: Database, signer: Signer, build: Build, sizes: list[int]
) -> None:
    log, one_by_one = DeviceLog(database, signer), DeviceLog(database, signer, epoch=1)
    starts = [log.append_all([build] * size) for size in sizes]
    assert starts == [sum(sizes[:number]) for number in range(len(sizes))]
    entries = iter([stored.entry for stored in log.entries()])
    for _ in range(sum(sizes)):  # other origins, so other entries: the same leaves instead
        one_by_one.append(lambda _place: Draft(next(entries), bytes(16), b""))
    heads = [open_checkpoint(each.checkpoint(), signer.public) for each in (log, one_by_one)]
    assert [(head.size, head.root) for head in heads] == [(sum(sizes), heads[0].root)] * 2
    assert log.check() == one_by_one.check() == []


def test_every_entry_is_built_for_its_place(log: DeviceLog, build: Build) -> None:
    places: list[Place] = []

    def noting(place: Place) -> Draft:
        places.append(place)
        return build(place)

    assert log.append_all([noting] * 3) == 7
    leaves = [tree.hash_leaf(stored.entry).hex() for stored in log.entries()]
    assert places == [Place(log.origin, 7 + number, leaves[6 + number]) for number in range(3)]


def test_all_or_none(log: DeviceLog, build: Build) -> None:
    before = log.checkpoint()

    def short(_place: Place) -> Draft:
        return Draft(b"short", bytes(16), b"")

    with pytest.raises(UsageError, match="32 bytes"):
        log.append_all([build, build, short])
    assert (log.checkpoint(), log.check()) == (before, [])
    assert log.append_all([]) == 7
    assert log.checkpoint() == before


def test_an_empty_batch_makes_no_log(database: Database, signer: Signer) -> None:
    log = DeviceLog(database, signer)
    assert log.append_all([]) == 0
    assert log.size() == 0


def test_many_proofs_are_those_of_one_by_one(database: Database, signer: Signer, build: Build) -> None:
    log = DeviceLog(database, signer)
    log.append_all([build] * 333)
    indices = list(range(0, 333, 3))
    _, proofs = log.proofs(indices)
    assert proofs == {index: log.prove(index) for index in indices}
    leaves = tree.MemoryTree(tree.hash_leaf(stored.entry) for stored in log.entries())
    assert proofs == {index: leaves.inclusion(index) for index in indices}


@given(st.integers(1, 600))
def test_a_block_is_only_ever_appended_to(size: int) -> None:
    """The hashes of a tree, in the order in which they come to be, fill their blocks from the front."""
    seen: dict[blocks.Block, int] = {}
    for index in range(size):
        for level, position, _ in tree.new_nodes(index, bytes(32), lambda _level, _position: bytes(32)):
            [(block, at)] = blocks.locate([(level, position)])
            assert at == seen.get(block, 0)
            seen[block] = at + tree.HASH_SIZE
    assert max(seen.values()) <= 30 * tree.HASH_SIZE
    assert sum(seen.values()) == (2 * size - size.bit_count()) * tree.HASH_SIZE
