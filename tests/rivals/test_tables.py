"""The table from what the workers wrote, and how it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_up_lines import calibration, run_of_lines

from head_to_head import shown
from rivals import tables
from rivals.lies import LIES, TOKENS
from rivals.methods import EXACT, STATISTICAL, TOKEN_DIFR, TOPLOC
from rivals.outputs import Compared
from rivals.running import Run

COUNT = 4


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of_lines(tmp_path, COUNT)


def test_a_row_for_each_lie_and_method(run: Run) -> None:
    found = tables.rows(run, COUNT, calibration())
    assert [(row["lie"], row["method"]) for row in found] == [
        (lie.title, method) for lie in LIES.values() for method in (EXACT, STATISTICAL, TOKEN_DIFR, TOPLOC)
    ]
    assert all(row["auc"] == 1.0 and row["tokens_needed"] == 32 for row in found)
    assert all(row["auc_95"][0] < 0.8 and row["auc_95"][1] == 1.0 for row in found)  # four prove little
    assert all(row["refused"] == 1.0 for row in found if row["method"] != TOKEN_DIFR)
    assert all("refused" not in row for row in found if row["method"] == TOKEN_DIFR)


def test_honest_outputs(run: Run) -> None:
    said = tables.honest(run, COUNT, calibration())
    assert said["exact"] == 1.0
    assert 0.02 < said["tokens_that_differ"] < 0.06
    assert said["refused"] == {STATISTICAL: 0.0, TOPLOC: 0.0}
    assert said["toploc_errors_under_equal_numerics"] == [0.0, 0.0, 0.0]


def test_a_replay_and_its_pieces_must_agree(run: Run) -> None:
    path = run.compared("top_p")
    path.write_bytes(path.read_bytes().replace(b"true", b"false"))
    with pytest.raises(AssertionError, match="disagree"):
        tables.rows(run, COUNT, calibration())
    assert tables.read(path, Compared, COUNT)[0].differs == [False] * (TOKENS // 32)


def test_the_table_for_people(run: Run) -> None:
    found: dict[str, Any] = {"table": tables.rows(run, COUNT, calibration()), "left_out": ["TOPLOC: not here"]}
    found["table"][3]["tokens_needed"] = None
    found["costs"] = {TOPLOC: {"bytes_per_token": 8.062}}
    lines = shown(found).splitlines()
    assert lines[0] == "| lie | exact replay | statistical check | Token-DiFR | TOPLOC |"
    assert len(lines) == 2 + len(LIES) + 1 + 3 + 1
    assert lines[2].startswith("| 4-bit for 8-bit weights | 1.000 (")
    assert "), 32 tokens, refused 100%" in lines[2]
    assert lines[2].endswith("), > 3072 tokens, refused 100% |")
    assert lines[-2:] == ["| TOPLOC | 8.062 |", "TOPLOC: not here"]
