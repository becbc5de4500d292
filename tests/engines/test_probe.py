"""The probe of numerics tells the truth: under each wrong setting it says that this host is not exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from verity.engines import library
from verity.engines.library import describe_library
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import Numerics, measure
from verity.node import Node

pytestmark = [pytest.mark.model, pytest.mark.slow]

_F16 = 1
PROBE = Path(__file__).parents[1] / "support/probe.py"


def measured(path: Path, micro_batch: int) -> Numerics:
    engine = LlamaEngine(path, threads=1, micro_batch=micro_batch)
    try:
        return measure(engine)
    finally:
        engine.close()


def measured_apart(environment: dict[str, str], *arguments: object) -> dict[str, Any]:
    command = [sys.executable, str(PROBE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("micro_batch", [8, 128])
def test_an_f16_cache_is_not_exact(micro_batch: int, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of 8 on one thread it would be; the probe does not stop there."""
    monkeypatch.setattr(library, "_Q8_0", _F16)
    assert not measured(model_path, micro_batch).exact


@pytest.mark.parametrize(("name", "micro_batch"), [("Q4_K_M", 4), ("Q4_K_M", 128), ("Q6_K", 128)])
def test_tiled_products_of_k_quants_are_not_exact(
    name: str, micro_batch: int, types: dict[str, Path], command_environment: dict[str, str]
) -> None:
    told = measured_apart(command_environment, types[name], "--tiled", "--micro-batch", micro_batch)
    assert not told["exact"]


def test_the_micro_batch_is_no_part_of_the_fingerprint(types: dict[str, Path], types_node: Node) -> None:
    assert measured(types["Q4_K_M"], 4) == types_node.load("q4_k_m").numerics


def test_llamafiles_products_of_f16_weights_are_not_exact(
    types: dict[str, Path], llamafile: Path, command_environment: dict[str, str]
) -> None:
    told = measured_apart({**command_environment, "LLAMA_CPP_LIB_PATH": str(llamafile)}, types["F16"])
    assert "LLAMAFILE = 1" in told["build"]
    assert not told["exact"]


def test_the_second_build_computes_other_weights_alike_under_a_name_of_its_own(
    types: dict[str, Path], types_node: Node, llamafile: Path, command_environment: dict[str, str]
) -> None:
    """So it is llamafile that the probe noticed above, and nothing else about the build."""
    told = measured_apart({**command_environment, "LLAMA_CPP_LIB_PATH": str(llamafile)}, types["Q4_0"])
    numerics = types_node.load("q4_0").numerics
    assert (told["exact"], told["fingerprint"]) == (True, numerics.fingerprint)
    assert told["library"] != describe_library()["library"]
