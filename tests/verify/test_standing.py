"""What events mean for a key and its receipts: the published table, every order of it, and an adversary's moves."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.log.checkpoint import Checkpoint
from verity.statements.key_events import Body, ClosedLog, Event, Recovery, Revocation, SignedEvent, Succession
from verity.verify.key_events import check_event
from verity.verify.standing import MAX_CHAIN, Said, heirs, standing
from verity.verify.timely import Receipt, judge

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "spec/vectors/keys.json").read_text())
EVENTS = {name: check_event(msgspec.convert(event, SignedEvent)) for name, event in VECTORS["events"].items()}
DEVICE = VECTORS["key"]


def _published(case: dict[str, Any]) -> list[Said]:
    said = []
    for line in case["known"]:
        known = EVENTS[line["event"]].dated((), 0.0)
        said.append(msgspec.structs.replace(known, by=line["by"]))
    return said


def _receipt(line: dict[str, Any]) -> Receipt:
    import base64

    head = Checkpoint(line["head"]["origin"], line["head"]["size"], base64.b64decode(line["head"]["root"]))
    return Receipt(head, line["last"], line["seen"])


@pytest.mark.parametrize("case", VECTORS["meaning"], ids=lambda case: case["desc"])
def test_vectors(case: dict[str, Any]) -> None:
    """In whatever order somebody learns of the events."""
    for known in itertools.permutations(_published(case)):
        now = standing(DEVICE, known)
        assert (now.since, now.recovery, list(now.successors)) == (case["since"], case["recovery"], case["successors"])
        assert list(heirs(DEVICE, known).keys) == case["heirs"]
        for line in case["receipts"]:
            assert judge(now, _receipt(line)).status == line["status"], line


# --- the same by hand, without signatures -----------------------------------------------------------------------------

T = 1_000_000
TIME = "1970-01-12T13:46:40Z"  # T
A, B, C, R, R2, THIEF = (hashlib.sha256(name.encode()).hexdigest() for name in "ABCRST")


def say(key: str, body: Body, *signers: str, by: int | None = None, head: Checkpoint | None = None) -> Said:
    digest = hashlib.sha256(repr((key, body)).encode()).hexdigest()  # of the payload alone
    return Said(Event(key, body, tuple(sorted(signers)), digest), by, head)


def names(recovery: str, *also: str, key: str = A, by: int | None = None) -> Said:
    return say(key, Recovery(recovery, TIME), key, recovery, *also, by=by)


def passes(key: str, to: str, *signers: str, by: int | None = None, size: int | None = 5) -> Said:
    closed = None if size is None else ClosedLog(f"verity/{key}/3", "ab" * 32, size)
    return say(key, Succession(closed, to, TIME), *(signers or (key,)), to, by=by)


def revokes(signer: str, since: str = TIME, key: str = A, by: int | None = None) -> Said:
    return say(key, Revocation("stolen", since, TIME), signer, by=by)


def at(last: int, size: int, seen: int | None = None, epoch: int = 3, root: bytes = b"\xab" * 32) -> Receipt:
    return Receipt(Checkpoint(f"verity/{A}/{epoch}", size, root), last, seen)


def status(known: Sequence[Said], receipt: Receipt) -> str:
    return judge(standing(A, known), receipt).status


def test_a_thief_can_end_trust_but_not_move_it() -> None:
    """Whatever a thief signs with A from T on: nobody who knows the owner's revocation trusts a key of the thief's."""
    owner = [names(R, by=T - 5), revokes(R, by=T + 9)]
    moves = [
        passes(A, THIEF),
        passes(A, THIEF, by=T),
        passes(A, THIEF, A, R2, by=T + 1),
        names(R2, by=T),
        names(R2),
        revokes(A, "1970-01-12T13:46:39Z", by=T + 2),
        passes(A, THIEF, R2, size=None),
    ]
    for count in range(len(moves) + 1):
        for chosen in itertools.combinations(moves, count):
            known = [*owner, *chosen]
            assert THIEF not in heirs(A, known).keys
            assert status(known, at(1, 2, seen=T + 1)) == "failed"
            assert status(known, at(1, 2)) == "failed"


def test_the_owner_moves_trust_with_the_recovery_key() -> None:
    known = [
        names(R, by=T - 5),
        revokes(R, by=T + 9),
        passes(A, B, R, size=None),
        passes(A, THIEF, by=T + 1),
        names(R2),
    ]
    assert heirs(A, known).keys == (A, B)
    assert status(known, at(1, 2, seen=T - 1)) == "not made"  # nobody dates the succession: the owner has it witnessed
    assert status([*known[:2], passes(A, B, R, size=None, by=T + 9)], at(1, 2, seen=T - 1)) == "passed"


def test_a_thief_who_speaks_alone_is_believed_as_the_owner_would_be() -> None:
    """What nobody can help: before the owner says a word, the key is whose it is in hand."""
    assert heirs(A, [passes(A, THIEF)]).keys == (A, THIEF)
    assert heirs(A, [names(R2), passes(A, THIEF, R2)]).keys == (A, THIEF)
    assert heirs(A, [passes(A, THIEF), passes(A, B)]).keys == (A,)


def test_an_unwitnessed_rival_settles_nothing_against_the_owner() -> None:
    """A second recovery key must not let the thief's succession stand where the owner's is known."""
    known = [names(R), names(R2), passes(A, B, R, size=None), passes(A, THIEF)]
    chain = heirs(A, known)
    assert chain.keys == (A,)
    assert set(chain.between) == {B, THIEF}
    assert heirs(A, known[:3]).keys == (A,)  # nobody says for sure whose word it is


def test_a_thief_gains_nothing_by_revoking() -> None:
    """A revocation dated between two successions, or before the recovery key was named, decides for nobody."""
    dated = passes(A, THIEF, by=T - 1)
    for owner in (
        [passes(A, B)],
        [names(R), passes(A, B, R, size=None)],
        [names(R, by=T + 1), passes(A, B, R, size=None)],
    ):
        assert THIEF not in heirs(A, [*owner, dated]).keys
        assert heirs(A, [*owner, dated, revokes(A)]).keys == (A,)
    replaced = [names(R, by=T - 9), names(R2, R, by=T + 1), passes(A, THIEF, R, size=None), revokes(A)]
    assert heirs(A, replaced).keys == (A,)  # R was replaced, and does not come back


def test_the_recovery_keys_own_revocation_decides() -> None:
    known = [names(R, by=T - 9), passes(A, B, by=T - 1), passes(A, THIEF, by=T)]
    assert set(heirs(A, known).between) == {B, THIEF}
    assert heirs(A, [*known, revokes(R)]).keys == (A, B)
    assert set(heirs(A, [*known, revokes(A)]).between) == {B, THIEF}


def test_a_self_signed_revocation_takes_back_what_was_said_after_its_time() -> None:
    """A holder of the old key can undo a succession, by dating its compromise before: he ends trust, and moves none."""
    known = [names(R, by=T + 1), passes(A, B, by=T + 2), revokes(A)]
    assert heirs(A, known).keys == (A,)
    assert heirs(A, known).between == (B,)
    assert heirs(A, [*known[:2], revokes(A, "1970-01-12T13:46:43Z")]).keys == (A, B)


def test_who_revokes_late_is_seen_to_disown() -> None:
    known = [revokes(A, by=T + 50)]
    disowned = judge(standing(A, known), at(1, 2, seen=T + 20))
    assert disowned.status == "failed"
    assert "disowns" in disowned.sentence
    assert "disowns" not in judge(standing(A, known), at(1, 2, seen=T + 60)).sentence
    assert disowned.evidence["said_by_s"] == T + 50


@pytest.mark.parametrize(
    ("receipt", "expected"),
    [
        (at(4, 5), "passed"),
        (at(4, 6), "passed"),
        (at(4, 7), "failed"),  # the log goes on after its last entry
        (at(5, 6), "failed"),  # the succession's own place
        (at(4, 5, root=bytes(32)), "failed"),  # another history
        (at(1, 2, root=bytes(32)), "passed"),  # that it is the same log is not shown
        (at(4, 6, root=bytes(32)), "failed"),
        (at(9, 10, epoch=2), "passed"),
        (at(0, 1, epoch=4), "failed"),
        (at(0, 1, epoch=4, seen=0), "failed"),
    ],
)
def test_the_end_of_the_closed_log(receipt: Receipt, expected: str) -> None:
    closing = passes(A, B)
    proven = msgspec.structs.replace(closing, head=Checkpoint(f"verity/{A}/3", 6, b"\xab" * 32))
    assert status([proven], receipt) == expected


def test_an_owner_who_ends_his_log_before_a_witnessed_receipt_is_seen_to() -> None:
    """He forks it, to be rid of the receipt: it fails, and the report says what the heads prove."""
    known = [passes(A, B, size=2, by=T + 5)]
    disowned = judge(standing(A, known), at(4, 5, seen=T))
    assert disowned.status == "failed"
    assert "keep both heads" in disowned.sentence
    assert "keep both heads" not in judge(standing(A, known), at(4, 5, seen=T + 6)).sentence
    assert "keep both heads" not in judge(standing(A, known), at(4, 5)).sentence


def test_two_ends_of_one_log_and_one_successor() -> None:
    """Signed twice, to the same successor: the receipt must be before both."""
    known = [passes(A, B, by=T), passes(A, B, size=9, by=T + 1)]
    assert standing(A, known).successor == B
    assert status(known, at(4, 5)) == "passed"
    assert status(known, at(7, 8)) == "failed"


def test_what_the_recovery_key_knew_of_the_log_may_not_be_all() -> None:
    """A kept head is no last entry: what comes after it counts if witnesses saw it before the succession."""
    known = [names(R), passes(A, B, R, by=T)]
    assert status(known, at(2, 9)) == "passed"
    assert status(known, at(7, 9, seen=T - 1)) == "passed"
    assert status(known, at(7, 9, seen=T)) == "failed"
    assert status(known, at(7, 9)) == "not made"


def test_chains_end() -> None:
    keys = [hashlib.sha256(bytes([n])).hexdigest() for n in range(MAX_CHAIN + 3)]
    links = [passes(a, b) for a, b in itertools.pairwise(keys)]
    assert heirs(keys[0], links[: MAX_CHAIN - 1]).keys == tuple(keys[:MAX_CHAIN])
    long = heirs(keys[0], links)
    assert (len(long.keys), bool(long.broken)) == (MAX_CHAIN, True)
    circle = heirs(A, [passes(A, B), passes(B, C), passes(C, A)])
    assert (circle.keys, circle.broken) == ((A, B, C), "the successions go in a circle")


def test_recovery_keys_that_replace_each_other() -> None:
    chain = [names(R), names(R2, R), names(C, R2)]
    assert standing(A, chain).recovery == C
    assert standing(A, [names(R), names(R2, R), names(THIEF, R)]).recovery is None
    assert standing(A, [names(R, R2), names(R2, R)]).recovery is None


# --- one payload, signed by several ---------------------------------------------------------------------------------


def also_by(said: Said, *signers: str, by: int | None = None) -> Said:
    """The same payload, and so the same digest, with exactly these signatures."""
    return msgspec.structs.replace(
        said, event=msgspec.structs.replace(said.event, signers=tuple(sorted(signers))), by=by
    )


def in_any_order(known: Sequence[Said]) -> tuple[str, ...]:
    (keys,) = {heirs(A, order).keys for order in itertools.permutations(known)}
    return keys


def test_nobody_takes_a_signature_away() -> None:
    """Anybody can leave a signature out of an envelope: whoever has seen the whole of it is not made to forget."""
    known = [names(R, by=T - 5), revokes(R), whole := passes(A, B, A, R, by=T + 1)]
    assert in_any_order([*known, also_by(whole, A, B, by=T + 1)]) == (A, B)


def test_a_date_is_of_those_who_had_signed() -> None:
    """A thief-to-be has a succession to himself dated, signed by his own keys; after the theft he adds the stolen one's
    signature to the same payload. The date is not that of the signature which counts."""
    prepared = also_by(passes(A, THIEF, by=T - 9), THIEF, C, by=T - 9)
    stolen = also_by(prepared, A, THIEF)
    for owner in ([revokes(A)], [names(R, by=T - 5), revokes(R)]):
        assert in_any_order([*owner, prepared, stolen]) == (A,)
        assert in_any_order([*owner, prepared, msgspec.structs.replace(stolen, by=T + 1)]) == (A,)


def test_a_signature_added_to_the_naming_of_a_recovery_key_replaces_nobody() -> None:
    """A thief of the key names two recovery keys of his own, one of which signs the owner's naming as well."""
    owner = [first := names(R, by=T - 5), revokes(R), passes(A, B, R, size=None, by=T + 9)]
    thiefs = [also_by(first, A, R, R2, by=T - 5), names(R2, by=T + 1), names(THIEF, R2, by=T + 2)]
    for count in range(len(thiefs) + 1):
        for chosen in itertools.combinations(thiefs, count):
            assert in_any_order([*owner, *chosen]) == (A, B)


