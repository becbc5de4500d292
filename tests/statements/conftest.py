from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from memory_signer import MemorySigner

from verity.statements.keys import Signer

_VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/receipt.json").read_text())


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """spec/vectors/receipt.json; not to be changed."""
    return dict(_VECTORS)


@pytest.fixture(scope="session")
def signer() -> Signer:
    """The device of the vectors: RFC 8032, section 7.1, TEST 1."""
    return MemorySigner(bytes.fromhex(_VECTORS["seed"]))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """An argument named like a list of cases in the vectors gets each of them, by its description."""
    for name in metafunc.fixturenames:
        if name.endswith("_case"):
            cases = _VECTORS[f"{name}s"]
            metafunc.parametrize(name, cases, ids=[case["desc"] for case in cases])
