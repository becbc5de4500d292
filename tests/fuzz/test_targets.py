"""The fuzzer's targets on their seeds, and on a few edits of them: so that they work, and the parsers still hold."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import verity
from fuzz import device
from fuzz.edits import edit_json
from fuzz.target import LONGEST_MESSAGE, VECTORS, Target, feed
from fuzz.targets import TARGETS
from verity.errors import FormatError
from verity.statements.bundle import decode_bundle

SLOW = ("encrypted", "database", "backup", "template", "verify", "liar")
NOTHING_ACCEPTED = ("encrypted",)
"""No seed of a backup with a passphrase is sound: making one takes a second."""

QUICK = [target for target in TARGETS.values() if target.name != "encrypted"]


def plain(chance: random.Random, data: bytes, most: int) -> bytes:
    """A few bytes changed, dropped or put in."""
    edited = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(edited) + 1)
        edited[at : at + chance.choice((0, 0, 1, 4))] = chance.randbytes(chance.choice((0, 1, 1, 4)))
    return bytes(edited[:most])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_seeds_find_nothing_and_some_are_accepted(target: Target) -> None:
    seeds = target.seeds()
    accepted = [feed(target, seed) for seed in seeds if len(seed) <= target.max_bytes]
    assert len(accepted) == len(seeds), "a seed is longer than what the fuzzer may make of it"
    assert any(accepted) == (target.name not in NOTHING_ACCEPTED)


@pytest.mark.parametrize("target", QUICK, ids=lambda target: target.name)
def test_edited_seeds_find_nothing(target: Target) -> None:
    seeds = target.seeds()

    @settings(max_examples=15 if target.name in SLOW else 60)
    @given(st.integers(0, 2**32))
    def edited(number: int) -> None:
        chance = random.Random(number)
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 2, 5))):
            if target.structured:
                data = edit_json(data, target.max_bytes, chance.getrandbits(32), lambda d, most: plain(chance, d, most))
            else:
                data = plain(chance, data, target.max_bytes)
        feed(target, data)

    edited()


def test_a_finding_is_not_swallowed() -> None:
    def broken(data: bytes) -> None:
        raise KeyError(data)

    def wordy(data: bytes) -> None:
        raise FormatError("a" * (LONGEST_MESSAGE + 1))

    target = TARGETS["json"]._replace(run=broken)
    with pytest.raises(KeyError):
        feed(target, b"")
    with pytest.raises(AssertionError, match="an error of"):
        feed(target._replace(run=wordy), b"")


@pytest.mark.parametrize("field", ["output/text", "limits/max_tokens", "nonce"])
def test_a_forged_value_would_be_noticed(field: str) -> None:
    """The oracle of the target `verify` itself, on a bundle that a liar signed with the device's own key."""
    from fuzz.verification import _compare

    plan = device.plan()
    part = "result" if field in plan["result"] else "intent"
    plan[part][field] = "another"
    with pytest.raises(AssertionError, match="forged"):
        _compare(device.lie(plan))


def test_an_embedding_in_order_is_believed_but_for_the_replay() -> None:
    report = verity.verify(device.lie(device.embedding_plan()), key=device.key().id, replay=False)
    assert report.passed, str(report)
    assert report.check("output").evidence == {"vectors": 2, "texts": 2, "finish": "end"}


def test_a_scoring_in_order_is_believed_but_for_the_replay() -> None:
    report = verity.verify(device.lie(device.scoring_plan()), key=device.key().id, replay=False)
    assert report.passed, str(report)
    assert report.check("output").evidence == {"finish": "end", "logprobs": 2, "candidates": 1, "answer": -2.0}


@given(st.integers(0, 2**32))
def test_edits_of_json_are_json_that_differs_mostly(number: int) -> None:
    seed = TARGETS["bundle"].seeds()[0]
    edited = edit_json(seed, 1 << 16, number, lambda data, most: data)
    assert len(edited) <= 1 << 16
    assert isinstance(json.loads(edited), dict)


def test_most_edits_of_a_bundle_get_past_the_parser_or_are_edits() -> None:
    seed = TARGETS["bundle"].seeds()[0]
    edits = [edit_json(seed, 1 << 16, number, lambda data, most: data) for number in range(300)]
    assert len(set(edits)) > 200

    def read(data: bytes) -> bool:
        try:
            decode_bundle(data)
        except FormatError:
            return False
        return True

    assert sum(read(data) for data in set(edits)) > 30


def test_the_page_lists_every_target_with_its_errors() -> None:
    page = (VECTORS.parents[1] / "docs/fuzzing.md").read_text()
    rows = {
        row[0]: row for row in re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    }
    assert list(rows) == list(TARGETS)
    for name, target in TARGETS.items():
        if not rows[name][2].startswith("the same"):
            named = set(re.findall(r"\b[A-Z]\w+", rows[name][2]))
            assert named == {error.__name__ for error in target.errors}