def test_two_heads_of_one_event_settle_nothing() -> None:
    """A thief of a retired key can log its last entry again, in another tree: in whatever order one learns of it."""
    heads = [Checkpoint(f"verity/{A}/3", 6, root) for root in (b"\xab" * 32, bytes(32))]
    known = [msgspec.structs.replace(passes(A, B), head=head) for head in heads]
    for order in itertools.permutations(known):
        assert status(order, at(4, 6)) == "passed"
        assert judge(standing(A, order), at(4, 6)).evidence["in_the_closed_log"] is False


_KEYS = st.sampled_from([A, B, C])
_BY = st.none() | st.integers(T - 2, T + 2)
_SINCE = st.sampled_from(["1970-01-12T13:46:39Z", TIME, "1970-01-12T13:46:41Z"])
_RECOVERY = st.sampled_from([R, R2])
_TO = st.sampled_from([B, C, THIEF])
_SIZE = st.none() | st.integers(0, 6)
_ANY = st.one_of(
    st.builds(lambda r, also, by: names(r, *also, by=by), _RECOVERY, st.sets(_RECOVERY), _BY),
    st.builds(lambda k, to, by, size: passes(k, to, by=by, size=size), _KEYS, _TO, _BY, _SIZE),
    st.builds(lambda to, r, by: passes(A, to, r, by=by, size=None), _TO, _RECOVERY, _BY),
    st.builds(lambda signer, since, by: revokes(signer, since, by=by), st.sampled_from([A, R, R2, THIEF]), _SINCE, _BY),
)


