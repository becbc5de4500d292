"""Verity: trust infrastructure for local AI. The tour:

    import verity

    with verity.open() as node:                       # this device: its key, log and models
        answer = node.ask("Why is the sky blue?")     # a local model answers; the answer carries a receipt
        print(answer.text, answer.receipt)
        answer.save("sky.verity.json")

    report = verity.verify("sky.verity.json", key="…", replay=True)
    print(report)                                     # a list of checks: passed, failed or not made

``open`` gives a Node (verity/node.py, read it first), ``verify`` a Report. Everything raises VerityError (errors.py).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import verity.verify  # noqa: F401 - first: loading it later would put the package in the place of the function
from verity.api import open, verify  # noqa: A004 - the names people expect
from verity.errors import VerityError

if TYPE_CHECKING:
    from verity.engines.engine import Message
    from verity.engines.scripted import ScriptedEngine
    from verity.node import Answer, Node, Stream
    from verity.sampling.parameters import SamplingParameters
    from verity.statements.bundle import Bundle
    from verity.verify.policy import Policy
    from verity.verify.report import Check, Report

__version__ = "0.1.0"

_PLACES = {
    "Answer": "verity.node",
    "Bundle": "verity.statements.bundle",
    "Check": "verity.verify.report",
    "Message": "verity.engines.engine",
    "Node": "verity.node",
    "Policy": "verity.verify.policy",
    "Report": "verity.verify.report",
    "SamplingParameters": "verity.sampling.parameters",
    "ScriptedEngine": "verity.engines.scripted",
    "Stream": "verity.node",
}

__all__ = [
    "Answer",
    "Bundle",
    "Check",
    "Message",
    "Node",
    "Policy",
    "Report",
    "SamplingParameters",
    "ScriptedEngine",
    "Stream",
    "VerityError",
    "open",
    "verify",
]


def __getattr__(name: str) -> object:
    """Load a public name where it is first used: ``import verity`` stays cheap (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module 'verity' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
