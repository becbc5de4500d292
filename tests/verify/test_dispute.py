"""Two answers to one request differ: the referee finds whose is wrong, by one segment where that is possible."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from forger import forge
from in_process import on

import verity
from liars import WAYS, Run, tell
from verity import elements
from verity.engines.scripted import ScriptedEngine
from verity.errors import FetchError, FormatError, LogError, SignatureError, UsageError
from verity.node import Node
from verity.referee import check_verdict, party_of
from verity.statements.bundle import Bundle, Disclosure
from verity.statements.segments import Evaluated, chain
from verity.statements.verdict import decode_verdict
from verity.verify.dispute import Party, settle
from verity.verify.kinds import AnyClaim
from verity.verify.leaves import LeafOpening
from verity.verify.replay import Replayed
from verity.verify.segments import SpotClaim

REPLY = "Blue light is scattered more than red light, and so the sky is blue at noon, red at dusk and black at night."
PROMPT = "Why is the sky blue? Answer at length. "
ASKED: dict[str, Any] = {"max_tokens": 90, "temperature": 7.0, "top_k": 0, "top_p": 1.0}


class Two(NamedTuple):
    """An honest device, a dishonest one, and who replays."""

    honest: Node
    liar: Node

    def answer(self, nonce: bytes = b"n" * 32, **options: Any) -> Bundle:
        answer: verity.Answer = self.honest.ask(PROMPT, nonce=nonce, **ASKED | options)
        return answer.bundle

    def lie(self, way: str, chance: random.Random, honest: Bundle, nonce: bytes = b"n" * 32) -> Bundle | None:
        return tell(self.liar, way, chance, PROMPT, honest=honest, nonce=nonce, **ASKED)

    def kept(self, receipt: str, segments: Sequence[int]) -> list[bytes]:
        """The liar's states as he committed to them, which no model gives."""
        secret, _ = self.liar.exporter.receipts.private(self.liar.exporter.receipts.get(receipt))
        return self.liar.recorder.states.open(receipt, secret, max(segments)) or []


class Counting:
    """A replayer on the scripted engine that keeps what it was asked."""

    def __init__(self) -> None:
        self.claims: list[AnyClaim] = []

    def __call__(self, claim: AnyClaim) -> Replayed:
        self.claims.append(claim)
        return on(ScriptedEngine(REPLY))(claim)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with (
        verity.open(tmp_path / "honest", engine=ScriptedEngine(REPLY)) as honest,
        verity.open(tmp_path / "liar", engine=ScriptedEngine(REPLY)) as liar,
    ):
        yield Two(honest, liar)


@pytest.mark.parametrize("way", WAYS)
def test_the_liar_is_found_whoever_is_named_first(two: Two, way: str) -> None:
    told = 0
    for number in range(4):
        chance, nonce = random.Random(f"{way} {number}"), bytes([number]) * 32
        honest = two.answer(nonce)
        lie = two.lie(way, chance, honest, nonce)
        if lie is None:
            continue
        told += 1
        parties = party_of(honest, two.honest.states), party_of(lie, two.kept)
        forth, back = settle(*parties, Counting()), settle(*parties[::-1], Counting())
        assert (forth.a.finding, forth.b.finding) == ("holds", "false"), (forth, number)
        assert (back.a.finding, back.b.finding) == ("false", "holds"), (back, number)
    assert told >= 2


def test_one_segment_is_replayed_and_few_leaves_are_exchanged(two: Two) -> None:
    honest = two.answer()
    lie = two.lie("replaced token", random.Random(4), honest)
    assert lie is not None
    replayer = Counting()
    verdict = settle(party_of(honest, two.honest.states), party_of(lie, two.kept), replayer)
    assert verdict.segment is not None
    assert verdict.segments is not None
    assert verdict.leaves <= 2 * math.ceil(math.log2(verdict.segments) + 1)
    assert [claim.picked for claim in replayer.claims if isinstance(claim, SpotClaim)] == [[verdict.segment]]
    assert verdict.replays == len(replayer.claims) == 1


def test_two_who_tell_the_same_have_no_dispute(two: Two) -> None:
    """A verdict that both hold would rest on one segment of many."""
    replayer = Counting()
    same = two.liar.ask(PROMPT, nonce=b"n" * 32, **ASKED).bundle
    with pytest.raises(UsageError, match="the same"):
        settle(party_of(two.answer(), two.honest.states), party_of(same, two.liar.states), replayer)
    assert not replayer.claims


