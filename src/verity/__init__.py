"""Verity: trust infrastructure for local AI. The tour:

    import verity

    with verity.open() as node:                       # this device: its key, log and models
        answer = node.ask("Why is the sky blue?")     # a local model answers; the answer carries a receipt
        print(answer.text, answer.receipt)
        answer.save("sky.verity.json")

    report = verity.verify("sky.verity.json", key="…", replay=True)
    print(report)                                     # a list of checks: passed, failed or not made

``open`` gives a Node (verity/node.py, read it first), ``verify`` a Report, ``dispute`` a Verdict on two receipts that
differ. Everything raises VerityError (errors.py).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import verity.verify  # noqa: F401 - first: loading it later would put the package in the place of the function
from verity.api import dispute, open, verify  # noqa: A004 - the names people expect
from verity.errors import AnswerError, TypedOutputError, VerityError

if TYPE_CHECKING:
    from verity.answer import Answer, Stream, TypedAnswer
    from verity.auditing import verify_many
    from verity.conversation import Conversation
    from verity.embedder import Embedded
    from verity.engines.scripted import ScriptedEngine
    from verity.exporter import Selection
    from verity.inference import Inferred, Session
    from verity.node import Node
    from verity.sampling.parameters import SamplingParameters
    from verity.scorer import Scored
    from verity.statements.bundle import Bundle
    from verity.statements.receipt import Message
    from verity.statements.request import Issued
    from verity.store.bundles import read_request
    from verity.verify.policy import Policy
    from verity.verify.report import Check, Report

__version__ = "0.1.0"

_PLACES = {
    "Answer": "verity.answer",
    "Bundle": "verity.statements.bundle",
    "Check": "verity.verify.report",
    "Conversation": "verity.conversation",
    "Embedded": "verity.embedder",
    "Inferred": "verity.inference",
    "Issued": "verity.statements.request",
    "Message": "verity.statements.receipt",
    "Node": "verity.node",
    "Policy": "verity.verify.policy",
    "Report": "verity.verify.report",
    "SamplingParameters": "verity.sampling.parameters",
    "Scored": "verity.scorer",
    "read_request": "verity.store.bundles",
    "Selection": "verity.exporter",
    "Session": "verity.inference",
    "ScriptedEngine": "verity.engines.scripted",
    "Stream": "verity.answer",
    "TypedAnswer": "verity.answer",
    "verify_many": "verity.auditing",
}

__all__ = [
    "Answer",
    "AnswerError",
    "Bundle",
    "Check",
    "Conversation",
    "Embedded",
    "Inferred",
    "Issued",
    "Message",
    "Node",
    "Policy",
    "Report",
    "SamplingParameters",
    "Scored",
    "ScriptedEngine",
    "Selection",
    "Session",
    "Stream",
    "TypedAnswer",
    "TypedOutputError",
    "VerityError",
    "dispute",
    "open",
    "read_request",
    "verify",
    "verify_many",
]


def __getattr__(name: str) -> object:
    """Load a public name where it is first used: ``import verity`` stays cheap (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module 'verity' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
