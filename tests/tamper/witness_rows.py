"""Attacks on what witnesses say: split views, friends as witnesses, dates."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from histories import leaves_of, replaced
from memory_signer import MemorySigner

from tamper import KEY_HOLDER, LIMIT, OUTSIDER, Result, World, row
from verity.log.checkpoint import split
from verity.log.cosignature import cosign
from verity.log.note import COSIGNATURE, VerifierKey, with_lines
from verity.log.submission import encode
from verity.log.tree import MemoryTree, consistency_proof
from verity.log.witness import Witness
from verity.statements.bundle import Bundle
from verity.statements.keys import Signer
from verity.store.database import Database

NAME = "witnessed"
HOLDS = "bundle, three operators' keys"
OPERATORS = {name: MemorySigner(bytes([number]) * 32) for number, name in enumerate(("Clinic", "Mill", "School"), 1)}


def key_of(name: str, signer: Signer) -> VerifierKey:
    return VerifierKey(f"{name.lower()}.example/w", COSIGNATURE, signer.public)


def cosigned(bundle: Bundle, names: Sequence[str], early_s: int = 0) -> Bundle:
    """The bundle with lines of these operators, who state a time so long ago."""
    said = split(bundle.log.checkpoint)[1]
    at = int(time.time()) - early_s
    lines = [cosign(said.body, key_of(name, OPERATORS[name]).name, OPERATORS[name], at) for name in names]
    return with_head(bundle, str(with_lines(said, lines)))


def with_head(bundle: Bundle, checkpoint: str) -> Bundle:
    return msgspec.structs.replace(bundle, log=msgspec.structs.replace(bundle.log, checkpoint=checkpoint))


def judged(world: World, bundle: Bundle, operators: dict[str, list[str]] | None = None) -> Result:
    named = operators or {name: [str(key_of(name, signer))] for name, signer in OPERATORS.items()}
    return world.verify(
        bundle, policy={"witnesses": {"operators": named}, "require": {"checks": ["receipt", "logged"]}}
    )


@row("split-view", KEY_HOLDER, HOLDS, "has one operator lie for him and shows each of two verifiers another history; "
     "two operators must cosign, and the others are honest", f"{NAME} not made")  # fmt: skip
def _(world: World) -> Result:
    shown = world.honest()
    leaves = leaves_of(world.node)
    hidden = replaced(world.node, shown, [*leaves, bytes(32)])
    with Database.open(world.other("mill").home) as database:
        witness = Witness(database, OPERATORS["Mill"], key_of("Mill", OPERATORS["Mill"]).name, any_device=True)
        tree = MemoryTree([*leaves, bytes(32)])
        assert witness.add_checkpoint(encode(0, [], shown.log.checkpoint)).status == 200
        proof = consistency_proof(len(leaves), len(leaves) + 1, tree.node)
        assert witness.add_checkpoint(encode(len(leaves), proof, hidden.log.checkpoint)).status == 200
        other = replaced(world.node, shown, [*leaves[:-1], bytes(32)])  # and now another history of that size
        refused = witness.add_checkpoint(encode(len(leaves), [], other.log.checkpoint))
    assert refused.status == 409
    return judged(world, cosigned(hidden, ["Clinic"]))


@row("own-witness", KEY_HOLDER, HOLDS, "is an operator himself, under another name", f"{NAME} not made")
def _(world: World) -> Result:
    bundle, key = world.honest(), world.node.key
    said = split(bundle.log.checkpoint)[1]
    lines = [cosign(said.body, "mill.example/w", key, int(time.time()))]
    named = {"Clinic": [str(key_of("Clinic", OPERATORS["Clinic"]))], "Mill": [str(key_of("Mill", key))]}
    return judged(world, cosigned(with_head(bundle, str(with_lines(said, lines))), ["Clinic"]), named)


@row("many-keys", KEY_HOLDER, HOLDS, "has one operator cosign with two keys", f"{NAME} not made")
def _(world: World) -> Result:
    second = MemorySigner(b"\x09" * 32)
    said = split(world.honest().log.checkpoint)[1]
    bundle = cosigned(world.honest(), ["Clinic"])
    said = split(bundle.log.checkpoint)[1]
    two = with_lines(said, [cosign(said.body, "clinic.example/2", second, int(time.time()))])
    named = {name: [str(key_of(name, signer))] for name, signer in OPERATORS.items()}
    named["Clinic"].append(str(VerifierKey("clinic.example/2", COSIGNATURE, second.public)))
    return judged(world, with_head(bundle, str(two)), named)


@row("line-moved", OUTSIDER, HOLDS, "moves a cosignature to another head", NAME)
def _(world: World) -> Result:
    first, second = cosigned(world.honest(), ["Clinic", "Mill"]), world.honest()
    lines = split(first.log.checkpoint)[1].lines[1:]
    return judged(world, with_head(second, str(with_lines(split(second.log.checkpoint)[1], lines))))


@row("back-dated-line", KEY_HOLDER, HOLDS, "has two operators state a time before the receipt says that it began", NAME)
def _(world: World) -> Result:
    return judged(world, cosigned(world.honest(), ["Clinic", "Mill"], early_s=86_400))


@row("one-back-dates", KEY_HOLDER, HOLDS, "has one of two operators state an early time",
     f"{LIMIT}: nothing is gained, for the later of the two times counts")  # fmt: skip
def _(world: World) -> Result:
    bundle = cosigned(cosigned(world.honest(), ["Clinic"], early_s=86_400), ["Mill"])
    result = judged(world, bundle)
    assert not isinstance(result, Exception)
    return result


@row("colluders", KEY_HOLDER, HOLDS, "has as many operators lie for him as must cosign",
     f"{LIMIT}: choose operators who would not lie together; two heads that contradict are evidence")  # fmt: skip
def _(world: World) -> Result:
    bundle = world.honest()
    return judged(
        world, cosigned(replaced(world.node, bundle, [*leaves_of(world.node), bytes(32)]), ["Clinic", "Mill"])
    )
