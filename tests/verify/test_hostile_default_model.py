"""The default model, patched: what test_hostile_models.py tries on a tiny one, on a real one of 135M parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile import verdict

from verity.node import Node

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.usefixtures("started")]

PATCHES: dict[str, tuple[str, str]] = {
    "loops in loops": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "too many"),
    "a memory bomb": ("{{ 'x' * 10 ** 10 }}", "a value of more than"),
    "doubling": (
        "{% set n = namespace(s='x') %}{% for a in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "a value",
    ),
    "calls that double": ("{% macro m(n) %}{{ m(n-1) }}{{ m(n-1) if n }}{% endmacro %}{{ m(30) }}", "RecursionError"),
    "a way out": ("{{ namespace.__init__.__globals__ }}", "unsafe"),
}


@pytest.mark.parametrize("name", PATCHES)
def test_the_default_model_with_another_template(name: str, model_node: Node, model_path: Path, tmp_path: Path) -> None:
    """Patched in place: weights and fingerprint are the published ones."""
    source, why = PATCHES[name]
    own, data = template_source(model_node).encode(), model_path.read_bytes()
    template = source + "{#" + " " * (len(own) - len(source) - 4) + "#}"
    assert (data.count(own), len(template)) == (1, len(own))
    patched = tmp_path / "patched.gguf"
    patched.write_bytes(data.replace(own, template.encode()))
    check = verdict(model_node, patched, tmp_path, template, measured=True, limit_s=120.0, memory_bytes=4 << 30)
    assert check.status == "not made"
    assert why in check.sentence


@pytest.mark.parametrize("where", [0.2, 0.9])
def test_the_default_model_with_weights_that_are_no_numbers(
    where: float, model_node: Node, model_path: Path, tmp_path: Path
) -> None:
    patched = tmp_path / "patched.gguf"
    data = bytearray(model_path.read_bytes())
    at = int(len(data) * where)
    data[at : at + 100_000] = b"\xff" * 100_000  # scales of Q4_1 blocks become NaN
    patched.write_bytes(data)
    check = verdict(model_node, patched, tmp_path, template_source(model_node), limit_s=120.0, memory_bytes=4 << 30)
    assert check.status == "not made", check


def test_time_is_limited_in_the_middle_of_a_real_model(model_node: Node, model_path: Path, tmp_path: Path) -> None:
    patched = tmp_path / "longer.gguf"
    patched.write_bytes(model_path.read_bytes() + b"unmeasured")
    check = verdict(model_node, patched, tmp_path, template_source(model_node), limit_s=2.0, memory_bytes=4 << 30)
    assert "ended after the 2 seconds" in check.sentence


def template_source(node: Node) -> str:
    engine: Any = node.load().engine
    source: bytes = engine._lib.llama_model_chat_template(engine._model, None)
    return source.decode()
