"""Whose cosignatures count, how many, and what their word says about time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forger import forge
from hypothesis import given
from hypothesis import strategies as st
from in_process import in_process
from memory_signer import MemorySigner

import verity
from verity.errors import FormatError, LogError, UsageError, VerityError
from verity.exporter import EVERYTHING, NOTHING, Selection
from verity.log import note
from verity.log.checkpoint import Checkpoint, sign, split
from verity.log.cosignature import cosign
from verity.log.note import COSIGNATURE, ED25519, Line, VerifierKey
from verity.log.published import PublishedHeads
from verity.log.witness_client import Prove
from verity.log.witnesses import Asked
from verity.node import Node
from verity.statements.bundle import Bundle, Consistency
from verity.verify.operators import Operators
from verity.verify.policy import Policy, read_policy
from verity.verify.witnessed import SLACK_S

SIGNERS = {name: MemorySigner(bytes([0x40 + number]) * 32) for number, name in enumerate("abcde")}
KEYS = {name: VerifierKey(f"{name}.example/w", COSIGNATURE, signer.public) for name, signer in SIGNERS.items()}
OPERATORS = {"Clinic": [str(KEYS["a"]), str(KEYS["b"])], "Mill": [str(KEYS["c"])], "School": [str(KEYS["d"])]}


def publish(node: Node, times: dict[str, int]) -> None:
    """Publish the present head, cosigned by these witnesses at these times."""

    def ask(
        asked: Sequence[tuple[Asked, int]], checkpoint: str, prove: Prove
    ) -> Iterator[tuple[Asked, Line | VerityError]]:
        body = split(checkpoint)[1].body
        for each, _ in asked:
            name = each.key.name[0]
            if name in times:
                yield each, cosign(body, each.key.name, SIGNERS[name], times[name])

    for name, key in KEYS.items():
        node.publisher.witnesses.add(f"https://{name}.example", key)
    node.publisher.publish(ask)


def answered(node: Node, times: dict[str, int], selection: Selection = EVERYTHING) -> Bundle:
    receipt = node.ask("Why?", max_tokens=4).receipt
    publish(node, times)
    return node.exporter.bundle(receipt, selection)


def check(node: Node, bundle: Bundle, *, threshold: int | None = None, operators: Any = None) -> verity.Check:
    named = OPERATORS if operators is None else operators
    rules = msgspec.convert({"witnesses": {"threshold": threshold, "operators": named}}, Policy)
    report = verity.verify(bundle, key=node.key.id, home=node.home, policy=rules, replayer=in_process)
    assert "witnessed" in report.required
    return report.check("witnessed")


def now() -> int:
    return int(time.time())


# --- counting ---------------------------------------------------------------------------------------------------------


def test_operators_are_counted_and_not_keys(scripted: Node) -> None:
    bundle = answered(scripted, {"a": now(), "b": now()})
    found = check(scripted, bundle)
    assert (found.status, found.evidence["missing"]) == ("not made", ["Mill", "School"])
    assert found.sentence == "1 of 3 operators cosigned this head, and 2 must: missing Mill, School."
    assert check(scripted, bundle, threshold=1).status == "passed"


def test_k_of_n(scripted: Node) -> None:
    start = now()
    bundle = answered(scripted, {"a": start + 40, "b": start + 30, "c": start + 10, "d": start + 20, "e": start})
    for threshold, by in ((1, 10), (2, 20), (3, 30), (None, 20)):
        found = check(scripted, bundle, threshold=threshold)
        assert found.status == "passed"
        assert found.evidence["operators"] == ["Mill", "School", "Clinic"]
        assert found.evidence["by"] == datetime.fromtimestamp(start + by, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert abs(found.evidence["unvouched_s"] - by) <= 5
        assert "nobody vouches" in found.sentence


def test_witnesses_of_nobody_say_nothing(scripted: Node) -> None:
    bundle = answered(scripted, {"e": now()})
    assert check(scripted, bundle).status == "not made"
    report = verity.verify(bundle, key=scripted.key.id, home=scripted.home, replayer=in_process)
    assert report.check("witnessed").sentence == (
        "The head carries 1 lines of others, but no witnesses were named whose word counts."
    )
    assert "witnessed" not in report.required


def test_without_cosignatures_nothing_changes(scripted: Node) -> None:
    bundle = scripted.ask("Why?", max_tokens=4).bundle
    assert check(scripted, bundle).status == "not made"
    report = verity.verify(bundle, key=scripted.key.id, home=scripted.home, replayer=in_process)
    assert "witnessed" not in {made.name for made in report.checks}


def test_a_line_that_does_not_hold_is_a_lie(scripted: Node) -> None:
    bundle = answered(scripted, {"a": now(), "c": now()})
    said = split(bundle.log.checkpoint)[1]
    signature = said.lines[-1].signature
    false = said.lines[-1]._replace(signature=signature[:-1] + bytes([signature[-1] ^ 1]))
    edited = note.with_lines(said, [false])
    bundle = msgspec.structs.replace(bundle, log=msgspec.structs.replace(bundle.log, checkpoint=str(edited)))
    assert check(scripted, bundle).status == "failed"
    assert check(scripted, bundle, operators={"Clinic": OPERATORS["Clinic"]}).status == "passed"


def test_cosignatures_of_another_head_are_lies_and_those_of_another_log_help_nobody(scripted: Node) -> None:
    first = answered(scripted, {"a": now(), "c": now()})
    second = scripted.ask("And?", max_tokens=4).bundle
    lines = split(first.log.checkpoint)[1].lines[1:]
    moved = note.with_lines(split(second.log.checkpoint)[1], lines)
    bundle = msgspec.structs.replace(second, log=msgspec.structs.replace(second.log, checkpoint=str(moved)))
    assert check(scripted, bundle).status == "failed"


def test_the_device_is_no_witness_of_its_own_log(scripted: Node) -> None:
    receipt = scripted.ask("Why?", max_tokens=4).receipt
    head = scripted.publisher.publish()
    own = VerifierKey("me", COSIGNATURE, scripted.key.public)
    line = cosign(split(head.checkpoint)[1].body, "me", scripted.key, now())
    PublishedHeads(scripted._database).cosign(0, head.size, line)
    found = check(scripted, scripted.exporter.bundle(receipt), operators={"Me": [str(own)]})
    assert found.status == "not made"
    assert "the device itself" in found.evidence["not_counted"][0]


def test_what_is_not_in_the_log_was_not_seen_there(scripted: Node) -> None:
    bundle = answered(scripted, {"a": now(), "c": now()})
    proof = msgspec.structs.replace(bundle.log.result, path=["00" * 32] * len(bundle.log.result.path))
    bundle = msgspec.structs.replace(bundle, log=msgspec.structs.replace(bundle.log, result=proof))
    assert check(scripted, bundle).status == "not made"


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_receipt_that_says_it_was_made_after_it_was_seen(scripted: Node) -> None:
    late = now() - SLACK_S - 30
    bundle = answered(scripted, {"a": late, "c": late, "d": now()})
    found = check(scripted, bundle)
    assert found.status == "failed"
    assert "later than it was seen" in found.sentence
    assert check(scripted, bundle, threshold=3).status == "passed"  # three had seen it by now only


def test_within_the_slack_clocks_may_differ(scripted: Node) -> None:
    bundle = answered(scripted, {"a": now() - SLACK_S + 60, "c": now() - 10})
    found = check(scripted, bundle)
    assert (found.status, found.evidence["unvouched_s"]) == ("passed", 0)


def test_times_that_are_still_to_come_are_not_counted(scripted: Node) -> None:
    bundle = answered(scripted, {"a": now() + SLACK_S + 60, "c": now(), "d": now()})
    found = check(scripted, bundle, threshold=3)
    assert found.status == "not made"
    assert "still to come" in found.sentence
    assert check(scripted, bundle, threshold=2).status == "passed"
    assert check(scripted, answered(scripted, {"a": 2**63 - 1})).status == "not made"


def test_a_time_that_is_withheld_contradicts_nothing(scripted: Node) -> None:
    bundle = answered(scripted, {"a": 1000, "c": 1000}, NOTHING)
    found = check(scripted, bundle)
    assert (found.status, found.evidence["claimed"], found.evidence["unvouched_s"]) == ("passed", None, None)
    assert "is not disclosed" in found.sentence


def test_times_that_are_none(scripted: Node) -> None:
    bundle = forge(scripted, intent=lambda fields: fields.update({"time/started": "yesterday"}))
    publish(scripted, {"a": now(), "c": now()})
    head = scripted.publisher.publish(None)
    assert split(bundle.log.checkpoint)[0].size == head.size
    bundle = msgspec.structs.replace(bundle, log=msgspec.structs.replace(bundle.log, checkpoint=head.checkpoint))
    assert check(scripted, bundle).status == "failed"


# --- which head goes out ----------------------------------------------------------------------------------------------


def test_receipts_go_out_under_the_head_that_most_cosigned_of_these_the_earliest(scripted: Node) -> None:
    receipt = scripted.ask("Why?", max_tokens=4).receipt
    sizes = {}
    for name, witnesses in (("one", "a"), ("two", "ac"), ("two again", "cd"), ("none", "")):
        publish(scripted, dict.fromkeys(witnesses, now()))
        sizes[name] = scripted.log.size()
        scripted.ask("More?", max_tokens=4)
    late = scripted.ask("Late?", max_tokens=4)
    before = scripted.log.checkpoint()
    bundle = scripted.exporter.bundle(receipt)
    assert split(bundle.log.checkpoint)[0].size == sizes["two"]
    assert check(scripted, bundle).status == "passed"
    assert split(late.bundle.log.checkpoint)[0].size == scripted.log.size()  # no published head counts it yet
    for since in (before, scripted.publisher.publish(None).checkpoint):
        grown = scripted.exporter.bundle(receipt, since=since)
        assert isinstance(grown.log.consistency, Consistency)
        assert grown.log.consistency.size == sizes["two"]
        report = verity.verify(grown, key=scripted.key.id, home=scripted.home, checkpoint=since, replayer=in_process)
        assert report.check("consistent").status == report.check("logged").status == "passed"


def test_a_published_head_that_is_not_of_this_log_is_not_handed_out(scripted: Node) -> None:
    receipt = scripted.ask("Why?", max_tokens=4).receipt
    size = scripted.log.size()
    false = sign(Checkpoint(scripted.log.origin, size, bytes(32)), scripted.key)
    PublishedHeads(scripted._database).keep(0, size, false)
    with pytest.raises(LogError, match="is not of this log"):
        scripted.exporter.bundle(receipt)


# --- what may be named ------------------------------------------------------------------------------------------------


OTHER_NAME = VerifierKey("other", COSIGNATURE, SIGNERS["a"].public)


@pytest.mark.parametrize(
    ("threshold", "operators"),
    [
        (None, {"A": []}),
        (0, {"A": [str(KEYS["a"])]}),
        (2, {"A": [str(KEYS["a"])]}),
        (1, {}),
        (None, {"A": [str(KEYS["a"])], "B": [str(KEYS["a"])]}),
        (None, {"A": [str(KEYS["a"])], "B": [str(OTHER_NAME)]}),
        (None, {"A": [str(KEYS["a"]), str(OTHER_NAME)]}),
        (None, {"A": [str(KEYS["a"])] * 2}),
        (None, {"A": [str(VerifierKey("a", ED25519, SIGNERS["a"].public))]}),
    ],
)
def test_what_cannot_be_counted(threshold: int | None, operators: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError):
        Operators(threshold, operators)


@pytest.mark.parametrize(
    ("count", "needed", "split_needs"), [(1, 1, 1), (2, 2, 2), (3, 2, 1), (4, 3, 2), (5, 4, 3), (6, 4, 2), (7, 5, 3)]
)
def test_a_third_of_the_operators_cannot_split_views_by_default(count: int, needed: int, split_needs: int) -> None:
    keys = [VerifierKey(f"w.example/{n}", COSIGNATURE, MemorySigner(bytes([n + 50]) * 32).public) for n in range(count)]
    named = {key.name: [str(key)] for key in keys}
    assert (Operators(None, named).needed, Operators(None, named).split_needs) == (needed, split_needs)
    assert split_needs > (count - 1) // 3
    assert Operators(1, named).split_needs == max(0, 2 - count)


def test_a_policy_file(tmp_path: Path, scripted: Node) -> None:
    path = tmp_path / "policy.toml"
    lines = ["[witnesses]", "threshold = 2", "[witnesses.operators]"]
    lines += [f'"{name}" = {keys!r}' for name, keys in OPERATORS.items()]
    path.write_text("\n".join(lines))
    assert read_policy(path).witnesses == Operators(2, OPERATORS)
    path.write_text('[witnesses.operators]\nA = ["not a key"]')
    with pytest.raises((FormatError, UsageError)) as caught:
        read_policy(path)
    assert caught.value.hint


def test_the_caller_and_the_policy_must_both_be_content(scripted: Node) -> None:
    bundle = answered(scripted, {"a": now(), "c": now()})
    rules = msgspec.convert({"witnesses": {"operators": {"Clinic": OPERATORS["Clinic"]}}}, Policy)

    def status(*named: str, threshold: int | None = None) -> str:
        options: dict[str, Any] = {"witnesses": named, "threshold": threshold, "replayer": in_process}
        return verity.verify(bundle, policy=rules, home=scripted.home, **options).check("witnessed").status

    assert status(f"Mill={KEYS['c']}") == "passed"
    assert status(f"School={KEYS['d']}") == "not made"
    assert status(f"School={KEYS['d']}", f"Mill={KEYS['c']}", threshold=1) == "passed"
    for bad in ("", "=", str(KEYS["a"])[:5], f"={KEYS['a']}"):
        with pytest.raises((UsageError, FormatError)):
            status(bad)
    with pytest.raises(UsageError):
        status(threshold=1)


@given(st.lists(st.text(max_size=20) | st.just(str(KEYS["a"])), max_size=3), st.text(max_size=5))
def test_arbitrary_operators(keys: list[str], name: str) -> None:
    try:
        operators = Operators(None, {name: keys})
    except (UsageError, FormatError):
        return
    assert operators.keys() == {name: [KEYS["a"]]}
