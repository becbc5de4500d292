"""Step 19, the spot check: a few segments, drawn here after the receipt exists, are replayed from the prover's states.

One false transition among M is caught with probability K/M when K are checked, whoever made it and wherever it is. All
else about an answer (its prompt's tokens, its ending, that neighbouring states agree) is checked in full.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Sequence
from typing import Protocol

import msgspec

from verity.errors import FormatError
from verity.statements.request import TIME
from verity.verify.content import Opened, generation_claim
from verity.verify.report import Check
from verity.verify.segments import Segments, SpotClaim

NAME = "spot-checked"


class StateSource(Protocol):
    """Whoever can be asked for states: the prover's file, node or server."""

    def __call__(self, receipt_id: str, segments: Sequence[int]) -> list[bytes]:
        """The packed rows of the segments before the last of ``segments``, from the first one on: fewer, or none, if
        the prover does not answer. Raises VerityError when he could not be asked."""


class Spot(msgspec.Struct, frozen=True):
    """Check ``count`` segments with states from ``source``; instead of the whole replay, or ``also``."""

    count: int
    source: StateSource
    also: bool = False


def draw(segments: int, count: int) -> list[int]:
    """``count`` of the segments, in order: fresh for every verifier, and nobody's choice."""
    return sorted(secrets.SystemRandom().sample(range(segments), min(count, segments)))


def spot_claim(opened: Opened, segments: Segments, picked: list[int], chunks: list[bytes]) -> SpotClaim:
    """What the replay needs. Raises Withheld, CannotReplay, FormatError."""
    return SpotClaim(
        claim=generation_claim(opened),
        root=segments.root,
        states=segments.states,
        grammar=segments.grammar,
        picked=picked,
        chunks=chunks[: max(picked)],
    )


def unanswered(opened: Opened, picked: list[int], chunks: list[bytes]) -> Check | None:
    """The verdict when the prover leaves some of the challenge unanswered; None when he answers all of it.

    Raises Withheld, FormatError.
    """
    open_now = [index for index in picked if index <= len(chunks)]
    if open_now == picked:
        return None
    silent = sorted(set(picked) - set(open_now))
    evidence = {"asked": picked, "unanswered": silent}
    what = f"the prover did not open {len(silent)} of the {len(picked)} segments that were asked for"
    until = _promised(opened)
    if until is not None and datetime.datetime.now(datetime.UTC) <= until:
        sentence = f"{what[:1].upper()}{what[1:]}, and promised to until {until:%Y-%m-%d}."
        return Check(NAME, "failed", sentence, evidence)
    why = "the promise ended" if until is not None else "nothing was promised"
    return Check(NAME, "not made", f"{what[:1].upper()}{what[1:]}; {why}.", evidence)


def _promised(opened: Opened) -> datetime.datetime | None:
    """Until when the device promised to open segments, by its own clock."""
    retention = opened.fields.retention()
    if retention is None:
        return None
    finished = opened.fields.read("time/finished", str)
    try:
        ended = datetime.datetime.fromisoformat(finished if TIME.fullmatch(finished) else "")
    except ValueError as error:
        raise FormatError("field 'time/finished' is not a time in UTC (RFC 3339)") from error
    try:
        return ended + datetime.timedelta(seconds=retention.segments_s)
    except OverflowError:
        return datetime.datetime.max.replace(tzinfo=datetime.UTC)


def passed(check: Check, picked: list[int], count: int) -> Check:
    """The check of a replay that came out, with what it is worth."""
    chance = len(picked) / count
    sentence = (
        f"{len(picked)} of {count} transitions are exact (segments {', '.join(map(str, picked))}). "
        f"One that is false would have been caught with probability {chance:.2g}."
    )
    return Check(NAME, "passed", sentence, {**check.evidence, "catch_probability": chance})
