"""Export and forget: what a reader sees of a receipt, and what nobody ever sees again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_process import REPLY, in_process

import verity
from verity import Selection
from verity.engines.scripted import ScriptedEngine
from verity.errors import StoreError, UsageError
from verity.exporter import NOTHING, warnings
from verity.node import Node

SECRET = "My very secret question"


@pytest.fixture
def answer(scripted: Node) -> verity.Answer:
    return scripted.ask(SECRET, system="You are discreet.", temperature=0.0, max_tokens=30)


def opened(bundle: verity.Bundle) -> dict[str, Any]:
    disclosure: Any = bundle.disclosure
    return {x.field: x.value for x in (*disclosure.intent, *disclosure.result) if x.opened}


def check(bundle: verity.Bundle, node: Node, **options: Any) -> verity.Report:
    return verity.verify(bundle, key=node.key.id, home=node.home, replayer=in_process, **options)


def test_everything(scripted: Node, answer: verity.Answer) -> None:
    again = scripted.exporter.bundle(answer.receipt)
    assert again.disclosure == answer.bundle.disclosure
    assert warnings(again) == []


def test_nothing(scripted: Node, answer: verity.Answer) -> None:
    bundle = scripted.exporter.bundle(answer.receipt, NOTHING)
    assert b"disclosure" not in bundle.encode()
    report = check(bundle, scripted)
    assert report.check("logged").status == "passed"
    assert report.check("disclosure").status == "not made"


def test_chosen_messages_fields_and_a_range_of_the_output(scripted: Node, answer: verity.Answer) -> None:
    chosen = Selection(messages=[0], fields=["sampling/*", "model"], output=(5, 10))
    bundle = scripted.exporter.bundle(answer.receipt, chosen)
    assert set(opened(bundle)) == {"inputs/0000", "model", "output/tokens"} | {
        f"sampling/{name}" for name in verity.SamplingParameters.__struct_fields__
    }
    assert SECRET.encode() not in bundle.encode()
    report = check(bundle, scripted)
    disclosure = report.check("disclosure")
    assert disclosure.status == "passed"
    assert disclosure.evidence["tokens_opened"] == 5
    assert "inputs/0001" in disclosure.evidence["withheld"]
    assert report.check("output").status == report.check("replayed-exact").status == "not made"
    spelled = b"".join(__import__("base64").b64decode(t.piece) for t in bundle.disclosure.tokens)  # type: ignore[union-attr]
    assert spelled.decode() == answer.text[5:10]


def test_the_whole_output_without_the_prompt(scripted: Node, answer: verity.Answer) -> None:
    bundle = scripted.exporter.bundle(answer.receipt, Selection(output=True, fields=["limits/*"]))
    assert opened(bundle)["output/text"] == answer.text
    assert check(bundle, scripted).check("output").status == "passed"


@pytest.mark.parametrize(
    ("selection", "match"),
    [
        (Selection(messages=[2]), "no message 2"),
        (Selection(fields=["colour"]), "no field 'colour'"),
        (Selection(output=(5, 5)), "no range 5:5"),
        (Selection(output=(0, 31)), "no range 0:31"),
    ],
)
def test_what_is_not_there(scripted: Node, answer: verity.Answer, selection: Selection, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        scripted.exporter.bundle(answer.receipt, selection)


def test_the_owner_is_warned_of_what_a_reader_could_find_out(scripted: Node, answer: verity.Answer) -> None:
    def told(**chosen: Any) -> list[str]:
        return warnings(scripted.exporter.bundle(answer.receipt, Selection(**chosen)))

    assert told(output=True) == told(fields=["nonce"]) == []
    assert "confirmed by replay" in told(output=True, fields=["nonce"])[0]
    assert "confirmed by replay" in told(output=(0, 9), fields=["seed"])[0]
    assert "prompt_tokens tells" in told(fields=["prompt_tokens"])[0]
    assert told(messages=[0, 1], output=True, fields=["nonce", "prompt_tokens"]) == []


def test_a_request_travels_with_everything_only(scripted: Node) -> None:
    issued = scripted.issuer.issue("Why?", model=ScriptedEngine(REPLY).model["blake3"], max_tokens=3)
    receipt = scripted.ask(request=issued).receipt
    assert scripted.exporter.bundle(receipt).disclosure.request == issued.envelope  # type: ignore[union-attr]
    partial = scripted.exporter.bundle(receipt, Selection(fields=["model"]))
    assert b'"request":{' not in partial.encode()


def test_growth_since_a_checkpoint(scripted: Node, answer: verity.Answer) -> None:
    kept = scripted.log.checkpoint()
    scripted.ask("More", max_tokens=3)
    bundle = scripted.exporter.bundle(answer.receipt, NOTHING, since=kept)
    assert check(bundle, scripted, checkpoint=kept).check("consistent").status == "passed"
    plain = scripted.exporter.bundle(answer.receipt, NOTHING)
    assert check(plain, scripted, checkpoint=kept).check("consistent").status == "not made"
    assert check(plain, scripted, checkpoint=scripted.log.checkpoint()).check("consistent").status == "passed"


def test_ids_may_be_shortened(scripted: Node, answer: verity.Answer) -> None:
    assert scripted.exporter.receipts.get(answer.receipt[:8]).id == answer.receipt
    for wrong in ("ff", "ffffffff", "", "%", answer.receipt + "0"):
        with pytest.raises(UsageError, match="no receipt"):
            scripted.exporter.receipts.get(wrong)


def _everywhere(home: Path, text: str) -> list[str]:
    return [path.name for path in home.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_forgetting_leaves_no_trace_of_the_content(scripted: Node, answer: verity.Answer) -> None:
    assert _everywhere(scripted.home, SECRET)
    for _ in range(3):
        scripted.ask(SECRET + " again", max_tokens=3)
    before = scripted.log.size()
    receipts = [kept.id for kept in scripted.exporter.receipts.all()]
    assert scripted.recorder.forget(receipts) == 4
    assert _everywhere(scripted.home, SECRET) == []
    assert scripted.recorder.forget(receipts) == 0
    assert scripted.log.size() == before
    assert scripted.check_log() == []
    with pytest.raises(UsageError, match="was forgotten at"):
        scripted.exporter.bundle(answer.receipt)
    public = scripted.exporter.bundle(answer.receipt, NOTHING)  # what the log says of it stays
    assert check(public, scripted).check("logged").status == "passed"
    assert check(answer.bundle, scripted, replay=False).check("disclosure").status == "passed"  # handed out before


def test_compaction_keeps_proofs(scripted: Node, answer: verity.Answer) -> None:
    kept = scripted.log.checkpoint()
    other = scripted.ask("And?", max_tokens=3)
    assert scripted.recorder.compact() == 0
    scripted.recorder.forget([answer.receipt])
    assert scripted.recorder.compact() == 2
    assert scripted.check_log(kept) == []
    scripted.log.prove(1)
    bundle = scripted.exporter.bundle(other.receipt, since=kept)
    assert check(bundle, scripted, checkpoint=kept).check("consistent").status == "passed"
    with pytest.raises(UsageError, match="compacted"):
        scripted.exporter.bundle(answer.receipt, NOTHING)
    scripted.ask("Still works", max_tokens=3)


def test_an_answer_under_way_is_not_forgotten(scripted: Node) -> None:
    stream = scripted.stream("Why?", temperature=0.0)
    next(stream)
    (open_now,) = scripted.exporter.receipts.all("open")
    with pytest.raises(StoreError, match="being answered"):
        scripted.recorder.forget([open_now.id])
    stream.close()


def test_a_forgotten_promise_is_never_answered(scripted: Node) -> None:
    model = ScriptedEngine(REPLY).model["blake3"]
    late = scripted.issuer.issue("Why?", model=model, late=True)
    signed = scripted.promise(late)
    issued = scripted.issuer.reveal(late, signed, scripted.key.id)
    (promised,) = scripted.exporter.receipts.all("promised")
    scripted.recorder.forget([promised.id])
    with pytest.raises(UsageError, match="does not wait"):
        scripted.ask(request=issued)
