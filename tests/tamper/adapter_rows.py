"""Attacks with adapters: hidden, scaled otherwise, on another base, or named to whom only the model was named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forger import forge
from lora import TINY, lora

from tamper import BUNDLE, KEY_HOLDER, OUTSIDER, Result, World, edited, line, row
from verity.exporter import Selection
from verity.store.adapters import Adapters


def _added(world: World) -> list[str | tuple[str, float]]:
    """Two adapters that fit the device's model, to be used together."""
    base = world.node.load().model["blake3"]
    for number, name in enumerate(("calm", "short")):
        path = world.folder / f"{name}.gguf"
        path.write_bytes(lora(base, seed=number, shapes=TINY))
        Adapters(world.node.blobs).add(path)
    return ["calm", ("short", 0.5)]


def _forged(world: World, edit: Callable[[list[dict[str, Any]]], object], **named: Any) -> Result:
    """What comes of an answer with both adapters, whose field is signed as edited."""

    def lie(fields: dict[str, Any]) -> None:
        edit(fields["adapters"])

    return world.verify(forge(world.node, adapters=_added(world), intent=lie), **named)


@row("adapter-hidden", KEY_HOLDER, BUNDLE, "answers with an adapter and says that there was none", "replayed-exact")
def _(world: World) -> Result:
    return _forged(world, lambda adapters: adapters.clear())


@row("adapter-scale", KEY_HOLDER, BUNDLE, "says another scale of an adapter than it had", "replayed-exact")
def _(world: World) -> Result:
    return _forged(world, lambda adapters: adapters[1].update(scale=0.75))


@row("adapter-order", KEY_HOLDER, BUNDLE, "says another order of the adapters", "replayed-exact")
def _(world: World) -> Result:
    return _forged(world, lambda adapters: adapters.reverse())


@row("adapter-other", KEY_HOLDER, BUNDLE, "says another adapter than it had", "replayed-exact")
def _(world: World) -> Result:
    return _forged(world, lambda adapters: adapters[0].update(blake3="ab" * 32))


@row("adapter-other-base", KEY_HOLDER, BUNDLE, "uses an adapter that was made for another model", "replayed-exact")
def _(world: World) -> Result:
    return _forged(world, lambda adapters: adapters[0].update(base="ab" * 32))


@row("adapter-malformed", KEY_HOLDER, BUNDLE, "names an adapter without its base and size", "replayed-exact")
def _(world: World) -> Result:
    adapters = [{"blake3": "ab" * 32, "scale": 1.0}]
    return world.verify(forge(world.node, intent=lambda f: f.update(adapters=adapters)))


@row("adapter-unnamed", KEY_HOLDER, BUNDLE, "uses an adapter openly, where the verifier named the model alone", "model")
def _(world: World) -> Result:
    return _forged(world, lambda adapters: None, model=world.node.load().model["blake3"])


@row(
    "adapter-withheld",
    KEY_HOLDER,
    BUNDLE,
    "withholds which adapters it used, where the verifier named the model",
    "model not made",
)
def _(world: World) -> Result:
    answer = world.node.ask("Why?", adapters=_added(world), max_tokens=8)
    bundle = world.node.exporter.bundle(answer.receipt, Selection(fields=["model"], output=True))
    return world.verify(bundle, model=world.node.load().model["blake3"])


@row("adapter-rescaled", OUTSIDER, BUNDLE, "changes the scale of an adapter in the disclosure", "disclosure")
def _(world: World) -> Result:
    bundle = world.node.ask("Why?", adapters=_added(world), max_tokens=8).bundle
    return world.verify(edited(bundle, lambda plain: line(plain, "adapters")["value"][0].update(scale=2.0)))
