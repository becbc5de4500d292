"""Bundles that were made once and must verify for ever: nobody may break what people keep (see make_bundles.py).

The checks must come out as they did on the day. Two may differ from host to host: a replay, and what follows from it,
are `not made` where the numerics differ; they never fail.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from make_bundles import held

import verity
from verity.node import Node
from verity.statements.bundle import decode_bundle
from verity.statements.request import read_request
from verity.store.bundles import read_signed_intent

HERE = Path(__file__).parent
CASES = [
    (folder, name, case)
    for folder in sorted(p for p in HERE.iterdir() if (p / "expected.json").exists())
    for name, case in json.loads((folder / "expected.json").read_text()).items()
]
REPLAYED = {"replayed-exact", "replayed-statistical", "spot-checked", "seed-origin"}
each = pytest.mark.parametrize(("folder", "name", "case"), CASES, ids=[f"{f.name}/{n}" for f, n, _ in CASES])


def verify(folder: Path, name: str, case: dict[str, Any], **options: Any) -> dict[str, str]:
    report = verity.verify(folder / f"{name}.verity.json", **held(folder, case["verify"]) | options)
    return {check.name: check.status for check in report.checks}


@each
def test_every_check_but_the_replay(folder: Path, name: str, case: dict[str, Any], tmp_path: Path) -> None:
    said = verify(folder, name, case, replay=False, home=tmp_path)
    for check, status in case["checks"].items():
        if check not in REPLAYED:
            assert said[check] == status, check


@pytest.mark.model
@each
def test_the_replay(folder: Path, name: str, case: dict[str, Any], model_node: Node) -> None:
    said = verify(folder, name, case, home=model_node.home, threads=1)
    here = model_node.load().numerics.fingerprint
    for check in REPLAYED:
        if check not in case["checks"]:
            continue
        expected = case["checks"][check]
        assert said[check] == expected or (said[check] == "not made" and _numerics(folder, name) != here), check


def _numerics(folder: Path, name: str) -> str:
    disclosure: Any = decode_bundle((folder / f"{name}.verity.json").read_bytes()).disclosure
    return str(next(x.value for x in disclosure.intent if x.field == "numerics")["fingerprint"])


@each
def test_the_files_are_written_as_they_were(folder: Path, name: str, case: dict[str, Any]) -> None:
    data = (folder / f"{name}.verity.json").read_bytes()
    assert decode_bundle(data).encode() == data
    if (request := folder / f"{name}.request.json").exists():
        assert read_request(request.read_bytes()).envelope.encode() == request.read_bytes()
    if (intent := folder / f"{name}.intent.json").exists():
        assert read_signed_intent(intent).encode() == intent.read_bytes()
