"""Step 21: who else saw this head of the log, and what their word says about time.

A cosignature at T says: by T the witness had seen this head, and the log never showed it another history. So with k
operators, intent and result were in the log no later than T, the k-th earliest of their times. Nobody says from when
on: a device that keeps entries back and logs them late is contradicted by nothing but the times that it discloses, and
only from one side. What lies between the disclosed start and T is its word (``unvouched_s``).
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from typing import NamedTuple

from verity.errors import FormatError
from verity.log.checkpoint import split
from verity.log.cosignature import check_cosignature
from verity.log.note import Note
from verity.statements.request import TIME
from verity.store.clock import written
from verity.verify.claims import Fields, Withheld
from verity.verify.operators import Operators
from verity.verify.report import Check

NAME = "witnessed"
SLACK_S = 300
"""How far clocks of honest devices, witnesses and verifiers may be apart."""


class _Seen(NamedTuple):
    """What the lines of listed witnesses say: the earliest time of each operator, and why others do not count."""

    times: dict[str, int]
    not_counted: list[str]


def witnessed(
    checkpoint: str,
    logged: bool,
    fields: Fields,
    asked: list[Operators],
    device: str,
    now_s: float,
    earlier: Collection[str] = (),
) -> Check:
    """The check. ``asked`` are the policy's operators and the caller's: both must hold. ``earlier`` are keys that the
    device had before: it is no witness of its own log under those either.

    Raises SignatureError and FormatError for a line of a listed witness that does not hold.
    """
    said = split(checkpoint)[1]
    if not asked:
        count = len(said.lines) - 1
        words = f"the head carries {count} lines of others, but " if count > 0 else ""
        return Check(NAME, "not made", f"{words}no witnesses were named whose word counts.".capitalize())
    if not logged:
        return Check(NAME, "not made", "Intent and result are not in the log under this head.")
    checks = [_check(said, fields, operators, (device, *earlier), now_s) for operators in asked]
    return next((check for check in checks if check.status != "passed"), checks[0])


def witnessed_by(
    said: Note, asked: Sequence[Operators], device: str, now_s: float, earlier: Collection[str] = ()
) -> int | None:
    """No later than this (seconds since 1970) the head of ``device``'s log was there, by all of ``asked``; None where
    they do not say so. Raises SignatureError, FormatError for a line of a listed witness that does not hold."""
    own = (device, *earlier)
    seen = [(operators.needed, sorted(_seen(said, operators, own, now_s).times.values())) for operators in asked]
    if not seen or any(len(times) < needed for needed, times in seen):
        return None
    return max(times[needed - 1] for needed, times in seen)


def _check(said: Note, fields: Fields, operators: Operators, own: Collection[str], now_s: float) -> Check:
    seen = _seen(said, operators, own, now_s)
    needed, names = operators.needed, sorted(seen.times, key=lambda name: (seen.times[name], name))
    missing = sorted(set(operators.operators) - set(names))
    evidence = {
        "operators": names,
        "times": {name: _written(seen.times[name]) for name in names},
        "threshold": needed,
        "split_needs": operators.split_needs,
        "missing": missing,
        "not_counted": seen.not_counted,
    }
    why = f" {' '.join(seen.not_counted)}" if seen.not_counted else ""
    if len(names) < needed:
        sentence = (
            f"{len(names)} of {len(operators.operators)} operators cosigned this head, and {needed} must: "
            f"missing {', '.join(missing)}.{why}"
        )
        return Check(NAME, "not made", sentence, evidence)
    by = seen.times[names[needed - 1]]
    times = {field: _time(fields, field) for field in ("time/started", "time/finished")}
    evidence |= {"by": _written(by), "claimed": times["time/started"] and _written(times["time/started"])}
    for field, claimed in times.items():
        if claimed is not None and claimed > by + SLACK_S:
            sentence = (
                f"The receipt says that it was made later than it was seen: {field} is {_written(claimed)}, and "
                f"{needed} operators had seen it by {_written(by)}."
            )
            return Check(NAME, "failed", sentence, evidence)
    evidence["unvouched_s"] = max(0, int(by - times["time/started"])) if times["time/started"] is not None else None
    return Check(NAME, "passed", _sentence(names, operators, by, times["time/started"]) + why, evidence)


def _sentence(names: list[str], operators: Operators, by: float, started: float | None) -> str:
    told = (
        f"it says that it began {_length(by - started)} earlier, which is its word"
        if started is not None
        else "when it began is not disclosed"
    )
    needs = operators.split_needs
    history = "So few are needed that it may show others another history"
    if needs:
        history = f"To show others another history it needs the help of {needs} of {len(operators.operators)}"
    return (
        f"{len(names)} operators ({', '.join(names)}) cosigned this head, {operators.needed} of them by "
        f"{_written(by)}: intent and result were in the log by then. {history}. "
        f"Since when they were, nobody vouches: {told}."
    )


def _seen(said: Note, operators: Operators, own: Collection[str], now_s: float) -> _Seen:
    times: dict[str, int] = {}
    not_counted = []
    for operator, keys in operators.keys().items():
        for key in keys:
            for line in filter(key.made, said.lines):
                time_s = check_cosignature(line, key, said.body)
                if key.public.hex() in own:
                    not_counted.append(f"{operator}'s {key.name} is the device itself, no witness of its own log.")
                elif time_s > now_s + SLACK_S:
                    not_counted.append(f"{operator}'s {key.name} states a time that is still to come.")
                else:
                    times[operator] = min(time_s, times.get(operator, time_s))
    return _Seen(times, not_counted)


def _time(fields: Fields, field: str) -> float | None:
    """Seconds since 1970, None if it is withheld. Raises FormatError."""
    try:
        text = fields.read(field, str)
    except Withheld:
        return None
    if not TIME.fullmatch(text):
        raise FormatError(f"field {field!r} is not a time in UTC (RFC 3339)")
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise FormatError(f"field {field!r} is not a time in UTC (RFC 3339)") from error


def _written(time_s: float) -> str:
    try:
        return written(datetime.datetime.fromtimestamp(int(time_s), datetime.UTC))
    except (ValueError, OverflowError, OSError):  # beyond the year 9999, which no clock shows
        return f"{int(time_s)} s after 1970"


def _length(seconds: float) -> str:
    seconds = max(0, int(seconds))
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
