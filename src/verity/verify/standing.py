"""Whether a device's key may be trusted, and for what: the rules of spec/keys.md, over events and times alone.

Two principles. *Whoever holds a key can end the trust in it; only who held it before it was compromised can move that
trust.* And: what nobody independent dated counts as said after the compromise. In this order:

    1  revocations  by the key itself or by any recovery key that it ever named; the earliest time of compromise counts
    2  recovery     the recovery key that was named first, or whom it named after itself; if named before the compromise
    3  successions  by the recovery key; else by the key itself, before the compromise, and if nothing contradicts them:
                    a revocation by the key itself decides nothing between two, for it may be the thief's

What that means for a receipt is in ``timely``.
Nothing here looks at a signature: an event counts as signed by whom it says (statements/key_events.py has checked).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from verity.log.checkpoint import Checkpoint
from verity.statements.key_events import Event, Recovery, Revocation, Succession

MAX_CHAIN = 16


class Said(msgspec.Struct, frozen=True):
    """An event, and ``by``: no later than this it was said (seconds since 1970), as witnesses or the verifier saw;
    None: nobody dates it. ``head`` is that of the key's own log in which it is proven to stand, if it is."""

    event: Event
    by: int | None = None
    head: Checkpoint | None = None

    @property
    def signers(self) -> frozenset[str]:
        return frozenset(self.event.signers)


class Standing(msgspec.Struct, frozen=True):
    """What is known of a key. ``recovery`` is who may speak for it. ``successions`` are those that count: where several
    contradict each other, nobody is trusted. ``void`` are those that do not count, for being said too late or by nobody
    who may."""

    key: str
    revocation: Said | None = None
    recovery: str | None = None
    successions: tuple[Said, ...] = ()
    void: tuple[Said, ...] = ()

    @property
    def since(self) -> int | None:
        """The time of compromise."""
        return revocation_of(self.revocation).since_s if self.revocation is not None else None

    @property
    def word(self) -> str:
        """In one word: ``current`` as far as is known, ``revoked``, ``succeeded`` or ``disputed``."""
        if self.revocation is not None:
            return "revoked"
        return ("current", "succeeded", "disputed")[min(len(self.successors), 2)]

    @property
    def successors(self) -> tuple[str, ...]:
        return tuple(sorted({succession_of(said).successor for said in self.successions}))

    @property
    def successor(self) -> str | None:
        return self.successors[0] if len(self.successors) == 1 else None


class Heirs(msgspec.Struct, frozen=True):
    """Who may be trusted in the place of a key: itself first, then its successor, and so on. ``broken`` says why the
    chain goes no further, where it should, and ``between`` who then claims to be the next."""

    keys: tuple[str, ...]
    broken: str = ""
    between: tuple[str, ...] = ()


def standing(key: str, known: Iterable[Said]) -> Standing:
    """What the events that are known say about ``key``."""
    about = _merged([said for said in known if said.event.key == key])
    namings = [said for said in about if isinstance(said.event.body, Recovery)]
    named = {_recovery(said) for said in namings}
    revocation = _earliest(about, {key, *named})
    since = revocation_of(revocation).since_s if revocation is not None else None
    recovery = _speaker(namings)
    if not any(_before(said, since) for said in namings if _recovery(said) == recovery):
        recovery = None
    successions = [said for said in about if isinstance(said.event.body, Succession)]
    count = _counting(key, recovery, named, successions, since, _earliest(about, {recovery} if recovery else set()))
    void = tuple(said for said in successions if said not in count)
    return Standing(key, revocation, recovery, tuple(count), void)


def heirs(key: str, known: Sequence[Said]) -> Heirs:
    """Follow the successions from a key that is trusted."""
    keys = [key]
    while (now := standing(keys[-1], known)).successions:
        if (successor := now.successor) is None:
            return Heirs(tuple(keys), "two successions contradict each other", now.successors)
        if successor in keys:
            return Heirs(tuple(keys), "the successions go in a circle", (successor,))
        if len(keys) == MAX_CHAIN:
            return Heirs(tuple(keys), f"more than {MAX_CHAIN} keys succeeded each other", (successor,))
        keys.append(successor)
    if now.void:
        names = tuple(sorted({succession_of(said).successor for said in now.void}))
        return Heirs(
            tuple(keys),
            "its succession does not count: not dated before the compromise, or not said by whoever may",
            names,
        )
    return Heirs(tuple(keys))