def test_other_kinds_of_receipt_have_no_dispute(two: Two) -> None:
    scored = two.honest.score("Blue light").bundle
    with pytest.raises(UsageError, match="scoring"):
        settle(party_of(scored), party_of(scored), Counting())


def test_an_answer_that_was_cut_off_is_no_lie(two: Two) -> None:
    whole = two.answer()
    stream = two.liar.stream(PROMPT, nonce=b"n" * 32, **ASKED)
    for _ in range(40):
        next(stream)
    stream.close()
    assert stream.answer is not None
    cut = stream.answer.bundle
    verdict = settle(party_of(whole, two.honest.states), party_of(cut, two.liar.states), Counting())
    assert (verdict.a.finding, verdict.b.finding) == ("holds", "holds")


def test_answers_to_different_requests_are_not_compared(two: Two) -> None:
    with pytest.raises(UsageError, match="sampling/temperature"):
        settle(party_of(two.answer()), party_of(two.answer(temperature=6.5)), Counting())
    with pytest.raises(UsageError, match="seed"):
        settle(party_of(two.answer()), party_of(two.answer(b"m" * 32)), Counting())


def test_a_withheld_answer_cannot_be_disputed(two: Two) -> None:
    bundle = two.answer()
    part = two.honest.exporter.bundle(
        verity.verify(bundle, replay=False).receipt, verity.Selection(output=True, fields=["sampling/*"])
    )
    with pytest.raises(UsageError, match="opened"):
        settle(party_of(part), party_of(bundle), Counting())


def test_states_that_nobody_opens_cost_two_whole_replays(two: Two) -> None:
    honest = two.answer()
    lie = two.lie("edited token", random.Random(1), honest)
    assert lie is not None
    replayer = Counting()
    verdict = settle(party_of(honest), party_of(lie), replayer)
    assert (verdict.a.finding, verdict.b.finding) == ("holds", "false")
    if verdict.segment:
        assert not any(isinstance(claim, SpotClaim) for claim in replayer.claims)


def test_rows_that_are_not_those_agreed_on_are_not_used(two: Two) -> None:
    honest = two.answer()
    lie = two.lie("edited token", random.Random(3), honest)
    assert lie is not None

    def wrong(receipt: str, segments: Sequence[int]) -> list[bytes]:
        return [b"\x03\x00" for _ in range(max(segments))]

    verdict = settle(party_of(honest, wrong), party_of(lie, wrong), Counting())
    assert (verdict.a.finding, verdict.b.finding) == ("holds", "false")


def test_who_does_not_open_his_leaves_is_wrong(two: Two) -> None:
    honest = two.answer()
    lie = two.lie("edited token", random.Random(1), honest)
    assert lie is not None
    party = party_of(lie, two.kept)

    def silent(index: int) -> LeafOpening:
        raise FormatError("no")

    def other(index: int) -> LeafOpening:
        opening = party.leaf(index)
        return msgspec.structs.replace(opening, end_state="ab" * 32)

    for leaf in (silent, other):
        verdict = settle(party_of(honest, two.honest.states), Party(lie, leaf, party.states), Counting())
        assert (verdict.a.finding, verdict.b.finding) == ("holds", "false")
        assert "does not open" in verdict.b.sentence


def test_a_receipt_that_does_not_hold_by_itself_loses(two: Two) -> None:
    wrong = forge(two.liar, PROMPT, nonce=b"n" * 32, result=lambda said: said.update({"output/text": "No."}), **ASKED)
    verdict = settle(party_of(wrong), party_of(two.answer(), two.honest.states), Counting())
    assert (verdict.a.finding, verdict.b.finding, verdict.replays) == ("false", "holds", 1)
    assert verdict.a.evidence["check"] == "output"


BY_ANYBODY: dict[str, Callable[[Any], Any]] = {
    "disclosure": lambda plain: plain["disclosure"]["tokens"][3].update(id=plain["disclosure"]["tokens"][3]["id"] + 1),
    "logged": lambda plain: plain["log"]["result"].update(index=9),
    "signed": lambda plain: plain["receipt"]["intent"]["signatures"][0].update(sig="AAAA" * 21 + "AA=="),
}


