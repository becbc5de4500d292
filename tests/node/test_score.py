"""Scores of a device: what is refused, what is on record however it ends, what an owner may open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from in_process import REPLY, in_process

import verity
from verity import Message, Selection
from verity.engines.engine import Logits
from verity.engines.scripted import ScriptedEngine
from verity.errors import ContextOverflow, EngineError, UsageError
from verity.exporter import NOTHING, warnings
from verity.node import Node
from verity.request import check_asked
from verity.scorer import intent_fields, make_request
from verity.statements.receipt import SCORING, SCORING_INTENT_FIELDS, SCORING_RESULT_FIELDS

TEXT = "Light is scattered."


class Failing(ScriptedEngine):
    """Fails, or is interrupted, after three tokens, once there is an ``error``."""

    error: BaseException | None = None

    def advance_all(self, tokens: Sequence[int], skip: int = 0, at_least: int = 1) -> Iterator[Logits]:
        if self.error is None:
            yield from super().advance_all(tokens, skip)
            return
        yield from super().advance_all(tokens[:3], skip)
        raise self.error


def opened(bundle: verity.Bundle) -> dict[str, Any]:
    disclosure: Any = bundle.disclosure
    return {x.field: x.value for x in (*disclosure.intent, *disclosure.result) if x.opened}


def check(bundle: verity.Bundle, node: Node, **options: Any) -> verity.Report:
    return verity.verify(bundle, key=node.key.id, home=node.home, replayer=in_process, **options)


def test_every_field_is_there_and_no_other(scripted: Node) -> None:
    scored = scripted.score(TEXT, " Blue.", top=4, show=["top"])
    fields = opened(scored.bundle)
    assert set(fields) == SCORING_INTENT_FIELDS | SCORING_RESULT_FIELDS | {"inputs/0000"}
    assert fields["inputs/0000"] == {"type": "text", "role": "user", "content": TEXT}
    assert fields["continuation"] == {"start": scored.start, "text": " Blue."}
    assert fields["template"] is None
    assert fields["output/logprobs"] == scored.logprobs
    assert len(scored.logprobs) == len(scored.tokens) - 1 == len(scored.pieces) - 1
    assert [c["token"] for c in fields["output/candidates"]] == [c.token for c in scored.candidates]
    assert len(scored.candidates) == 4


def test_the_answer_that_the_model_would_give_is_likelier(scripted: Node) -> None:
    right, wrong = (scripted.score("Why?", answer, raw=False) for answer in (REPLY[:9], "Rhubarb, "))
    assert right.logprob > wrong.logprob
    assert right.perplexity < wrong.perplexity
    assert right.logprob == math.fsum(right.logprobs[right.start - 1 :])
    assert opened(right.bundle)["template"]["add_generation_prompt"] is True


def test_without_an_answer_all_tokens_count_but_the_first(scripted: Node) -> None:
    whole = scripted.score(TEXT)
    assert whole.start == 1
    assert whole.logprob == math.fsum(whole.logprobs)
    one = scripted.score([Message("system", "a"), Message("user", "b")], top=0)
    assert one.candidates == []
    assert opened(one.bundle)["template"] is not None


class Bare(ScriptedEngine):
    """Puts nothing around a text: a byte is a token."""

    def tokenize(self, text: str) -> list[int]:
        return list(text.strip().encode())


def test_short_texts(tmp_path: Path) -> None:
    with verity.open(tmp_path, engine=Bare(REPLY)) as node:
        scored = node.score("a", top=2)
        assert (scored.logprobs, len(scored.candidates)) == ([], 2)
        assert math.isnan(scored.perplexity)
        engine = node.load().engine
        asked = check_asked("a", sampling={}, raw=True)
        assert make_request(engine, asked, "b", 1).prompt_tokens == [97, 98]
        for text, answer, said in (("a", "  ", "the answer is empty"), (" ", None, "the text has no tokens")):
            asked = msgspec.structs.replace(asked, messages=[Message("user", text)])
            with pytest.raises(UsageError, match=said):
                make_request(engine, asked, answer, 1)


def test_what_is_refused(scripted: Node) -> None:
    wrong: list[tuple[Any, Any, dict[str, Any], str]] = [
        ("", None, {}, "the prompt is empty"),
        ("\ud800", None, {}, "not valid Unicode"),
        ("a", "\ud800", {}, "the answer is not valid Unicode"),
        ("a", "", {}, "the answer is empty"),
        ("a", None, {"top": -1}, "0 to 256 candidates"),
        ("a", None, {"top": 257}, "0 to 256 candidates"),
        ("a", None, {"top": True}, "0 to 256 candidates"),
        ([Message("user", "a"), Message("assistant", "b")], None, {"raw": True}, "one message of the user"),
        ("a", None, {"system": "b", "raw": True}, "one message of the user"),
        ("a", None, {"show": ["seed"]}, "no field 'seed'"),
    ]
    for text, answer, options, said in wrong:
        with pytest.raises(UsageError, match=said):
            scripted.score(text, answer, **options)
    with pytest.raises(ContextOverflow, match="5,001 tokens"):
        scripted.score("b" * 5000)
    assert list(scripted.exporter.receipts.all()) == []  # nothing of all that is on record


@pytest.mark.parametrize(
    ("error", "finish"),
    [(EngineError("it broke"), "error"), (KeyboardInterrupt(), "cancelled")],
    ids=["error", "ctrl-c"],
)
def test_what_is_cut_off_is_on_record(error: BaseException, finish: str, tmp_path: Path) -> None:
    engine = Failing(REPLY)
    with verity.open(tmp_path, engine=engine) as node:
        node.load()  # which measures
        engine.error = error
        with pytest.raises(type(error)):
            node.score(TEXT)
        kept = list(node.exporter.receipts.all())[-1]
        bundle = node.exporter.bundle(kept.id)
        fields = opened(bundle)
        assert (kept.kind, kept.state, fields["output/finish"]) == (SCORING, "done", finish)
        engine.error = None
        assert (fields["output/logprobs"], fields["output/logits"]) == ([], None)
        report = check(bundle, node)
        assert f"on the device's word ({finish})" in report.check("output").sentence
        assert "nothing to replay" in report.check("replayed-exact").sentence


def test_what_a_dead_process_left_is_closed(scripted: Node) -> None:
    loaded = scripted.load()
    request = make_request(loaded.engine, check_asked(TEXT, sampling={}, raw=True), None, 1)
    begun = scripted.recorder.begin(intent_fields(request, loaded), kind=SCORING)
    begun.hold.release()  # as a process does that dies
    assert scripted.recorder.close_orphans() == [begun.id]
    bundle = scripted.exporter.bundle(begun.id)
    assert opened(bundle)["output/finish"] == "aborted"
    assert [c.name for c in check(bundle, scripted).failed] == ["engine"]


def test_opening_a_part(scripted: Node) -> None:
    scored = scripted.score(TEXT, " Blue.")
    bundle = scripted.exporter.bundle(scored.receipt, Selection(output=True))
    assert set(opened(bundle)) == {"output/candidates", "output/finish", "output/logits", "output/logprobs"}
    assert any("scores of a text that you withhold" in warning for warning in warnings(bundle))
    report = check(bundle, scripted)
    assert report.check("output").status == "passed"
    assert report.check("replayed-exact").status == "not made"
    assert not hasattr(scripted.exporter.bundle(scored.receipt, NOTHING).disclosure, "intent")
    assert warnings(scored.bundle) == []


def test_the_log_is_sound_with_all_kinds(scripted: Node, tmp_path: Path) -> None:
    scripted.ask("Why?", max_tokens=3)
    scripted.embed([TEXT])
    path = scripted.score(TEXT).save(tmp_path / "s.verity.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert scripted.check_log() == []
    assert [kept.kind for kept in scripted.exporter.receipts.all()] == ["generation", "embedding", "scoring"]