@given(
    st.lists(_ANY, max_size=7),
    st.randoms(use_true_random=False),
    st.builds(at, st.integers(0, 6), st.integers(1, 8), _BY),
)
def test_laws(known: list[Said], chance: Any, receipt: Receipt) -> None:
    now, chain, verdict = standing(A, known), heirs(A, known), status(known, receipt)
    shuffled = list(known)
    chance.shuffle(shuffled)
    again = standing(A, shuffled)
    assert (again.since, again.recovery, again.successors) == (now.since, now.recovery, now.successors)
    assert heirs(A, shuffled).keys == chain.keys
    assert status(shuffled, receipt) == verdict
    assert chain.keys[0] == A
    assert len(set(chain.keys)) == len(chain.keys)
    # With one more revocation, by the key itself, nothing passes but what witnesses saw before it; and no new heirs.
    more = [*known, revokes(A)]
    since = standing(A, more).since
    assert since is not None
    assert since <= T
    if receipt.seen is None or receipt.seen >= since:
        assert status(more, receipt) == "failed"
    assert set(heirs(A, more).keys) <= set(chain.keys)
    everything = [*known, revokes(A, "1970-01-01T00:00:00Z")]
    assert heirs(A, everything).keys == (A,)
    assert status(everything, receipt) == "failed"
