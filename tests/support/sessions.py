"""What tests of sessions share: steps of a small policy, and what a bundle opens of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from in_process import on

import verity
from verity.inference import Session
from verity.node import Node
from verity.statements.steps import Step


def obs(number: int) -> dict[str, np.ndarray]:
    return {"obs": np.full((1, 8), number / 8, np.float32)}


def run(session: Session, count: int, start: int = 0) -> list[dict[str, Any]]:
    return [session.run(obs(number)) for number in range(start, start + count)]


def opened(bundle: verity.Bundle) -> dict[str, Any]:
    disclosure: Any = bundle.disclosure
    return {x.field: x.value for x in (*disclosure.intent, *disclosure.result) if x.opened}


def steps(bundle: verity.Bundle) -> list[Step]:
    disclosure: Any = bundle.disclosure
    return [opening.step() for opening in disclosure.steps]


def check(bundle: verity.Bundle, node: Node) -> verity.Report:
    return verity.verify(bundle, key=node.key.id, home=node.home, replayer=on(node.network("policy").network))
