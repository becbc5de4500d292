"""The statistical check with the real model: made by the installed build, checked by one for this processor alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forger import forge

import builds
import verity
from quantise import quantised
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.store.pull import pull
from verity.verify.calibration import shipped
from verity.verify.report import Check

pytestmark = [pytest.mark.model, pytest.mark.slow]
TOKENS = 160
LONG = 400
"""A temperature shows slowly: most tokens are drawn at either."""


@pytest.fixture(scope="module")
def native() -> Path:
    return builds.variant("native")


@pytest.fixture
def elsewhere(native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays run on the other build; this process goes on with the installed one."""
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(native))


@pytest.fixture(scope="module")
def q8_node(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A device that has the model's weights in eight bits, and the same rounded to four."""
    with verity.open(tmp_path_factory.mktemp("q8"), threads=1) as node:
        files = quantised(model_path)
        for name in ("Q8_0", "Q4_0"):
            pull(str(files[name]), node.blobs, name=name.lower())
        yield node


def check(bundle: Bundle, node: Node, **options: Any) -> Check:
    report = verity.verify(bundle, key=node.key.id, home=node.home, threads=1, **options)
    exact = report.check("replayed-exact")
    if exact.status == "passed":
        pytest.skip("on this processor both builds compute alike")
    assert exact.status == "not made", str(report)
    return report.check("replayed-statistical")


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.0}, {"temperature": 1.0, "top_k": 0, "top_p": 1.0}], ids=str
)
def test_an_honest_output_passes(sampling: dict[str, Any], model_node: Node) -> None:
    bundle = model_node.ask("Tell me about the sea.", max_tokens=TOKENS, nonce=b"h" * 32, **sampling).bundle
    found = check(bundle, model_node)
    assert found.status == "passed", found.sentence
    assert found.evidence["smallest_share"] < 0.1


@pytest.mark.usefixtures("elsewhere")
def test_a_higher_temperature_than_the_receipt_says_is_refused(model_node: Node) -> None:
    def cooler(fields: dict[str, Any]) -> None:
        fields["sampling/temperature"] = 0.8

    bundle = forge(model_node, "Write a long story about the sea.", temperature=1.0, intent=cooler, max_tokens=LONG)
    assert check(bundle, model_node).status == "failed"


@pytest.mark.usefixtures("elsewhere")
def test_edited_tokens_are_refused(model_node: Node) -> None:
    def edit(tokens: list[int], rows: list[Any]) -> list[int]:
        return [int(rows[at].argsort()[-3]) if at % 10 == 5 else token for at, token in enumerate(tokens)]

    bundle = forge(model_node, "Tell me about the sea.", tokens=edit, max_tokens=TOKENS)
    assert check(bundle, model_node).status == "failed"


@pytest.mark.usefixtures("elsewhere")
def test_four_bits_for_eight_are_refused_and_eight_are_not(q8_node: Node) -> None:
    """The calibration is of the same weights in another form: what it says of rounding holds for these too, as the
    honest output shows."""
    eight = q8_node.load("q8_0").model
    named = msgspec.structs.replace(shipped(), models=[eight["blake3"]])
    honest = q8_node.ask("Tell me about the sea.", model="q8_0", max_tokens=TOKENS, nonce=b"h" * 32).bundle
    assert check(honest, q8_node, calibration=named).status == "passed"
    lie = forge(
        q8_node, "Tell me about the sea.", model="q4_0", intent=lambda f: f.update(model=eight), max_tokens=TOKENS
    )
    assert check(lie, q8_node, calibration=named).status == "failed"
