"""Ask → run → receipt → sign → log, with the scripted engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import ContextOverflow, EngineError, UsageError
from verity.node import Node
from verity.statements.receipt import INTENT, INTENT_FIELDS, read_statement


def fields_of(answer: verity.Answer) -> dict[str, Any]:
    disclosure = answer.bundle.disclosure
    assert disclosure is not msgspec.UNSET
    return {line.field: line.value for line in (*disclosure.intent, *disclosure.result)}


def test_an_answer_and_its_receipt(scripted: Node) -> None:
    answer = scripted.ask("Why?", temperature=0.0, max_tokens=100)
    assert answer.text == "Blue light is scattered more than red light."
    assert answer.finish == "end"
    fields = fields_of(answer)
    assert set(fields) >= INTENT_FIELDS
    assert fields["inputs/0000"] == {"type": "text", "role": "user", "content": "Why?"}
    assert fields["output/text"] == answer.text
    assert fields["output/tokens"]["count"] == len(answer.tokens) == 45
    assert scripted.check_log() == []


def test_the_public_receipt_says_nothing_of_the_content(scripted: Node) -> None:
    answer = scripted.ask("My very secret question", system="You are discreet.", temperature=0.0)
    public = b"".join(
        e.payload_bytes() for e in (answer.bundle.receipt.intent, answer.bundle.receipt.result)
    ).decode() + answer.bundle.log.checkpoint  # fmt: skip
    for secret in ("secret", "discreet", "scattered", "scripted", "0.8", "temperature", "2026", "nonce"):
        assert secret not in public


def test_what_the_owner_shows_is_in_clear(scripted: Node) -> None:
    answer = scripted.ask("Why?", show=["model", "sampling/temperature"])
    statement = read_statement(answer.bundle.receipt.intent.payload_bytes(), INTENT)
    assert {line.field: line.value for line in statement.predicate.shown}["sampling/temperature"] == 0.8
    with pytest.raises(UsageError, match="no field 'colour'"):
        scripted.ask("Why?", show=["colour"])


def test_receipts_do_not_repeat_salts(scripted: Node) -> None:
    first, second = (scripted.ask("Why?", temperature=0.0, nonce=b"n" * 32) for _ in range(2))
    assert first.text == second.text
    salts = [line.salt for a in (first, second) for line in a.bundle.disclosure.intent]  # type: ignore[union-attr]
    assert len(set(salts)) == len(salts)
    assert first.bundle.receipt.intent.digest() != second.bundle.receipt.intent.digest()


def test_the_nonce_decides_the_answer(home: Path) -> None:
    with verity.open(home, engine=ScriptedEngine("x" * 40)) as node:
        options: dict[str, Any] = {"temperature": 8.0, "top_k": 0, "top_p": 1.0, "max_tokens": 30}
        texts = [node.ask("?", nonce=n * 32, **options).tokens for n in (b"a", b"a", b"b")]
    assert texts[0] == texts[1] != texts[2]


def test_intent_is_logged_before_the_first_piece(scripted: Node) -> None:
    stream = scripted.stream("Why?", temperature=0.0)
    before = scripted.log.size()
    next(stream)
    assert scripted.log.size() == before + 1
    assert stream.answer is None


def test_leaving_early_is_on_record(scripted: Node) -> None:
    stream = scripted.stream("Why?", temperature=0.0)
    seen = next(stream) + next(stream)
    stream.close()
    assert stream.answer is not None
    assert (stream.answer.finish, stream.answer.text) == ("cancelled", seen)
    assert scripted.check_log() == []


def test_a_new_question_cuts_an_unread_answer_off(scripted: Node) -> None:
    first = scripted.stream("Why?", temperature=0.0)
    next(first)
    assert scripted.ask("And why not?", temperature=0.0).finish == "end"
    assert first.answer is not None
    assert first.answer.finish == "cancelled"


def test_loading_a_model_cuts_an_unread_answer_off(scripted: Node) -> None:
    """It could be another, and free the engine that the answer comes from."""
    stream = scripted.stream("Why?", temperature=0.0)
    next(stream)
    scripted.load()
    assert list(stream) == []
    assert stream.answer is not None
    assert stream.answer.finish == "cancelled"


def test_the_log_is_checked_down_to_its_envelopes(scripted: Node) -> None:
    scripted.ask("Why?", max_tokens=3)
    assert scripted.check_log() == []
    with scripted._database.transaction() as connection:
        (envelope,) = connection.execute("SELECT envelope FROM log_entries WHERE position = 2").fetchone()
        connection.execute("UPDATE log_entries SET envelope = ? WHERE position = 1", (envelope,))
    assert scripted.check_log() == ["entry 1 is not the digest of its envelope"]
    with scripted._database.transaction() as connection:
        connection.execute("UPDATE log_entries SET envelope = x'7b7d' WHERE position = 1")
    assert "entry 1" in scripted.check_log()[0]


def test_closing_the_node_cuts_an_unread_answer_off(home: Path) -> None:
    with verity.open(home, engine=ScriptedEngine()) as node:
        stream = node.stream("Why?")
        next(stream)
    assert stream.answer is not None
    assert stream.answer.finish == "cancelled"


class Failing(ScriptedEngine):
    broken = False

    def advance(self, tokens: Any) -> Any:
        if self.broken and len(self._tokens[0]) > 15:
            raise EngineError("the machine is on fire")
        return super().advance(tokens)


def test_an_error_is_on_record_with_the_tokens_so_far(home: Path) -> None:
    engine = Failing()
    with verity.open(home, engine=engine) as node:
        node.load()
        engine.broken = True
        stream = node.stream("Why?", temperature=0.0)
        with pytest.raises(EngineError, match="on fire"):
            list(stream)
        assert stream.answer is not None
        assert stream.answer.finish == "error"
        assert stream.answer.text
        report = verity.verify(stream.answer.bundle, home=home, replay=False)
        assert "on the device's word" in report.check("output").sentence


def test_stop_strings(scripted: Node) -> None:
    answer = scripted.ask("Why?", temperature=0.0, stops=["scattered", "zzz"])
    assert (answer.text, answer.finish) == ("Blue light is ", "stop")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"stops": [""]}, "stop string"),
        ({"nonce": b"short"}, "nonce"),
        ({"nonce": "x" * 32}, "nonce"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stops": "abc"}, "stops is a list"),
        ({"stops": ["x"] * 65}, "stops is a list"),
        ({"stops": ["\udcff"]}, "not valid Unicode"),
        ({"top_k": 40.5}, "wrong type"),
        ({"temperature": "hot"}, "wrong type"),
        ({"temperature": True}, "wrong type"),
        ({"temperature": -1.0}, "temperature"),
        ({"temprature": 1.0}, "no parameter 'temprature'"),
    ],
)
def test_wrong_requests(scripted: Node, options: dict[str, Any], match: str) -> None:
    size = scripted.log.size()
    with pytest.raises(UsageError, match=match):
        scripted.ask("Why?", **options)
    with pytest.raises(UsageError, match="empty"):
        scripted.ask("  ")
    assert scripted.log.size() in (size, size + 1)  # the numerics are declared when a model is first used


def test_a_prompt_longer_than_the_context(home: Path) -> None:
    with verity.open(home, engine=ScriptedEngine(context_size=100)) as node:
        with pytest.raises(ContextOverflow, match="does not fit a context of 100") as caught:
            node.ask("x" * 200)
        assert "--context" in caught.value.hint
        with pytest.raises(ContextOverflow, match="up to 90 of output"):
            node.ask("x" * 20, max_tokens=90)
        assert node.ask("x" * 20, temperature=0.0).finish in ("length", "end")


class Drifting(ScriptedEngine):
    """Computes batches a little differently, as hosts in another profile do."""

    def advance_all(self, tokens: Any, skip: int = 0, at_least: int = 1) -> Any:
        for row in super().advance_all(tokens, skip, at_least):
            yield row * 1.0000001

    @property
    def description(self) -> dict[str, Any]:
        return {"name": "drifting", "version": "1", "library": "0" * 64}


def test_a_host_that_is_not_exact_still_runs_and_says_so(home: Path) -> None:
    with verity.open(home, engine=Drifting()) as node:
        answer = node.ask("Why?", temperature=0.0)
    assert answer.finish == "end"
    assert answer.grade == "signed, logged, replayable statistically only"


def test_numerics_are_declared_once_in_the_log(home: Path) -> None:
    for _ in range(2):
        with verity.open(home, engine=ScriptedEngine()) as node:
            node.ask("Why?", max_tokens=3)
    with verity.open(home, engine=ScriptedEngine()) as node:
        assert node.log.size() == 1 + 2 * 2
        assert len(node.numerics.known(ScriptedEngine().model["blake3"])) == 1


def test_verifying_first_does_not_keep_the_device_from_declaring(home: Path) -> None:
    from verity.engines.numerics import measure, setting_of

    engine = ScriptedEngine()
    with verity.open(home, engine=engine) as node:
        node.numerics.keep(engine.model["blake3"], setting_of(engine), measure(engine))
        node.ask("Why?", max_tokens=3)
        assert node.log.size() == 3  # the declaration, the intent, the result


def test_a_receipt_can_be_bundled_again_later(scripted: Node) -> None:
    answer = scripted.ask("Why?", max_tokens=5)
    scripted.ask("And?", max_tokens=5)
    later = scripted.exporter.bundle(answer.receipt)
    assert later.receipt == answer.bundle.receipt
    assert later.log.checkpoint != answer.bundle.log.checkpoint
    assert verity.verify(later, home=scripted.home, replay=False).check("logged").status == "passed"
    with pytest.raises(UsageError, match="no receipt"):
        scripted.exporter.bundle("ff" * 16)


def test_public_names() -> None:
    """The public surface: a name that goes away or comes is a decision."""
    assert sorted(verity.__all__) == [
        "Answer", "AnswerError", "Bundle", "Check", "Conversation", "Embedded", "Inferred", "Issued", "Message", "Node",
        "Policy", "Report", "SamplingParameters", "Scored", "ScriptedEngine", "Selection", "Session", "Stream",
        "TypedAnswer", "TypedOutputError", "VerityError", "dispute", "open", "read_request", "verify", "verify_many",
    ]  # fmt: skip
    for name in verity.__all__:
        assert getattr(verity, name) is not None
    with pytest.raises(AttributeError):
        verity.__getattr__("nothing")