@pytest.mark.parametrize("check", BY_ANYBODY)
def test_what_anybody_may_have_changed_is_nobodys_lie(two: Two, check: str) -> None:
    """Who holds an honest bundle must not get a verdict against its device by breaking it."""
    honest, lie = two.answer(), two.lie("edited token", random.Random(1), two.answer())
    assert lie is not None
    plain = msgspec.json.decode(honest.encode())
    BY_ANYBODY[check](plain)
    verdict = settle(party_of(msgspec.json.encode(plain)), party_of(lie, two.kept), Counting())
    assert (verdict.a.finding, verdict.b.finding) == ("undecided", "false")
    assert verdict.a.evidence["check"] == check


def test_an_intent_and_a_result_of_two_receipts_are_nobodys_lie(two: Two) -> None:
    one, other = (msgspec.json.decode(two.answer(nonce).encode()) for nonce in (b"n" * 32, b"m" * 32))
    one["receipt"]["result"], one["log"] = other["receipt"]["result"], other["log"]
    one["log"]["intent"] = msgspec.json.decode(two.answer().encode())["log"]["intent"]
    verdict = settle(party_of(msgspec.json.encode(one)), party_of(two.answer(), two.honest.states), Counting())
    assert (verdict.a.finding, verdict.b.finding) == ("undecided", "holds")


