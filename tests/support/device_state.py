"""What must be so of a device whatever happened to it: asked of a home in a fresh node."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

import verity
from verity.engines.scripted import ScriptedEngine
from verity.node import Node
from verity.recorder import read_entry
from verity.statements.bundle import Bundle
from verity.statements.receipt import EMBEDDING, INFERENCE, INTENT, RESULT
from verity.steps import recovered
from verity.store.receipts import DONE, OPEN, PROMISED, Kept

CHECKS = ("signed", "logged", "intent", "disclosure", "output")
"""Those of a bundle that need no model."""


class Found(NamedTuple):
    """By receipt: its state (open, promised, done, forgotten), and how its results in the present epoch say that it
    ended: none while it is open or promised."""

    states: dict[str, str]
    endings: dict[str, list[str]]


def open_node(home: Path) -> Node:
    """The device, with the engine that ``--model scripted`` has."""
    return Node(home, engine=ScriptedEngine())


def look(home: Path, checkpoint: str | None = None) -> Found:
    """Assert that the device is sound, and say what its receipts have become.

    The log is whole, and grew from ``checkpoint`` if there is one; no blob is believed that is not whole; every intent
    has one result or waits for it; a result that closed an intent as aborted has no tokens.
    """
    with open_node(home) as node:
        assert node.check_log(checkpoint) == []
        _assert_blobs(node)
        receipts = {kept.id: kept for kept in node.exporter.receipts.all()}
        states = {name: "forgotten" if kept.forgotten_at else kept.state for name, kept in receipts.items()}
        endings = _endings(node, receipts)
        for name, ended in endings.items():
            assert states[name] == "forgotten" or len(ended) == (states[name] == DONE), f"{name}: {ended}"
    return Found(states, endings)


def assert_all_ended(home: Path, found: Found) -> None:
    """After an answer: no receipt is open any more, and no lock of a dead process is left."""
    assert OPEN not in found.states.values()
    assert list((home / "answering").iterdir()) == []


def _assert_blobs(node: Node) -> None:
    folder = node.blobs.folder
    stored = [p for p in folder.rglob("*") if p.is_file() and node.blobs.temporary_folder not in p.parents]
    for path in stored:
        assert blake3(path.read_bytes()).hexdigest() == path.name, f"{path} is not whole"
    with node._database.snapshot() as connection:
        known = {row[0] for row in connection.execute("SELECT blake3 FROM blobs")}
    assert known <= {path.name for path in stored}


def _endings(node: Node, receipts: dict[str, Kept]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for stored in node.log.entries():
        if stored.envelope is None:
            continue  # compacted
        statement = read_entry(stored)[1]
        name = statement.predicate.id
        if statement.predicateType == INTENT:
            assert found[name] == []
        elif statement.predicateType == RESULT:
            assert name in found
            found[name].append(_ending(node, receipts[name]))
    return dict(found)


def _ending(node: Node, kept: Kept) -> str:
    if kept.forgotten_at is not None:
        return "forgotten"
    private = node.exporter.receipts.private(kept)[1]
    finish: str = private.result["output/finish"]
    if finish == "aborted":
        assert private.tokens == []
        if kept.kind == EMBEDDING:
            assert private.result["output/embeddings"] == []
        elif kept.kind == INFERENCE:  # what was durable is on record
            secret = node.exporter.receipts.private(kept)[0]
            assert private.result["output/steps"] == recovered(node.recorder.steps, kept.id, secret)
        else:
            assert private.result["output/tokens"]["count"] == 0
    return finish


def assert_bundle(bundle: Bundle, home: Path) -> None:
    """A bundle passes every check that needs no model, and the device that made it still has the same receipt."""
    report = verity.verify(bundle, home=home, replay=False)
    assert {name: report.check(name).status for name in CHECKS} == dict.fromkeys(CHECKS, "passed")
    with open_node(home) as node:
        assert node.exporter.bundle(report.receipt).receipt == bundle.receipt


def state_of(home: Path, receipt: str) -> str:
    """The state of one receipt, ``forgotten`` included."""
    with open_node(home) as node:
        kept = node.exporter.receipts.get(receipt)
    return "forgotten" if kept.forgotten_at else kept.state


def receipts_in(home: Path, state: str) -> list[str]:
    """The ids of the receipts that are open, promised or done."""
    with open_node(home) as node:
        return [kept.id for kept in node.exporter.receipts.all(state)]


def holds_bytes(folder: Path, wanted: bytes) -> list[str]:
    """The names of the files under ``folder`` in which these bytes stand."""
    return [path.name for path in folder.rglob("*") if path.is_file() and wanted in path.read_bytes()]


__all__ = [
    "OPEN", "PROMISED", "Found", "assert_all_ended", "assert_bundle", "holds_bytes", "look", "open_node", "receipts_in",
    "state_of",
]  # fmt: skip
