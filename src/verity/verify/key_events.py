"""The step ``key-current``: events about keys, their proofs checked and dated, held against a receipt.

An event that needs a log is checked against it here; what the events mean is decided in ``standing``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec

from verity.errors import FormatError, LogError, SignatureError
from verity.log.checkpoint import Checkpoint, split
from verity.log.tree import fold
from verity.statements.bundle import Bundle, LogProof
from verity.statements.commitments import digest_fields
from verity.statements.key_events import (
    KINDS,
    NAMED,
    Event,
    InLog,
    Recovery,
    Revocation,
    SignedEvent,
    Succession,
    read_event,
    seconds,
)
from verity.statements.receipt import Place, Statement, convert_field, read_statement
from verity.store.key_events import KeptEvent
from verity.verify.logged import check_logged, open_head
from verity.verify.operators import Operators
from verity.verify.report import Check
from verity.verify.standing import Said, heirs, standing
from verity.verify.timely import Receipt, judge
from verity.verify.witnessed import witnessed_by

NAME = "key-current"


class NamedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field ``event`` of the statement by which a log names an event: its type, and its payload's SHA-256 (hex)."""

    sha256: str
    type: str


class KnownEvent(msgspec.Struct, frozen=True):
    """An event whose signatures and proof hold. ``checkpoint`` is the head under which it is logged, empty if it is
    not; ``known_s`` is when whoever verifies learned of it (seconds since 1970), if that was before now."""

    event: Event
    checkpoint: str = ""
    known_s: int | None = None

    def dated(self, asked: Sequence[Operators], now_s: float) -> Said:
        """The event with the earliest time by which it was certainly said, by the witnesses of ``asked``. A head with a
        cosignature that does not hold dates nothing."""
        times = [] if self.known_s is None else [self.known_s]
        if not self.checkpoint:
            return Said(self.event, min(times, default=None))
        head, note = split(self.checkpoint)
        device = head.origin.split("/")[1]  # of a device's log, as was checked
        with contextlib.suppress(SignatureError, FormatError):
            seen = witnessed_by(note, asked, device, now_s)
            times += [] if seen is None else [seen]
        return Said(self.event, min(times, default=None), head if device == self.event.key else None)


def check_event(signed: SignedEvent, known_s: int | None = None) -> KnownEvent:
    """Check an event's signatures and where it is logged. What the key itself says of its recovery or successor counts
    in its own log only: a succession as the last entry there. Raises FormatError, LogError, SignatureError."""
    event = read_event(signed.event)
    own = event.key in event.signers and isinstance(event.body, Recovery | Succession)
    if not isinstance(signed.log, InLog):
        if own:
            kind = KINDS[event.type]
            raise LogError(f"the {kind} is not shown to be in the key's own log", "ask its owner for the whole file")
        return KnownEvent(event, "", known_s)
    place, head = _logged(event, signed.log, event.key if own else signed.log.statement.device())
    if own and isinstance(event.body, Succession):
        closed = event.body.previous_log
        if (
            closed is None
            or (closed.origin, closed.size) != (place.origin, place.index)
            or head.size != place.index + 1
            or _root_before(signed.log.proof) != closed.root
        ):
            raise LogError("the succession is not the last entry of the log that it closes", "do not believe it")
    return KnownEvent(event, signed.log.checkpoint, known_s)


def known(kept: KeptEvent) -> KnownEvent:
    """An event as whoever kept it knows it: since then, and without a proof if it is his own log that names it. Raises
    FormatError, LogError, SignatureError."""
    since = seconds(kept.known_at)
    return (
        check_event(kept.signed, since) if kept.epoch is None else KnownEvent(read_event(kept.signed.event), "", since)
    )