def _merged(about: Sequence[Said]) -> list[Said]:
    """One of each event, with the earliest of its dates. Signatures are not in an event's digest, and anybody can add
    his own or leave one out: a date is only of those who had signed. Two heads that differ show nothing."""
    found: dict[tuple[str, frozenset[str]], list[Said]] = {}
    for said in about:
        found.setdefault((said.event.digest, said.signers), []).append(said)
    merged = []
    for copies in found.values():
        by = min((said.by for said in copies if said.by is not None), default=None)
        heads = {said.head for said in copies if said.head is not None}
        merged.append(Said(copies[0].event, by, heads.pop() if len(heads) == 1 else None))
    return merged


def _before(said: Said, since: int | None) -> bool:
    return since is None or (said.by is not None and said.by < since)


def _earliest(about: Sequence[Said], signers: set[str]) -> Said | None:
    """Step 1. By any recovery key that the key ever named: whoever could name it could revoke."""
    found = [said for said in about if isinstance(said.event.body, Revocation) and said.signers & signers]
    return min(found, key=lambda said: (revocation_of(said).since_s, said.event.digest), default=None)


def _speaker(namings: Sequence[Said]) -> str | None:
    """Step 2. The recovery key that counts, if one does; whether it was named in time is not asked here: a replacement
    that comes too late must not put the one that it replaced in its place again."""
    dates = _dates(namings)
    # A thief has the device's key, and not the recovery key: a replacement that the earlier one signed is no rival. One
    # that was named later replaces nobody, for a thief can add its signature to the owner's naming.
    replaced = {name for said in namings if _earlier(said, dates, dates[name := _recovery(said)])}
    current, seen = _first_named([said for said in namings if _recovery(said) not in replaced]), set[str]()
    while current is not None and current not in seen:
        seen.add(current)
        after = {_recovery(said) for said in namings if current in said.signers} - seen
        if not after:
            return current
        current = after.pop() if len(after) == 1 else None
    return None


def _first_named(namings: Sequence[Said]) -> str | None:
    """Of recovery keys that the device's key named by itself: the only one, or the one that was certainly first."""
    dates = _dates(namings)
    ordered = sorted(dates, key=lambda name: dates[name])
    certain = len(ordered) == 1 or (len(ordered) > 1 and dates[ordered[0]] < dates[ordered[1]])
    return ordered[0] if certain else None


def _dates(namings: Sequence[Said]) -> dict[str, float]:
    """When each recovery key was named; one whose naming is undated, latest."""
    dates: dict[str, float] = {}
    for said in namings:
        by = math.inf if said.by is None else said.by
        dates[_recovery(said)] = min(by, dates.get(_recovery(said), by))
    return dates


def _earlier(naming: Said, dates: dict[str, float], by: float) -> bool:
    """Whether another recovery key signed this naming, and was itself named by then."""
    return any(dates[key] <= by for key in naming.signers - {_recovery(naming)} if key in dates)


def _counting(
    key: str,
    recovery: str | None,
    named: set[str],
    successions: Sequence[Said],
    since: int | None,
    settled: Said | None,
) -> list[Said]:
    """Step 3. Those that count, with those that contradict them; none where nobody may be trusted for sure. ``settled``
    is the recovery key's own revocation: what the key said after that is the thief's, and contradicts nothing."""
    if by_recovery := [said for said in successions if recovery in said.signers]:
        return by_recovery
    by_key = [said for said in successions if key in said.signers and _before(said, since)]
    limit = revocation_of(settled).since_s if settled is not None else None
    doubters = {key} if recovery is not None else {key, *named}
    successors = {succession_of(said).successor for said in by_key}
    contradict = [
        said
        for said in successions
        if said.signers & doubters and _before(said, limit) and succession_of(said).successor not in successors
    ]
    return [*by_key, *contradict] if by_key else []


def _recovery(said: Said) -> str:
    assert isinstance(said.event.body, Recovery)
    return said.event.body.recovery


def succession_of(said: Said) -> Succession:
    """Its body, where it is known to be one."""
    assert isinstance(said.event.body, Succession)
    return said.event.body


def revocation_of(said: Said) -> Revocation:
    """Its body, where it is known to be one."""
    assert isinstance(said.event.body, Revocation)
    return said.event.body
