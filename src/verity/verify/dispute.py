"""Two parties answered one request differently: who is wrong? Found by replaying one segment. See spec/dispute.md.

    1  each receipt is checked by itself, without a replay; both must be for one request. A bundle that anybody may have
       changed is nobody's lie: only what a device signed is held against it
    2  leaves are exchanged, two for each step of a bisection: up to which segment do they agree?
    3  both then agree on a state and differ in what follows from it: the first difference is in one segment
    4  the referee replays that segment from the agreed state: whoever commits to what the model gives holds, and what
       another says of the same positions under the same numerics is false

States are chained and tokens digested from the first on, so that two who agree at the end of a segment agree on all
before it. Where that cannot be used (no segments, others' sizes, states that nobody opens) the referee replays the
whole. Pure; the replays are made by a ``Replayer`` that the caller hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from verity.errors import FormatError, ProofError, UsageError, VerityError
from verity.statements.bundle import Bundle
from verity.statements.receipt import GENERATION, INPUT_PREFIX, KINDS
from verity.statements.segments import Leaf, evaluated_length
from verity.statements.strict import canonical
from verity.verify import content
from verity.verify.claims import Fields, Withheld
from verity.verify.exchange import Exchange, Leaves, Silent
from verity.verify.leaves import LeafSource
from verity.verify.policy import Expected, Policy
from verity.verify.replay import CannotReplay, Claim
from verity.verify.report import Check
from verity.verify.segments import Segments, SpotClaim, committed_rows
from verity.verify.spot import StateSource
from verity.verify.verifier import Replayer, judge, statements, verify

Finding = Literal["holds", "false", "undecided"]
_ONE_REQUEST = (
    "adapters", "choice", "context", "grammar", "limits/max_tokens", "limits/stops", "model", "request",
    "sampling/frequency_penalty", "sampling/min_p", "sampling/presence_penalty", "sampling/repetition_penalty",
    "sampling/temperature", "sampling/top_k", "sampling/top_p", "seed", "template", "tools",
)  # fmt: skip
_ANYBODYS = frozenset({"receipt", "signed", "logged", "consistent", "intent", "intent-first", "disclosure"})
"""Checks that fail for a bundle that somebody else made of a device's statements, or did not understand."""
_FAKE = "engine"
"""The check that fails for the scripted engine alone: a referee's replayer refuses it, if it is a real one."""


class Party(NamedTuple):
    """One side: its bundle with everything opened, who opens its leaves, and who its states."""

    bundle: Bundle
    leaf: LeafSource
    states: StateSource


class Ruling(msgspec.Struct, frozen=True):
    """What was found about one party, in one sentence. Where one segment was replayed, it speaks of that one."""

    finding: Finding
    sentence: str
    evidence: dict[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True):
    """``segment`` of ``segments`` is where they part (None: it took whole replays, or none); ``leaves`` were exchanged,
    ``replays`` made."""

    a: Ruling
    b: Ruling
    segment: int | None = None
    segments: int | None = None
    leaves: int = 0
    replays: int = 0

    @property
    def settled(self) -> bool:
        return "undecided" not in (self.a.finding, self.b.finding)


_OPEN = Ruling("undecided", "Not looked at yet.")
_OTHERWISE = Ruling(
    "false", "From the state on which both agree, the model gives what the other commits to, and not this."
)


class _Side(NamedTuple):
    """A party whose receipt holds by itself."""

    party: Party
    receipt: str
    claim: Claim
    segments: Segments | None
    intent: bytes
    fields: Fields


def settle(a: Party, b: Party, replayer: Replayer) -> Verdict:
    """Who is wrong. Raises UsageError when the two answer different requests, say the same, are no answers or do not
    open everything, FormatError when a bundle cannot be read at all."""
    sides = _side(a), _side(b)
    if any(isinstance(side, Ruling) for side in sides):
        replays = sum(isinstance(side, _Side) for side in sides)
        return Verdict(_whole(sides[0], replayer), _whole(sides[1], replayer), replays=replays)
    return _settle(*sides, replayer)  # type: ignore[arg-type]


def _side(party: Party) -> _Side | Ruling:
    intent, result = statements(party.bundle)
    if (kind := intent.predicate.kind) in KINDS and kind != GENERATION:
        raise UsageError(f"a dispute is between two answers, and this receipt is of the kind {kind!r}", "verify each")
    report = verify(party.bundle, Policy(), Expected(), None)
    failed = [check for check in report.failed if check.name != _FAKE]
    if failed:
        return _fault(failed)
    opened = content.open_fields(party.bundle, intent, result)
    try:
        claim = content.generation_claim(opened)
    except (Withheld, CannotReplay) as missing:
        raise UsageError(
            f"a dispute needs both answers opened: {missing}", "export them with --everything"
        ) from missing
    except VerityError as error:
        return Ruling("false", f"The receipt says what no device could do: {error}.")
    return _Side(party, report.receipt, claim, opened.segments, opened.intent, opened.fields)


def _fault(failed: Sequence[Check]) -> Ruling:
    """What a receipt that does not hold by itself says about its device: nothing, if anybody may have made it so."""
    for check in failed:
        if check.name in _ANYBODYS:
            sentence = f"The bundle does not hold, whoever made it so: {check.sentence}"
            return Ruling("undecided", sentence, {"check": check.name})
    sentence = f"The receipt does not hold by itself: {failed[0].sentence}"
    return Ruling("false", sentence, {"check": failed[0].name})