def _logged(event: Event, log: InLog, device: str) -> tuple[Place, Checkpoint]:
    statement = read_statement(log.statement.check(device), NAMED)
    check_logged("key event", log.statement, log.proof, log.checkpoint, statement, device)
    if _named(statement) != NamedEvent(event.digest, event.type):
        raise LogError("the log names another key event than this one")
    return statement.predicate.log, split(log.checkpoint)[0]


def _root_before(last: LogProof) -> str:
    """The root (hex) of a tree without its last leaf: the path of that leaf is all that the tree was divided into."""
    return fold([bytes.fromhex(digest) for digest in reversed(last.path)]).hex()


def _named(statement: Statement) -> NamedEvent:
    shown = statement.predicate.shown
    if digest_fields(statement.predicate.id_bytes(), shown) != statement.fields_digest():
        raise FormatError("the statement that names a key event does not show all that it commits to")
    values = {opening.field: opening.value for opening in shown}
    return convert_field(values.get("event"), NamedEvent, "event")


def said_by(known: Sequence[KnownEvent], asked: Sequence[Operators], now_s: float) -> list[Said]:
    """The events as they are dated now. A revocation from a time that is still to come revokes nothing yet: else
    whoever holds a key could have this check pass by one."""
    said = [event.dated(asked, now_s) for event in known]
    return [each for each in said if not isinstance(each.event.body, Revocation) or each.event.body.since_s <= now_s]


def trusted(device: str, wanted: Sequence[Sequence[str]], known: Sequence[Said]) -> Check:
    """The check ``signed``, once the signatures hold: in each list of ``wanted`` stands the key, or one that passed
    its trust on to it."""
    evidence: dict[str, Any] = {"device": device}
    signed = f"Device {device[:16]}… signed"
    for keys in wanted:
        if device in keys:
            continue
        chains = [heirs(key, known) for key in keys]
        chain = next((chain.keys[: chain.keys.index(device) + 1] for chain in chains if device in chain.keys), None)
        if chain is not None:
            evidence["successor_of"] = list(chain[:-1])
            continue
        for broken in (chain for chain in chains if device in chain.between):
            between = " and ".join(f"{key[:16]}…" for key in broken.between)
            sentence = f"{signed} this, but cannot follow {broken.keys[-1][:16]}…: {broken.broken} ({between})."
            return Check("signed", "failed", sentence, {**evidence, "between": list(broken.between)})
        named = ", ".join(f"{key[:16]}…" for keys in wanted for key in keys)
        return Check("signed", "failed", f"{signed} this, not the expected {named}.", evidence)
    after = f", to which {evidence['successor_of'][0][:16]}… passed its trust on" if "successor_of" in evidence else ""
    return Check("signed", "passed", f"{signed} the intent and the result{after}.", evidence)


def ended(device: str, known: Sequence[Said]) -> bool:
    """Whether something is known that ends the trust in the key at some time: then ``key-current`` must pass."""
    now = standing(device, known)
    return now.revocation is not None or bool(now.successions)


def earlier_keys(device: str, known: Sequence[Said]) -> set[str]:
    """Keys that are known to have passed their trust on to this one, at once or by others."""
    chains = [heirs(key, known).keys for key in {said.event.key for said in known}]
    return {key for chain in chains if device in chain for key in chain[: chain.index(device)]}


def key_current(
    bundle: Bundle, result: Statement, device: str, known: Sequence[Said], asked: Sequence[Operators], now_s: float
) -> Check:
    """What is known about the device's key, held against the receipt. Raises FormatError, LogError, SignatureError for
    a checkpoint or a cosignature that does not hold."""
    head = open_head(bundle.log.checkpoint, device)
    note, earlier = split(bundle.log.checkpoint)[1], earlier_keys(device, known)
    seen = witnessed_by(note, asked, device, now_s, earlier)
    judged = judge(standing(device, known), Receipt(head, result.predicate.log.index, seen))
    count = len({said.event.digest for said in known if said.event.key == device})
    return Check(NAME, judged.status, judged.sentence, {**judged.evidence, "events": count})
