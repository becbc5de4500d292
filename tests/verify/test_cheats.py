"""Cheats with the real model by a key holder: what the report says of them. More are in the tamper table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from forger import forge

import verity
from verity.node import Node
from verity.sampling.noise import derive_seed
from verity.statements.bundle import Bundle
from verity.verify.report import Report

pytestmark = pytest.mark.model


def verify(bundle: Bundle, node: Node, **options: Any) -> Report:
    return verity.verify(bundle, key=node.key.id, home=node.home, threads=1, **options)


def refusal(report: Report) -> str:
    """The sentence of the only failed check, which must be the replay."""
    assert [c.name for c in report.failed] == ["replayed-exact"], str(report)
    assert report.exit_code == 1
    return report.failed[0].sentence


def test_an_honest_receipt_made_the_same_way_passes(model_node: Node) -> None:
    report = verify(forge(model_node), model_node)
    assert report.passed, str(report)
    assert report.exit_code == 0
    assert report.check("replayed-exact").status == "passed"


def test_the_runner_up_token_is_named_with_the_one_it_replaced(model_node: Node) -> None:
    swapped: dict[str, int] = {}

    def swap(tokens: list[int], rows: list[Any]) -> list[int]:
        order = np.argsort(-rows[5])
        tokens[5] = swapped["to"] = int(order[1] if order[0] == tokens[5] else order[0])
        return tokens

    report = verify(forge(model_node, tokens=swap), model_node)
    assert "at output token 5 the receipt claims" in refusal(report)
    evidence = report.check("replayed-exact").evidence
    assert evidence["position"] == 5
    assert evidence["claimed"]["token"] == swapped["to"]
    assert evidence["replayed"]["token"] != swapped["to"]


def test_another_prompt_is_refused(model_node: Node) -> None:
    def other_question(fields: dict[str, Any]) -> None:
        fields["inputs/0000"] = {"type": "text", "role": "user", "content": "Why is grass green?"}

    bundle = forge(model_node, intent=other_question)
    assert "the prompt's tokens do not follow from the disclosed messages" in refusal(verify(bundle, model_node))


def test_another_seed_is_refused(model_node: Node) -> None:
    def swap(fields: dict[str, Any]) -> None:
        nonce = b"\x07" * 32
        fields["nonce"] = {"hex": nonce.hex(), "chosen_by": "device"}
        fields["seed"] = derive_seed(nonce).hex()

    assert "at output token" in refusal(verify(forge(model_node, intent=swap), model_node))


def test_another_model_is_refused(model_node: Node, model_path: Path, tmp_path: Path) -> None:
    """The receipt names a model that is not the one that ran: here, the same file with some weights zeroed."""
    other = tmp_path / "other.gguf"
    data = bytearray(model_path.read_bytes())
    data[-20_000_000:-12_000_000] = bytes(8_000_000)  # enough that it cannot say the same
    other.write_bytes(data)
    from verity.store.pull import pull

    pulled = pull(str(other), model_node.blobs, name="other-model")

    def claim_other(fields: dict[str, Any]) -> None:
        fields["model"] = {
            "name": pulled.name, "blake3": pulled.blake3, "sha256": pulled.sha256, "size": pulled.size,
        }  # fmt: skip

    bundle = forge(model_node, intent=claim_other)
    expected = verify(bundle, model_node, model=model_node.load().model["blake3"], replay=False)
    assert [c.name for c in expected.failed] == ["model"]
    replayed = verify(bundle, model_node, model=pulled.blake3).check("replayed-exact")
    assert replayed.status == "not made"
    assert "numerics differ" in replayed.sentence  # the fingerprint is of the claimed model, so it cannot agree

    (measured,) = model_node.numerics.known(pulled.blake3).values()  # by that replay

    def claim_numerics_too(fields: dict[str, Any]) -> None:
        claim_other(fields)
        fields["numerics"] = msgspec.to_builtins(measured)

    lie = forge(model_node, intent=claim_numerics_too)
    assert "at output token" in refusal(verify(lie, model_node, model=pulled.blake3))


def test_a_token_outside_the_vocabulary_is_refused(model_node: Node) -> None:
    report = verify(forge(model_node, tokens=lambda tokens, _: [*tokens[:4], 60_000]), model_node)
    assert "output token 4 is not in the model's vocabulary" in refusal(report)


def test_a_mismatch_under_another_build_is_not_yet_a_verdict(model_node: Node) -> None:
    def both(fields: dict[str, Any]) -> None:
        fields["engine"] = {**fields["engine"], "library": "cd" * 32}
        fields["sampling/temperature"] = 0.1

    report = verify(forge(model_node, temperature=1.2, intent=both), model_node)
    assert report.check("replayed-exact").status == "not made"
    assert "replay it with that build" in report.check("replayed-exact").sentence
    assert report.exit_code == 3
