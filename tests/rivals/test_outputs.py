"""What the workers write down is read again after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rivals.lies import CLAIMED, HONEST, LIES, TOKENS, EdgeLeftOut, edited_position, messages, seed_of, way_of
from rivals.outputs import Replay, append, missing, read_lines
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler


def test_a_line_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert missing(path, Replay, range(2)) == [0, 1]
    append(path, Replay(1, 5, []))
    append(path, Replay(0, None, [(0.0, 0.0, 0.0)]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert missing(path, Replay, range(2)) == [0]
    assert read_lines(path, Replay) == {1: Replay(1, 5, [])}
    append(path, Replay(0, None, [(0.0, 0.0, 0.0)]))
    assert path.read_bytes() == whole


def test_every_lie_differs_from_the_claim() -> None:
    assert all(way_of(group) == CLAIMED for group in HONEST)
    ways = [way_of(name) for name in LIES]
    assert CLAIMED not in ways
    assert ways.count(None) == 1
    assert len(set(ways)) == len(LIES)


def test_no_two_outputs_have_a_seed_in_common() -> None:
    seeds = {seed_of(group, number, attempt) for group in LIES for number in range(5) for attempt in range(2)}
    assert len(seeds) == len(LIES) * 5 * 2


def test_edits_stand_anywhere() -> None:
    positions = [edited_position(number) for number in range(400)]
    assert all(0 <= position < TOKENS for position in positions)
    assert {position * 6 // TOKENS for position in positions} == set(range(6))


def test_requests() -> None:
    assert [message.role for message in messages(3, system=True)] == ["system", "user"]
    assert messages(3, system=False) == messages(3, system=True)[1:]
    assert len({messages(number, True)[1].content for number in range(60)}) == 60


@pytest.mark.parametrize(
    ("top_p", "kept", "kept_by_error"), [(0.5, {0}, {0}), (0.7, {0, 1}, {0}), (1.0, {0, 1, 2}, {0, 1})]
)
def test_the_error_leaves_out_the_token_at_the_edge(top_p: float, kept: set[int], kept_by_error: set[int]) -> None:
    logits = np.log(np.array([0.6, 0.3, 0.1], dtype=np.float32))
    parameters = SamplingParameters(temperature=2.0, top_k=3, top_p=top_p)
    right, wrong = Sampler(parameters, bytes(32)), EdgeLeftOut(parameters, bytes(32))
    assert {right.draw(logits) for _ in range(300)} == kept
    assert {wrong.draw(logits) for _ in range(300)} == kept_by_error
