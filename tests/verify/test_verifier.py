"""The steps of verification without a model: an outsider's edits, partial disclosure, policies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import REPLY, in_process

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import FormatError, UsageError, VerityError
from verity.log.tree import MemoryTree, hash_leaf
from verity.node import Node
from verity.statements.bundle import Bundle, Disclosure
from verity.statements.commitments import commit_token, decode_salt, withhold
from verity.statements.strict import decode_base64
from verity.verify.report import Report


@pytest.fixture
def bundle(scripted: Node) -> Bundle:
    return scripted.ask("Why is the sky blue?", temperature=0.9, nonce=b"n" * 32, stops=["\n"]).bundle


def verify(bundle: Bundle | bytes, scripted: Node, **options: Any) -> Report:
    given: dict[str, Any] = {"key": scripted.key.id, "home": scripted.home, "replay": False}
    return verity.verify(bundle, **given | options)


def edited(bundle: Bundle, edit: Callable[[Any], None]) -> bytes:
    plain = msgspec.json.decode(bundle.encode())
    edit(plain)
    return msgspec.json.encode(plain)


def line(plain: Any, field: str) -> Any:
    lines = plain["disclosure"]["intent"] + plain["disclosure"]["result"]
    return next(entry for entry in lines if entry["field"] == field)


def test_an_honest_scripted_receipt_fails_for_one_reason_only(bundle: Bundle, scripted: Node) -> None:
    report = verify(bundle, scripted, replay=True, replayer=in_process)
    assert [c.name for c in report.failed] == ["engine"], str(report)
    assert "fake" in report.failed[0].sentence
    assert report.check("replayed-exact").status == "passed"
    assert {c.name for c in report.checks if c.status == "passed"} == {
        "receipt", "signed", "logged", "intent", "disclosure", "output", "nonce", "replayed-exact",
    }  # fmt: skip


def test_no_policy_can_accept_the_scripted_engine(bundle: Bundle, scripted: Node, tmp_path: Path) -> None:
    policy = tmp_path / "lenient.toml"
    policy.write_text('[require]\nchecks = ["receipt"]\n')
    assert not verify(bundle, scripted, policy=policy).passed
    assert verify(bundle, scripted, replay=True).check("replayed-exact").status == "not made"


def test_a_bundle_from_another_device(bundle: Bundle, scripted: Node, tmp_path: Path) -> None:
    with verity.open(tmp_path / "other", engine=ScriptedEngine(REPLY)) as other:
        theirs = other.ask("Why is the sky blue?").bundle
        report = verify(theirs, scripted)
        assert "signed" in [c.name for c in report.failed]
        mixed = msgspec.structs.replace(
            bundle, receipt=msgspec.structs.replace(bundle.receipt, result=theirs.receipt.result)
        )
        names = [c.name for c in verify(mixed, scripted).failed]
        assert {"signed", "logged", "intent"} <= set(names)


def test_results_of_one_device_exchanged(bundle: Bundle, scripted: Node) -> None:
    other = scripted.ask("Why is grass green?").bundle
    mixed = msgspec.structs.replace(
        other,
        receipt=msgspec.structs.replace(other.receipt, intent=bundle.receipt.intent),
        log=msgspec.structs.replace(other.log, intent=scripted.exporter.bundle(_id(bundle)).log.intent),
    )
    report = verify(mixed, scripted)
    assert "names another intent" in report.check("intent").sentence
    assert report.check("disclosure").status == "failed"


def _id(bundle: Bundle) -> str:
    from verity.statements.receipt import INTENT, read_statement

    return read_statement(bundle.receipt.intent.payload_bytes(), INTENT).predicate.id


def test_the_receipt_alone_says_that_it_says_nothing(bundle: Bundle, scripted: Node) -> None:
    report = verify(msgspec.structs.replace(bundle, disclosure=msgspec.UNSET), scripted)
    assert report.check("logged").status == "passed"
    assert report.check("disclosure").status == "not made"
    assert report.exit_code == 3


def partial(bundle: Bundle, hidden: set[str], shown_tokens: range) -> Bundle:
    disclosure = bundle.disclosure
    assert isinstance(disclosure, Disclosure)
    receipt_id = bytes.fromhex(_id(bundle))
    tree = MemoryTree([
        hash_leaf(commit_token(receipt_id, t.index, decode_salt(t.salt), t.id, decode_base64(t.piece, "piece")))
        for t in disclosure.tokens
    ])  # fmt: skip
    kept = Disclosure(
        intent=[withhold(receipt_id, x) if x.field in hidden else x for x in disclosure.intent],
        result=[withhold(receipt_id, x) if x.field in hidden else x for x in disclosure.result],
        tokens=[
            msgspec.structs.replace(disclosure.tokens[i], path=[h.hex() for h in tree.inclusion(i)])
            for i in shown_tokens
        ],
    )
    return msgspec.structs.replace(bundle, disclosure=kept)


def test_part_of_an_output_can_be_shown_alone(bundle: Bundle, scripted: Node) -> None:
    part = partial(bundle, {"inputs/0000", "prompt_tokens", "output/text", "seed", "nonce"}, range(5, 9))
    report = verify(part, scripted)
    check = report.check("disclosure")
    assert check.status == "passed", str(report)
    assert check.evidence["withheld"] == ["inputs/0000", "nonce", "output/text", "prompt_tokens", "seed"]
    assert check.evidence["tokens_opened"] == 4
    assert report.check("output").status == "not made"
    assert report.check("nonce").status == "not made"
    wrong = edited(part, lambda p: p["disclosure"]["tokens"][0].update(index=6))
    assert "disclosure" in [c.name for c in verify(wrong, scripted).failed]


def test_a_withheld_prompt_makes_the_replay_impossible_not_wrong(bundle: Bundle, scripted: Node) -> None:
    part = partial(bundle, {"inputs/0000"}, range(0))
    report = verify(part, scripted, replay=True, replayer=in_process)
    assert report.check("replayed-exact").status == "not made"
    assert report.exit_code == 1  # the scripted engine


def test_expectations(bundle: Bundle, scripted: Node) -> None:
    model = ScriptedEngine(REPLY).model["blake3"]
    good = verify(bundle, scripted, prompt="Why is the sky blue?", nonce=(b"n" * 32).hex().upper(), model=model)
    assert {good.check(n).status for n in ("prompt", "nonce", "model")} == {"passed"}
    bad = verify(bundle, scripted, prompt="Why?", nonce="ab" * 32, model="cd" * 32)
    assert {"prompt", "nonce", "model", "seed-origin"} <= {c.name for c in bad.failed}
    with pytest.raises(UsageError, match="nonce"):
        verify(bundle, scripted, nonce="abc")
    with pytest.raises(FormatError, match="device key"):
        verify(bundle, scripted, key="abc")


def test_the_seed_origin_needs_nonce_and_request(bundle: Bundle, scripted: Node, tmp_path: Path) -> None:
    nonce, made = (b"n" * 32).hex(), {"replay": True, "replayer": in_process}
    assert "could choose" in verify(bundle, scripted).check("seed-origin").sentence
    half = verify(bundle, scripted, nonce=nonce, **made).check("seed-origin")
    assert half.status == "not made"
    assert "sampling/temperature" in half.evidence["not_pinned"]
    pins = {x.field: x.value for x in bundle.disclosure.intent if x.field in half.evidence["not_pinned"]}  # type: ignore[union-attr]
    policy = verity.Policy(pin=pins)
    assert verify(bundle, scripted, nonce=nonce, policy=policy, **made).check("seed-origin").status == "passed"
    ground = verity.Policy(pin=pins | {"sampling/temperature": 0.90001})
    assert "pinned" in [c.name for c in verify(bundle, scripted, nonce=nonce, policy=ground).failed]


def test_pins_in_a_file_suffice_for_the_seed_origin(bundle: Bundle, scripted: Node, tmp_path: Path) -> None:
    made: Any = {"replay": True, "replayer": in_process, "nonce": (b"n" * 32).hex()}
    loose = verify(bundle, scripted, **made).check("seed-origin").evidence["not_pinned"]
    pins = {x.field: x.value for x in bundle.disclosure.intent if x.field in loose}  # type: ignore[union-attr]
    assert pins["grammar"] is None
    lines = [f'"{field}" = {_toml(value)}' for field, value in pins.items()]
    file = tmp_path / "policy.toml"
    file.write_text("\n".join(["[pin]", *lines]) + "\n")
    assert verify(bundle, scripted, policy=file, **made).check("seed-origin").status == "passed"


def _toml(value: Any) -> str:
    if isinstance(value, dict) or value is None:
        members = [f"{name} = {_toml(member)}" for name, member in (value or {}).items() if member is not None]
        return "{" + ", ".join(members) + "}"
    return json.dumps(value)


def test_a_policy_file(bundle: Bundle, scripted: Node, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        f'[trust]\ndevices = ["{scripted.key.id}"]\n[require]\nchecks = ["signed", "witnessed"]\n'
        '[pin]\n"sampling/temperature" = 0.9\n[accept]\nnumerics = ["00"]\n'
    )
    report = verity.verify(bundle, policy=path, home=scripted.home, replay=False)
    assert report.check("pinned").status == "passed"
    assert report.check("witnessed").status == "not made"
    assert "numerics" in [c.name for c in report.failed]
    for text in ("nonsense", '[require]\nchecks = ["believed"]', '[trust]\ndevices = ["x"]', "[colour]\nred = 1", ""):
        path.write_text(text)
        if text:
            with pytest.raises(VerityError):
                verity.verify(bundle, policy=path, home=scripted.home, replay=False)


def test_a_critical_field_that_nobody_knows_fails_closed(scripted: Node) -> None:
    from verity.statements.receipt import INTENT, RESULT, Predicate, read_statement
    from verity.verify.expectations import known

    answer = scripted.ask("Why?").bundle
    intent = read_statement(answer.receipt.intent.payload_bytes(), INTENT)
    result = read_statement(answer.receipt.result.payload_bytes(), RESULT)
    assert known(intent, result).status == "passed"
    for change in ({"critical": ["quantum"]}, {"kind": "prophecy"}):
        predicate: Predicate = msgspec.structs.replace(intent.predicate, **change)
        check = known(msgspec.structs.replace(intent, predicate=predicate), result)
        assert check.status == "failed"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_anything_that_is_no_bundle_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        verity.verify(data, replay=False)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_no_single_changed_byte_passes(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any byte of a bundle, changed: unreadable, or a failed check beside the scripted engine's, or no difference."""
    home, original, key = _cached_bundle(tmp_path_factory)
    at = data.draw(st.integers(0, len(original) - 1))
    mutated = bytearray(original)
    mutated[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        report = verity.verify(bytes(mutated), key=key, home=home, replayer=in_process)
    except FormatError:
        return
    failed = {c.name for c in report.failed} - {"engine"}
    unchanged = msgspec.json.decode(original)
    assert failed or report.unmade or msgspec.json.decode(mutated) == unchanged, f"byte {at}"


_CACHE: list[tuple[Path, bytes, str]] = []


def _cached_bundle(factory: pytest.TempPathFactory) -> tuple[Path, bytes, str]:
    if not _CACHE:
        home = factory.mktemp("mutated")
        with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
            bundle = node.ask("Why is the sky blue?", max_tokens=12).bundle
            _CACHE.append((home, bundle.encode(), node.key.id))
    return _CACHE[0]


def test_without_a_replay_no_home_is_needed(bundle: Bundle, scripted: Node, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    report = verity.verify(bundle, key=scripted.key.id, model="smollm2-135m-instruct", home=nowhere, replay=False)
    assert report.check("signed").status == "passed"
    assert report.check("model").status == "failed"  # the script is not that model
    assert not nowhere.exists()
