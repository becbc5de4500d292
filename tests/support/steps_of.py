"""What tests of a network's steps share: a policy's inputs, edits of steps, and a verification in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from in_process import on

import verity
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.statements.steps import Step
from verity.verify.report import Report

OBS = [{"obs": np.random.default_rng(n).standard_normal((1 + n % 3, 8)).astype(np.float32)} for n in range(6)]
Edit = Callable[[list[Step]], list[Step]]


def verify(bundle: Bundle | bytes, node: Node, **options: Any) -> Report:
    given: dict[str, Any] = {"key": node.key.id, "home": node.home}
    given["replayer"] = on(node.network("policy").network)
    return verity.verify(bundle, **given | options)


def refused(report: Report) -> set[str]:
    """Checks that failed or were required and not made."""
    return {c.name for c in (*report.failed, *report.unmade)}


def changed(index: int, part: str = "outputs", **new: Any) -> Edit:
    """The first tensor of one step changed; ``flip`` is the number of an element whose last bit is."""

    def edit(steps: list[Step]) -> list[Step]:
        step = steps[index]
        tensor = getattr(step, part)[0]
        if "flip" in new:
            elements = np.frombuffer(tensor.data, np.uint32).copy()
            elements[new["flip"]] ^= 1
            tensor = msgspec.structs.replace(tensor, data=elements.tobytes())
        else:
            tensor = msgspec.structs.replace(tensor, **new)
        rest = getattr(step, part)[1:]
        return [*steps[:index], msgspec.structs.replace(step, **{part: [tensor, *rest]}), *steps[index + 1 :]]

    return edit


def exchanged(part: str) -> Edit:
    def edit(steps: list[Step]) -> list[Step]:
        first, fourth = steps[0], steps[3]
        steps[0] = msgspec.structs.replace(first, **{part: getattr(fourth, part)})
        steps[3] = msgspec.structs.replace(fourth, **{part: getattr(first, part)})
        return steps

    return edit