def test_nobody_is_judged_by_another_build_than_his_own(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(run: Run) -> bool:
        run.fields = lambda fields: fields["engine"].update(version="another")
        return WAYS["edited token"](run)

    honest = two.answer()
    monkeypatch.setitem(WAYS, "elsewhere", elsewhere)
    lie = two.lie("elsewhere", random.Random(1), honest)
    assert lie is not None
    parties = party_of(honest, two.honest.states), party_of(lie, two.kept)
    forth, back = settle(*parties, Counting()), settle(*parties[::-1], Counting())
    assert (forth.a.finding, forth.b.finding) == ("holds", "undecided")
    assert (back.a.finding, back.b.finding) == ("undecided", "holds")


def test_nor_by_a_referee_who_has_another_build_than_both(two: Two) -> None:
    honest = two.answer()
    lie = two.lie("edited token", random.Random(1), honest)
    assert lie is not None

    def elsewhere(claim: AnyClaim) -> Replayed:
        return msgspec.structs.replace(Counting()(claim), engine={"name": "another"})

    parties = party_of(honest, two.honest.states), party_of(lie, two.kept)
    forth, back = settle(*parties, elsewhere), settle(*parties[::-1], elsewhere)
    assert (forth.a.finding, forth.b.finding) == ("holds", "undecided")
    assert (back.a.finding, back.b.finding) == ("undecided", "holds")


@pytest.mark.parametrize("tokens", [12, 90])
def test_states_that_are_not_chained_harm_their_own_device_alone(
    two: Two, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    """A liar agrees in the last states and not in one before: the bisection, which trusts in chains, passes it by."""
    honest = two.answer(max_tokens=tokens)
    assert isinstance(honest.disclosure, Disclosure)
    truth = [bytes.fromhex(segment.state) for segment in honest.disclosure.segments]
    assert len(truth) in (2, 5)

    def unchained(*given: Any) -> list[bytes]:
        return [*chain(*given)[:-1], truth[-1]]

    def forged(states: Evaluated) -> Evaluated:
        chunks = [*states.chunks[:-2], bytes(len(states.chunks[-2])), states.chunks[-1]]
        return msgspec.structs.replace(states, chunks=chunks)

    monkeypatch.setattr(elements, "chain", unchained)
    lie = forge(two.liar, PROMPT, nonce=b"n" * 32, evaluated=forged, **{**ASKED, "max_tokens": tokens})
    parties = party_of(lie, two.kept), party_of(honest, two.honest.states)
    for one, other, findings in ((*parties, ("false", "holds")), (*parties[::-1], ("holds", "false"))):
        verdict = settle(one, other, Counting())
        assert (verdict.a.finding, verdict.b.finding) == findings, verdict


def test_that_two_agree_makes_neither_right(two: Two) -> None:
    lie = two.lie("edited token", random.Random(1), two.answer())
    assert lie is not None
    with pytest.raises(UsageError, match="the same"):
        settle(party_of(lie, two.kept), party_of(lie, two.kept), Counting())


def test_who_could_not_be_asked_is_not_called_false(two: Two) -> None:
    honest = two.answer()
    lie = two.lie("edited token", random.Random(1), honest)
    assert lie is not None

    def unreachable(index: int) -> LeafOpening:
        raise FetchError("no way there")

    party = party_of(honest, two.honest.states)
    verdict = settle(Party(honest, unreachable, party.states), party_of(lie, two.kept), Counting())
    assert (verdict.a.finding, verdict.b.finding) == ("undecided", "false")


def test_other_numerics_are_not_judged(two: Two) -> None:
    honest = two.answer()
    lie = two.lie("edited token", random.Random(1), honest)
    assert lie is not None

    def elsewhere(claim: AnyClaim) -> Replayed:
        foreign = msgspec.structs.replace(claim.numerics, fingerprint="cd" * 32)
        return Replayed(numerics=foreign, engine=claim.engine, outcome=None)

    verdict = settle(party_of(honest, two.honest.states), party_of(lie, two.kept), elsewhere)
    assert not verdict.settled


def test_receipts_without_segments_are_replayed_as_a_whole(two: Two) -> None:
    honest = two.answer()
    lie = two.lie("edited token", random.Random(1), honest)
    assert lie is not None
    verdict = settle(party_of(_without_segments(honest)), party_of(_without_segments(lie)), Counting())
    assert (verdict.a.finding, verdict.b.finding, verdict.segment) == ("holds", "false", None)


def _without_segments(bundle: Bundle) -> Bundle:
    assert isinstance(bundle.disclosure, Disclosure)
    return msgspec.structs.replace(bundle, disclosure=msgspec.structs.replace(bundle.disclosure, segments=[]))


# --- the verdict ------------------------------------------------------------------------------------------------------


def test_a_verdict_is_signed_logged_and_reads_the_same(two: Two, tmp_path: Path) -> None:
    honest = two.answer()
    lie = two.lie("other seed", random.Random(2), honest)
    assert lie is not None
    with verity.open(tmp_path / "referee", engine=ScriptedEngine(REPLY)) as referee:
        parties = party_of(honest, two.honest.states), party_of(lie, two.kept)
        verdict, signed = referee.referee.settle(*parties, on(ScriptedEngine(REPLY)))
        key, problems = referee.key.id, referee.check_log()
    assert problems == []
    read = check_verdict(decode_verdict(signed.encode()), key)
    assert read.findings == ("holds", "false")
    assert [p.device for p in read.parties] == [two.honest.key.id, two.liar.key.id]
    assert read.segment is not None
    assert (read.segment.number, read.segment.of) == (verdict.segment, verdict.segments)
    with pytest.raises(SignatureError):
        check_verdict(signed, two.liar.key.id)
    moved = msgspec.structs.replace(signed, proof=msgspec.structs.replace(signed.proof, index=signed.proof.index + 1))
    with pytest.raises(LogError):
        check_verdict(moved, key)
    turned = msgspec.json.decode(signed.encode())
    payload = turned["verdict"]["payload"]
    turned["verdict"]["payload"] = payload[:100] + ("A" if payload[100] != "A" else "B") + payload[101:]
    with pytest.raises((SignatureError, FormatError)):
        check_verdict(decode_verdict(msgspec.json.encode(turned)), key)


def test_a_party_cannot_make_a_verdict_too_long_to_sign(two: Two, tmp_path: Path) -> None:
    def long_end(said: dict[str, Any]) -> None:
        said["output/finish"] = "x" * (2 << 20)

    def long_name(fields: dict[str, Any]) -> None:
        fields["model"] = {**fields["model"], "name": "x" * (2 << 20)}

    lie = forge(two.liar, PROMPT, nonce=b"n" * 32, result=long_end, intent=long_name, **ASKED)
    with verity.open(tmp_path / "referee", engine=ScriptedEngine(REPLY)) as referee:
        parties = party_of(lie), party_of(two.answer(), two.honest.states)
        _, signed = referee.referee.settle(*parties, on(ScriptedEngine(REPLY)))
        read = check_verdict(decode_verdict(signed.encode()), referee.key.id)
    assert read.findings == ("false", "holds")
    assert (len(read.sentences[0]), read.model) == (2000, {})


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"verdict": 1}', b"x" * (2 << 20)])
def test_what_is_no_verdict_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_verdict(data)
