"""The default model in six types of weights: each is computed exactly, and none passes for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import verity
from quantise import TYPES
from verity.engines.llama import LlamaEngine
from verity.node import Node
from verity.replayer import ProcessReplayer
from verity.statements.bundle import Bundle
from verity.verify.report import Report

pytestmark = [pytest.mark.model, pytest.mark.slow]

SENTENCE = "The river runs past the old mill and on to the sea. "
ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Why is the sky blue?", {"max_tokens": 40, "temperature": 0.9}),
    ("Summarise. " + 6 * SENTENCE, {"max_tokens": 16, "temperature": 0.0, "repetition_penalty": 1.2}),
    ("Summarise. " + 40 * SENTENCE, {"max_tokens": 16, "temperature": 1.1, "top_k": 0, "top_p": 1.0}),
)
"""The second prompt crosses 64 tokens, the third 512."""


def verify(bundle: Bundle, node: Node) -> Report:
    """With a real replay, in smaller batches than the prompt was evaluated in."""
    replayer = ProcessReplayer(node.blobs, node.numerics, threads=1, micro_batch=16)
    return verity.verify(bundle, key=node.key.id, home=node.home, replayer=replayer)


@pytest.mark.parametrize("name", TYPES)
def test_the_file_is_of_its_type(name: str, types: dict[str, Path]) -> None:
    engine = LlamaEngine(types[name], threads=1, context_size=256)
    room = b" " * 64
    engine._lib.llama_model_meta_val_str(engine._model, b"general.file_type", room, len(room))
    engine.close()
    assert room.partition(b"\x00")[0].decode() == str(TYPES[name])


def test_the_prompts_cross_where_other_settings_change_path(types_node: Node) -> None:
    engine = types_node.load("q4_1").engine
    _, above_tile, above_split = (len(engine.tokenize(prompt)) for prompt, _ in ASKED)
    assert 64 < above_tile < 128
    assert above_split > 512


@pytest.mark.parametrize("name", TYPES)
def test_honest_answers_replay_exactly(name: str, types_node: Node) -> None:
    assert types_node.load(name.lower()).numerics.exact
    for prompt, options in ASKED:
        report = verify(types_node.ask(prompt, model=name.lower(), **options).bundle, types_node)
        assert report.passed, f"{name}, {prompt[:20]}\n{report}"
        assert report.check("replayed-exact").status == "passed"


def test_each_type_has_numerics_of_its_own(types_node: Node) -> None:
    fingerprints = {types_node.load(name.lower()).numerics.fingerprint for name in TYPES}
    assert len(fingerprints) == len(TYPES)
