"""Attacks on what publishers vouch for: models that nobody released, others' releases, revoked ones, edited ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from in_process import REPLY
from releasing import OTHER, SIGNER, publish

from tamper import KEY_HOLDER, LIMIT, OUTSIDER, Result, World, row
from verity.errors import VerityError
from verity.node import Node
from verity.statements.publishers import PublisherSigner
from verity.statements.revocation import revoke
from verity.store.importing import add_release, add_revocation

NAME = "released"
HOLDS = "bundle, a publisher's key"
MODEL = REPLY.encode()
"""What the scripted engine calls its model's bytes."""


def known(world: World, model: bytes = MODEL, signer: PublisherSigner = SIGNER, *, revoked: bool = False) -> None:
    """The verifier's device has added a release."""
    with Node(world.folder / "verifier") as verifier:
        folder = world.folder / "release"
        root = publish(folder, {"model": model}, signer).root
        add_release(verifier.blobs, folder, signer.public)
        if revoked:
            add_revocation(verifier.blobs, revoke(root, "small", "a back door", "2026-11-27T12:00:00Z", signer))


def judged(world: World) -> Result:
    policy = {"trust": {"publishers": [SIGNER.public.id]}, "require": {"checks": ["receipt", "logged"]}}
    return world.verify(world.honest(), policy=policy)


@row("unreleased", KEY_HOLDER, HOLDS, "answers with a model that nobody released", f"{NAME} not made")
def _(world: World) -> Result:
    known(world, b"another model")
    return judged(world)


@row("own-publisher", KEY_HOLDER, HOLDS, "releases his model himself", f"{NAME} not made")
def _(world: World) -> Result:
    known(world, signer=OTHER)
    return judged(world)


@row("revoked-release", KEY_HOLDER, HOLDS, "goes on with a model whose release was revoked", NAME)
def _(world: World) -> Result:
    known(world, revoked=True)
    return judged(world)


@row("release-edited", OUTSIDER, HOLDS, "edits what a release says of its model's licence", "FormatError")
def _(world: World) -> Result:
    return _added(world, lambda folder: _edit(folder / "release.json", b"Apache-2.0", b"Apache-9.9"))


@row("release-file-added", OUTSIDER, HOLDS, "adds a file to a release", "FormatError")
def _(world: World) -> Result:
    return _added(world, lambda folder: (folder / "more.bin").write_bytes(b"more"))


@row("release-bad-model", KEY_HOLDER, HOLDS, "is the publisher, and releases a model with a back door",
     f"{LIMIT}: a release says who publishes what, not that it is good; a revocation is all that mends it")  # fmt: skip
def _(world: World) -> Result:
    known(world)
    return judged(world)


def _edit(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.unlink()  # it may be a link to the publisher's own
    path.write_bytes(data.replace(old, new))


def _added(world: World, tamper: Callable[[Path], object]) -> Result:
    folder = world.folder / "release"
    publish(folder, {"model": MODEL})
    tamper(folder)
    with Node(world.folder / "verifier") as verifier:
        try:
            add_release(verifier.blobs, folder, SIGNER.public)
        except VerityError as error:
            return error
    return world.verify(world.honest())
