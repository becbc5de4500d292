"""Attacks on what a TPM vouches for: others' quotes and records, other keys, and registrars of one's own."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from chips import UNRESTRICTED, Chip, proof, record, with_proof

from tamper import KEY_HOLDER, LIMIT, OUTSIDER, Result, World, edited, row
from verity.log.checkpoint import body_of, parse_note
from verity.node import Node
from verity.statements.bundle import Bundle, HardwareProof
from verity.statements.hardware import SWTPM

HOLDS = "bundle, a registrar's key"
NAME = "hardware-bound"


class Enrolled(NamedTuple):
    registrar: str
    chip: Chip
    shown: HardwareProof
    bundle: Bundle


def enrol(world: World, *, level: str = "tpm-vendor-ek", chip: Chip | None = None, of: Node | None = None) -> Enrolled:
    """An honest registrar certified ``chip`` for a device, which quotes the checkpoint of a bundle of this one."""
    chip, bundle, device = chip or Chip(), world.honest(), of or world.node
    with world.other("registrar") as registrar:
        signed = record(registrar, device.key.id, chip, level)
        key = registrar.key.id
    shown = proof(signed, chip, device.key.public, body_of(parse_note(bundle.log.checkpoint)))
    return Enrolled(key, chip, shown, bundle)


def judged(world: World, registrar: str, bundle: Bundle | bytes) -> Result:
    checks = ["receipt", "signed", "logged", NAME]
    policy = {
        "hardware": {"registrars": [registrar], "level": "tpm-unverified-ek"}, "require": {"checks": checks},
    }  # fmt: skip
    return world.verify(bundle, policy=policy)


@row("quote-flipped", OUTSIDER, HOLDS, "flips a bit of what the TPM signed", NAME)
def _(world: World) -> Result:
    enrolled = enrol(world)

    def flip(plain: dict) -> None:  # type: ignore[type-arg]
        attest = plain["log"]["hardware"]["attest"]
        plain["log"]["hardware"]["attest"] = attest[:60] + ("B" if attest[60] == "A" else "A") + attest[61:]

    return judged(world, enrolled.registrar, edited(with_proof(enrolled.bundle, enrolled.shown), flip))


@row("quote-dropped", OUTSIDER, HOLDS, "leaves the quote out", f"{NAME} not made")
def _(world: World) -> Result:
    enrolled = enrol(world)
    return judged(world, enrolled.registrar, enrolled.bundle)


@row("quote-kept", KEY_HOLDER, HOLDS, "copies the key to another computer, and shows the last quote of the TPM with a "
     "later checkpoint", NAME)  # fmt: skip
def _(world: World) -> Result:
    enrolled = enrol(world)
    return judged(world, enrolled.registrar, with_proof(world.honest(), enrolled.shown))


@row("record-of-another", KEY_HOLDER, HOLDS, "shows the record and the quote of another device", NAME)
def _(world: World) -> Result:
    with world.other("neighbour") as neighbour:
        enrolled = enrol(world, of=neighbour)
    return judged(world, enrolled.registrar, with_proof(enrolled.bundle, enrolled.shown))


@row("another-chip", KEY_HOLDER, HOLDS, "quotes with a key of his own beside the record of a TPM", NAME)
def _(world: World) -> Result:
    enrolled = enrol(world)
    body = body_of(parse_note(enrolled.bundle.log.checkpoint))
    shown = proof(enrolled.shown.record, Chip(), world.node.key.public, body)
    return judged(world, enrolled.registrar, with_proof(enrolled.bundle, shown))


@row("own-registrar", KEY_HOLDER, HOLDS, "is his own registrar", NAME)
def _(world: World) -> Result:
    enrolled = enrol(world)
    mine = record(world.node, world.node.key.id, enrolled.chip, "tpm-vendor-ek")
    shown = msgspec.structs.replace(enrolled.shown, record=mine)
    return judged(world, enrolled.registrar, with_proof(enrolled.bundle, shown))


@row("simulator", KEY_HOLDER, HOLDS, "runs a simulator for a TPM", NAME)
def _(world: World) -> Result:
    enrolled = enrol(world, level=SWTPM)
    return judged(world, enrolled.registrar, with_proof(enrolled.bundle, enrolled.shown))


@row("unrestricted-key", KEY_HOLDER, HOLDS, "had a careless registrar certify a key that signs anything, and wrote the "
     "quote himself", NAME)  # fmt: skip
def _(world: World) -> Result:
    enrolled = enrol(world, chip=Chip(UNRESTRICTED))
    return judged(world, enrolled.registrar, with_proof(enrolled.bundle, enrolled.shown))


@row("any-program", KEY_HOLDER, HOLDS, "runs another program on the computer whose TPM it is",
     f"{LIMIT}: a quote says where a key is; what ran is for the replay")  # fmt: skip
def _(world: World) -> Result:
    enrolled = enrol(world)
    return judged(world, enrolled.registrar, with_proof(enrolled.bundle, enrolled.shown))
