"""Long honest generations with the real model, in every way of sampling: all replay exactly on the other side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import verity
from cases import PROMPTS, SAMPLING
from verity.replayer import ProcessReplayer

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.mark.parametrize("number", range(len(SAMPLING)))
def test_four_hundred_tokens(number: int, model_home: Path) -> None:
    options: dict[str, Any] = SAMPLING[number]
    with verity.open(model_home, threads=2, micro_batch=64) as node:
        answer = node.ask(PROMPTS[number], max_tokens=400, **options)
        replayer = ProcessReplayer(node.blobs, node.numerics, threads=1, micro_batch=256)
        report = verity.verify(answer.bundle, key=node.key.id, replayer=replayer, home=model_home)
    assert report.passed, str(report)
    assert report.check("replayed-exact").evidence["tokens"] == len(answer.tokens)
