"""Whether a receipt came in time, now that its key was revoked or passed on: rules 5 to 8 of spec/keys.md.

Of a revoked key those hold that witnesses saw before the compromise; of a key that was succeeded, those of the log that
it closed.
"""

from __future__ import annotations

import datetime
from typing import Any, Literal

import msgspec

from verity.log.checkpoint import Checkpoint
from verity.verify.standing import Said, Standing, revocation_of, succession_of


class Receipt(msgspec.Struct, frozen=True):
    """What matters of a receipt: the head under which it is proven, the index of its last entry, and ``seen``: no later
    than this that head was there, by the witnesses of the policy."""

    head: Checkpoint
    last: int
    seen: int | None = None


class Judgement(msgspec.Struct, frozen=True):
    """What the events that are known mean for one receipt."""

    status: Literal["passed", "failed", "not made"]
    sentence: str
    evidence: dict[str, Any] = {}


def judge(now: Standing, receipt: Receipt) -> Judgement:
    """What the standing of a receipt's key means for the receipt."""
    if now.revocation is not None:
        judged = _judge_revoked(now, now.revocation, receipt)
        if judged.status == "failed" or not now.successions:
            return judged
    if len(now.successors) > 1:
        named = " and ".join(f"{key[:16]}…" for key in now.successors)
        sentence = f"The key was passed on to {named}, which contradict each other: nobody is trusted."
        return Judgement("failed", sentence, {"successors": list(now.successors)})
    if now.successions:
        return _judge_succeeded(now, receipt)
    return Judgement("not made", "No revocation of the key is known here; that there is none, nobody can prove.")


def _judge_revoked(now: Standing, revocation: Said, receipt: Receipt) -> Judgement:
    said = revocation_of(revocation)
    by = "itself" if now.key in revocation.signers else "its recovery key"
    evidence = {"since": said.since, "reason": said.reason, "seen_s": receipt.seen, "revoked_by": by}
    evidence["said_by_s"] = revocation.by
    told = f"the key was revoked, by {by}, since {said.since}"
    if receipt.seen is None:
        return Judgement("failed", f"No witnesses saw this receipt before {said.since}: {told}.", evidence)
    if receipt.seen >= said.since_s:
        after = f"Witnesses first saw this receipt at {_written(receipt.seen)}: {told}."
        if revocation.by is None or receipt.seen < revocation.by:
            after += " They saw it before anybody is known to have said so: who revokes late disowns what he signed."
        return Judgement("failed", after, evidence)
    sentence = f"Witnesses saw this receipt by {_written(receipt.seen)}; {told}: later ones fail."
    return Judgement("passed", sentence, evidence)


def _judge_succeeded(now: Standing, receipt: Receipt) -> Judgement:
    """Every succession to the one successor is held against the receipt: two may name two ends of the log."""
    judged = [_judge_against(now.key, said, receipt) for said in now.successions]
    order = ("failed", "passed", "not made")
    return min(judged, key=lambda judgement: order.index(judgement.status))


def _judge_against(key: str, said: Said, receipt: Receipt) -> Judgement:
    body, origin = succession_of(said), receipt.head.origin
    evidence: dict[str, Any] = {"successor": body.successor, "seen_s": receipt.seen, "said_by_s": said.by}
    told = f"the key was passed on to {body.successor[:16]}…"
    closed = body.previous_log
    if closed is None:
        return _judge_by_time(told, said, receipt, evidence)
    if origin != closed.origin:
        earlier = _epoch(origin) < _epoch(closed.origin)
        sentence = f"The receipt is in {'an earlier' if earlier else 'a later'} epoch than the one in which {told}."
        return Judgement("passed" if earlier else "failed", sentence, evidence)
    heads = [Checkpoint(origin, closed.size, bytes.fromhex(closed.root)), *([said.head] if said.head else [])]
    same = [head for head in heads if head.size == receipt.head.size]
    if any(head.root != receipt.head.root for head in same):
        return Judgement(
            "failed", f"The receipt is in another history of the log than the one in which {told}.", evidence
        )
    by_key = key in said.signers
    if receipt.last < closed.size and (not by_key or receipt.head.size <= closed.size + 1):
        evidence["in_the_closed_log"] = bool(same)
        shown = "in the very log" if same else "in a log of the same name as the one"
        return Judgement("passed", f"The receipt is entry {receipt.last} {shown} that ended when {told}.", evidence)
    if by_key:
        sentence = f"The receipt's log goes on after entry {closed.size}, by which {told}."
        if receipt.seen is not None and (said.by is None or receipt.seen < said.by):
            sentence += (
                " Witnesses saw it before anybody saw that: keep both heads, for the key signed on, or two logs."
            )
        return Judgement("failed", sentence, evidence)
    return _judge_by_time(told, said, receipt, evidence)


def _judge_by_time(told: str, said: Said, receipt: Receipt, evidence: dict[str, Any]) -> Judgement:
    """The old log's end is not known: witnesses must have seen the receipt before anybody spoke of a successor."""
    if receipt.seen is None or said.by is None:
        sentence = f"Nobody dates whether the receipt is from before {told}."
        return Judgement("not made", sentence, evidence)
    if receipt.seen < said.by:
        return Judgement("passed", f"Witnesses saw this receipt by {_written(receipt.seen)}, before {told}.", evidence)
    return Judgement("failed", f"Witnesses first saw this receipt after {told}.", evidence)


def _epoch(origin: str) -> int:
    return int(origin.rpartition("/")[2])


def _written(time_s: int) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(time_s, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_s} s after 1970"
    return moment.isoformat().replace("+00:00", "Z")
