"""Attacks on the steps of a network: by those who only pass them on, and by the device that signs them."""

from __future__ import annotations

from typing import Any

import msgspec
import networks
import numpy as np
from forger import forge_inference
from in_process import on
from steps_of import OBS, changed, exchanged

from tamper import BUNDLE, KEY_HOLDER, LIMIT, OUTSIDER, Result, World, edited, line, row
from verity.statements.bundle import Bundle


def policy(world: World) -> str:
    """The name of a network that the device has."""
    networks.store(world.node, networks.policy(), world.folder)
    return "policy"


def honest(world: World, opened: tuple[int, int] | None = None) -> Bundle:
    return forge_inference(world.node, policy(world), OBS, opened=opened)


def verify(world: World, bundle: Bundle | bytes, **options: Any) -> Result:
    return world.verify(bundle, replayer=on(world.node.network("policy").network), **options)


@row("step-input-bit", OUTSIDER, BUNDLE, "changes the last bit of a number that went into a step", "disclosure")
def _(world: World) -> Result:
    def edit(plain: Any) -> None:
        step = plain["disclosure"]["steps"][2]
        step["inputs"][0]["data"] = "AAAA" + step["inputs"][0]["data"][4:]

    return verify(world, edited(honest(world), edit))


@row("steps-swapped", OUTSIDER, BUNDLE, "exchanges two steps and renumbers them", "disclosure")
def _(world: World) -> Result:
    def edit(plain: Any) -> None:
        steps = plain["disclosure"]["steps"]
        steps[0]["index"], steps[1]["index"] = 1, 0
        steps[:2] = steps[1::-1]

    return verify(world, edited(honest(world), edit))


@row("step-of-another", OUTSIDER, BUNDLE, "puts a step of another receipt in the place of one", "disclosure")
def _(world: World) -> Result:
    other = msgspec.json.decode(honest(world).encode())["disclosure"]["steps"]
    return verify(world, edited(honest(world), lambda plain: plain["disclosure"]["steps"].__setitem__(1, other[1])))


@row("step-count", OUTSIDER, BUNDLE, "passes three steps on as all there were", "disclosure")
def _(world: World) -> Result:
    return verify(world, edited(honest(world, (0, 3)), lambda p: line(p, "output/steps")["value"].update(count=3)))


@row("step-retyped", OUTSIDER, BUNDLE, "says that a step's bytes are numbers of another type", "disclosure")
def _(world: World) -> Result:
    bundle = honest(world)
    return verify(world, edited(bundle, lambda p: p["disclosure"]["steps"][0]["outputs"][0].update(dtype="int32")))


@row("action-bit", KEY_HOLDER, BUNDLE, "changes the last bit of what a policy did in one step", "replayed-exact")
def _(world: World) -> Result:
    return verify(world, forge_inference(world.node, policy(world), OBS, steps=changed(3, flip=1)))


@row("observation-bit", KEY_HOLDER, BUNDLE, "changes the last bit of what a policy saw in one step", "replayed-exact")
def _(world: World) -> Result:
    return verify(world, forge_inference(world.node, policy(world), OBS, steps=changed(3, "inputs", flip=1)))


@row("actions-swapped", KEY_HOLDER, BUNDLE, "exchanges what a policy did in two steps", "replayed-exact")
def _(world: World) -> Result:
    return verify(world, forge_inference(world.node, policy(world), OBS, steps=exchanged("outputs")))


@row("step-dtype", KEY_HOLDER, BUNDLE, "commits to a step of another type than the network has", "output")
def _(world: World) -> Result:
    return verify(world, forge_inference(world.node, policy(world), OBS, steps=changed(0, "inputs", dtype="int32")))


@row("step-shape", KEY_HOLDER, BUNDLE, "commits to an output of another shape than the network gives", "replayed-exact")
def _(world: World) -> Result:
    return verify(world, forge_inference(world.node, policy(world), OBS, steps=changed(0, shape=(4, 1))))


@row("network-swapped", KEY_HOLDER, BUNDLE, "ran another network than the one that the receipt names",
     "replayed-exact")  # fmt: skip
def _(world: World) -> Result:
    name = policy(world)
    networks.store(world.node, networks.policy(seed=1), world.folder, "other")
    named = dict(world.node.network(name).model)
    bundle = forge_inference(world.node, "other", OBS, intent=lambda fields: fields.update(model=named))
    return verify(world, bundle)


@row("steps-seeded", KEY_HOLDER, BUNDLE, "adds a nonce to a network's steps, as if they had been drawn", "disclosure")
def _(world: World) -> Result:
    nonce = {"hex": "ab" * 32, "chosen_by": "caller"}
    return verify(world, forge_inference(world.node, policy(world), OBS, intent=lambda f: f.update(nonce=nonce)))


@row(
    "step-left-out",
    KEY_HOLDER,
    BUNDLE,
    "leaves out of the record the step that went wrong",
    f"{LIMIT}: what was never committed leaves no trace; the record shows what was done, not that nothing else was",
)
def _(world: World) -> Result:  # fmt: skip
    def without(steps: list[Any]) -> list[Any]:
        return [msgspec.structs.replace(step, index=n) for n, step in enumerate(steps[:2] + steps[3:])]

    return verify(world, forge_inference(world.node, policy(world), OBS, steps=without))


@row(
    "steps-reordered",
    KEY_HOLDER,
    BUNDLE,
    "commits to the steps in another order than they were made in",
    f"{LIMIT}: a network has no memory, and notes are the device's word; begin short sessions if their order matters",
)
def _(world: World) -> Result:  # fmt: skip
    def turned(steps: list[Any]) -> list[Any]:
        return [msgspec.structs.replace(step, index=n) for n, step in enumerate(steps[::-1])]

    return verify(world, forge_inference(world.node, policy(world), OBS, steps=turned))


@row(
    "sensor-invented",
    KEY_HOLDER,
    BUNDLE,
    "runs the network on inputs that no sensor measured",
    f"{LIMIT}: a receipt shows what came of an input, not where the input came from",
)
def _(world: World) -> Result:  # fmt: skip
    return verify(world, forge_inference(world.node, policy(world), [{"obs": np.full((1, 8), 0.5, np.float32)}]))
