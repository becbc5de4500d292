"""Policies: what a relying party may write, and what comes of it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forger import forge
from hypothesis import given
from hypothesis import strategies as st
from in_process import in_process

import verity
from verity.errors import FormatError, UsageError
from verity.node import Node
from verity.statements.bundle import Disclosure
from verity.store import catalogue
from verity.verify.origin import HANDLES, SETTLED_BY_REPLAY
from verity.verify.policy import Policy, read_policy

_TOML = "[]=\"trusdevicqmnohk.\n '#{}0123456789-"


def check(node: Node, policy: dict[str, Any], name: str, **edits: Any) -> verity.Check:
    rules = msgspec.convert(policy, Policy)
    bundle = forge(node, **edits)
    return verity.verify(bundle, key=node.key.id, home=node.home, replayer=in_process, policy=rules).check(name)


def test_origins(scripted: Node) -> None:
    assert check(scripted, {"trust": {"origins": [scripted.log.origin]}}, "logged").status == "passed"
    other = check(scripted, {"trust": {"origins": [scripted.log.origin + "1"]}}, "logged")
    assert (other.status, "does not trust" in other.sentence) == ("failed", True)


def test_finishes(scripted: Node) -> None:
    assert check(scripted, {"accept": {"finishes": ["length"]}}, "finish").status == "passed"
    assert check(scripted, {"accept": {"finishes": ["end"]}}, "finish").status == "failed"


def test_releases_are_the_catalogues_digests(scripted: Node) -> None:
    entry = catalogue.entries()[0]
    assert msgspec.convert({"trust": {"releases": [entry.name]}}, Policy).models == [entry.blake3]
    assert check(scripted, {"trust": {"releases": [entry.name]}}, "model").status == "failed"
    model = {"name": "x", "blake3": entry.blake3, "sha256": entry.sha256, "size": entry.size}
    passed = check(scripted, {"trust": {"releases": [entry.name]}}, "model", intent=lambda f: f.update(model=model))
    assert passed.status == "passed"


def test_members_of_fields_can_be_pinned(scripted: Node) -> None:
    assert check(scripted, {"pin": {"context/size": 4096, "sampling/top_k": 40}}, "pinned").status == "passed"
    assert check(scripted, {"pin": {"context/size": 4097}}, "pinned").status == "failed"
    assert check(scripted, {"pin": {"context/colour": 1}}, "pinned").status == "failed"
    assert check(scripted, {"pin": {"colour": 1}}, "pinned").status == "not made"


def test_a_policy_file_can_pin_all_that_decides_an_answer(scripted: Node, tmp_path: Path) -> None:
    bundle = forge(scripted)
    assert isinstance(bundle.disclosure, Disclosure)
    said = {line.field: line.value for line in bundle.disclosure.intent}
    assert said["grammar"] is None
    handles = [name for name in said if name in HANDLES or name.startswith("inputs/")]
    pins = {name: said[name] for name in handles if name not in SETTLED_BY_REPLAY}
    pins |= {"context/size": said["context"]["size"], "template/clock": None}
    lines = [f'"{name}" = {_toml(value)}' for name, value in pins.items()]
    policy = tmp_path / "policy.toml"
    for removed, status in (("", "passed"), ('"grammar"', "not made")):
        kept = [line for line in lines if not removed or not line.startswith(removed)]
        policy.write_text("\n".join(["[pin]", *kept]))
        report = verity.verify(bundle, nonce=(b"f" * 32).hex(), policy=policy, home=scripted.home, replayer=in_process)
        assert report.check("pinned").status == "passed"
        assert report.check("seed-origin").status == status, report.check("seed-origin").sentence


def _toml(value: Any) -> str:
    """A value as TOML has it: an empty table for null, inline tables."""
    if value is None:
        return "{}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(member)}" for name, member in value.items()) + "}"
    return json.dumps(value)


def test_a_parameter_that_differs_by_a_hair_is_another(scripted: Node) -> None:
    pin = {"pin": {"sampling/temperature": 0.8}}
    assert check(scripted, pin, "pinned", temperature=0.8).status == "passed"
    assert check(scripted, pin, "pinned", temperature=0.80001).status == "failed"


@pytest.mark.parametrize(
    "text",
    [
        '[trust]\nreleases = ["gpt-9"]', '[accept]\nfinishes = ["bored"]', '[trust]\nissuers = ["me"]',
        '[trust]\norigin = "x"', '[require]\nchecks = ["goodness"]', "[trust", "\xff", "[trust]\n" * 20_000,
    ],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_policy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises((FormatError, UsageError)) as caught:
        read_policy(path)
    assert caught.value.hint


@given(st.binary(max_size=200) | st.text(alphabet=_TOML, max_size=200).map(str.encode))
def test_arbitrary_bytes(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(FormatError, UsageError):
            read_policy(Path(file.name))
