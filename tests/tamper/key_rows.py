"""Attacks with a key that was stolen, retired or revoked, and by an owner who revokes his own word."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from memory_signer import MemorySigner

import verity
from tamper import KEY_HOLDER, LIMIT, Result, World, row
from verity.backup import restore
from verity.engines.scripted import ScriptedEngine
from verity.log.checkpoint import split
from verity.log.cosignature import cosign
from verity.log.note import COSIGNATURE, VerifierKey, with_lines
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.statements.key_events import KeyEvents
from verity.store import bundles

EVENTS = "bundle, what is known of the key"
RECOVERY, THIEFS, WITNESS = (MemorySigner(name * 32) for name in (b"r", b"t", b"w"))
VKEY = VerifierKey("w.example/1", COSIGNATURE, WITNESS.public)
HOUR = 3600


def _at(hours: int) -> int:
    """So many hours from now."""
    return int(time.time()) + hours * HOUR


def _written(time_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s))


def _seen(note: str, time_s: int) -> str:
    said = split(note)[1]
    return str(with_lines(said, [cosign(said.body, VKEY.name, WITNESS, time_s)]))


def _witnessed(bundle: Bundle, time_s: int) -> Bundle:
    log = msgspec.structs.replace(bundle.log, checkpoint=_seen(bundle.log.checkpoint, time_s))
    return msgspec.structs.replace(bundle, log=log)


def _copy(world: World) -> Node:
    """A thief's copy of the device, from a backup."""
    world.node.back_up(world.folder / "stolen")
    restore(world.folder / "stolen", world.folder / "thief")
    return verity.open(world.folder / "thief", engine=ScriptedEngine())


def _file(world: World, node: Node, key: str, dated: int | None = None) -> Path:
    """What a device tells about a key, seen by the witness at a time if there is one."""
    path = world.folder / f"{node.home.name}.key-event.json"
    events = node.keyring.file(key).events
    if dated is not None:
        for number, event in enumerate(events):
            assert isinstance(event.log, msgspec.Struct)
            log = msgspec.structs.replace(event.log, checkpoint=_seen(event.log.checkpoint, dated))
            events[number] = msgspec.structs.replace(event, log=log)
    return bundles.save(KeyEvents(events), path)


def _judged(world: World, bundle: Bundle, key: str, *events: Path) -> Result:
    return world.verify(bundle, key=key, key_events=events, witnesses=[f"Example={VKEY}"], replayer=None, replay=False)


@row("stolen-key", KEY_HOLDER, EVENTS, "signs with a stolen key after the theft; the owner revoked it", "key-current")
def _(world: World) -> Result:
    with _copy(world) as thief:
        forged = thief.exporter.bundle(thief.ask("Pay him", max_tokens=2).receipt)
    world.node.keyring.revoke(_written(_at(-2)), "stolen")
    events = _file(world, world.node, world.node.key.id)
    return _judged(world, _witnessed(forged, _at(-1)), world.node.key.id, events)


@row(
    "stolen-key-unwitnessed", KEY_HOLDER, EVENTS, "the same, with a time that he says and no witness saw", "key-current"
)
def _(world: World) -> Result:
    with _copy(world) as thief:
        forged = thief.exporter.bundle(thief.ask("Pay him", max_tokens=2).receipt)
    world.node.keyring.revoke(_written(_at(-2)), "stolen")
    return world.verify(forged, key_events=[_file(world, world.node, world.node.key.id)], replayer=None, replay=False)


@row("stolen-key-unknown", KEY_HOLDER, "bundle", "signs with a stolen key; the verifier was not told of the theft",
     f"{LIMIT}: nobody can prove that there is no revocation; `key-current` says `not made`")  # fmt: skip
def _(world: World) -> Result:
    with _copy(world) as thief:
        return world.verify(thief.exporter.bundle(thief.ask("Pay him", max_tokens=2).receipt), replay=False)


@row("stolen-succession", KEY_HOLDER, EVENTS, "passes the trust in a stolen key on to his own", "signed")
def _(world: World) -> Result:
    old = world.node.key.id
    with _copy(world) as thief:
        thief.rotate()
    with verity.open(world.folder / "thief", engine=ScriptedEngine()) as thief:
        forged = thief.exporter.bundle(thief.ask("Pay him", max_tokens=2).receipt)
        theirs = _file(world, thief, old, _at(-1))
    world.node.keyring.revoke(_written(_at(-2)), "stolen")
    return _judged(world, _witnessed(forged, _at(-1)), old, theirs, _file(world, world.node, old))


@row("stolen-recovery", KEY_HOLDER, EVENTS, "names a recovery key of his own after the theft, which moves the trust",
     "signed")  # fmt: skip
def _(world: World) -> Result:
    old = world.node.key.id
    world.node.keyring.name_recovery(RECOVERY)
    owners = _file(world, world.node, old, _at(-5))
    with _copy(world) as thief:
        thief._database._connection.execute("DELETE FROM key_events")
        thief.keyring.name_recovery(THIEFS)
        naming = thief.keyring.file(old).events
    with world.other("new") as other:
        other.keyring.know(naming)
        other.keyring.recover(old, THIEFS)
        theirs = _file(world, other, old, _at(-1))
        forged = other.exporter.bundle(other.ask("Pay him", max_tokens=2).receipt)
    return _judged(world, _witnessed(forged, _at(-1)), old, owners, theirs)


@row("rival-succession", KEY_HOLDER, EVENTS, "passes one key on to two, with nobody's word which was first", "signed")
def _(world: World) -> Result:
    old = world.node.key.id
    with _copy(world) as thief:
        thief.rotate()
    with verity.open(world.folder / "thief", engine=ScriptedEngine()) as thief:
        forged = thief.exporter.bundle(thief.ask("Pay him", max_tokens=2).receipt)
        theirs = _file(world, thief, old)
    world.node.rotate()
    with verity.open(world.node.home, engine=ScriptedEngine()) as node:
        owners = _file(world, node, old)
    return _judged(world, _witnessed(forged, _at(-1)), old, theirs, owners)


@row(
    "old-key",
    KEY_HOLDER,
    EVENTS,
    "goes on with a key that was passed on, in its own log or another epoch",
    "key-current",
)
def _(world: World) -> Result:
    old = world.node.key.id
    with _copy(world) as kept:
        late = kept.exporter.bundle(kept.ask("Too late", max_tokens=2).receipt)
    world.node.rotate()
    with verity.open(world.node.home, engine=ScriptedEngine()) as node:
        owners = _file(world, node, old)
    return world.verify(late, key=old, key_events=[owners], replayer=None, replay=False)


@row("disowned", KEY_HOLDER, EVENTS, "signs, then revokes his own key with an earlier time, to be bound by nothing",
     "key-current")  # fmt: skip
def _(world: World) -> Result:
    signed = _witnessed(world.honest(), _at(-1))
    world.node.keyring.revoke(_written(_at(-2)), "I never signed that")
    told = _file(world, world.node, world.node.key.id, _at(0))
    report = _judged(world, signed, world.node.key.id, told)
    assert "disowns" in str(report)  # the verifier has the dates, and can show them
    return report