def _settle(a: _Side, b: _Side, replayer: Replayer) -> Verdict:
    _one_request(a, b)
    if a.claim == b.claim and _leaves(a) == _leaves(b):
        raise UsageError("the two answers are the same: there is nothing to settle", "verify them: `verity verify A B`")
    if not _comparable(a, b):
        return Verdict(_whole(a, replayer), _whole(b, replayer), replays=2)
    exchange = Exchange(_of_leaves(a), _of_leaves(b))
    try:
        parted = exchange.first_difference()
    except Silent as silent:
        rulings = [_whole(side, replayer) if n != silent.which else _silent(silent) for n, side in enumerate((a, b))]
        return Verdict(rulings[0], rulings[1], leaves=exchange.count, replays=1)
    if parted is None:  # no segment is in dispute: that they agree makes neither right
        return Verdict(_whole(a, replayer), _whole(b, replayer), leaves=exchange.count, replays=2)
    index, one_is_wrong = parted
    found = Verdict(_OPEN, _OPEN, segment=index, segments=exchange.common, leaves=exchange.count, replays=2)
    chunks = _agreed_rows(a, b, index)
    if chunks is None:
        return msgspec.structs.replace(found, a=_whole(a, replayer), b=_whole(b, replayer))
    first = _replayed(a, index, chunks, replayer)
    if first.finding == "holds" and one_is_wrong and _one_build(a.claim, b.claim, first):
        return msgspec.structs.replace(found, a=first, b=_OTHERWISE, replays=1)
    return msgspec.structs.replace(found, a=first, b=_replayed(b, index, chunks, replayer))


def _one_build(a: Claim, b: Claim, made: Ruling) -> bool:
    """Whether both name the same numerics and build of the engine, and it made the replay of ``a``: nobody is judged by
    another build than his own."""
    return made.evidence["same_build"] and a.numerics == b.numerics and canonical(a.engine) == canonical(b.engine)


def _one_request(a: _Side, b: _Side) -> None:
    """Raises UsageError for two answers that need not be the same."""
    inputs = {name for side in (a, b) for name in side.fields.names() if name.startswith(INPUT_PREFIX)}
    for name in sorted((*_ONE_REQUEST, *inputs)):
        said = [canonical(s.fields.value(name)) if name in s.fields else b"" for s in (a, b)]
        if said[0] != said[1]:
            hint = "dispute two answers to one request: the nonce must be the same, too"
            raise UsageError(f"these are answers to different requests: they differ in {name}", hint)


def _leaves(side: _Side) -> list[Leaf] | None:
    return side.segments.leaves if side.segments is not None else None


def _comparable(a: _Side, b: _Side) -> bool:
    if a.segments is None or b.segments is None:
        return False
    one, other = a.segments.root, b.segments.root
    return one.size == other.size and canonical(one.encoding) == canonical(other.encoding)


def _of_leaves(side: _Side) -> Leaves:
    assert side.segments is not None
    return Leaves(side.party.leaf, side.segments.root, bytes.fromhex(side.receipt), side.intent)


def _silent(silent: Silent) -> Ruling:
    """A leaf that does not hold is a lie; one that could not be asked for is nobody's."""
    if isinstance(silent.error, FormatError | ProofError):
        return Ruling("false", f"It does not open what it committed to: segment {silent.index}: {silent.error}.")
    return Ruling("undecided", f"It could not be asked for segment {silent.index}: {silent.error}.")


def _agreed_rows(a: _Side, b: _Side, index: int) -> list[bytes] | None:
    """The rows before the segment, packed, from whoever opens those that both committed to."""
    if not index:
        return []
    for side in (a, b):
        try:
            chunks = side.party.states(side.receipt, [index])[:index]
            if _hold(side, index, chunks):
                return chunks
        except VerityError:
            continue
    return None


def _hold(side: _Side, index: int, chunks: Sequence[bytes]) -> bool:
    assert side.segments is not None
    length = evaluated_length(len(side.claim.prompt_tokens), len(side.claim.tokens))
    try:
        held = sum(1 for _ in committed_rows(side.segments.root, length, side.segments.states, chunks))
    except FormatError:
        return False
    return held == index


def _replayed(side: _Side, index: int, chunks: list[bytes], replayer: Replayer) -> Ruling:
    segments = side.segments
    assert segments is not None
    spot = SpotClaim(
        claim=side.claim, root=segments.root, states=segments.states, grammar=segments.grammar,
        picked=[index], chunks=chunks,
    )  # fmt: skip
    return _ruling(lambda: judge("replayed", spot, replayer(spot)))


def _whole(side: _Side | Ruling, replayer: Replayer) -> Ruling:
    if isinstance(side, Ruling):
        return side
    claim = side.claim
    return _ruling(lambda: judge("replayed", claim, replayer(claim)))


def _ruling(made: Callable[[], Check]) -> Ruling:
    findings: dict[str, Finding] = {"passed": "holds", "failed": "false", "not made": "undecided"}
    try:
        check = made()
    except CannotReplay as reason:
        return Ruling("undecided", f"{reason}; {reason.hint}" if reason.hint else str(reason))
    except FormatError as error:
        return Ruling("false", f"The receipt says what no device could do: {error}.")
    except VerityError as error:
        return Ruling("undecided", f"{error}; {error.hint}" if error.hint else str(error))
    return Ruling(findings[check.status], check.sentence, check.evidence)
