"""The tamper table: each row is an attack that is carried out, and what becomes of it.

A row's function makes the attack in a ``World`` and returns what the verifier then has: a Report, one Check, or the
error that refused the input. ``caught`` says what must come of it: the name of a check that fails, ``NAME not made``,
the class of an error, or ``limit``: the attack works, the documentation says so, and the row shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from in_process import REPLY, in_process

import verity
from verity.answer import Answer
from verity.engines.scripted import ScriptedEngine
from verity.errors import VerityError
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.statements.request import Issued
from verity.verify.policy import Policy
from verity.verify.report import Check, Report

OUTSIDER = "outsider"
KEY_HOLDER = "key holder"
BUNDLE, LOG, HEADS, PUBLIC = "bundle", "log", "two checkpoints", "public receipt"
OWN_NONCE = "bundle, own nonce and request"
LIMIT = "limit"

Result = Report | Check | VerityError
PROMPT = "Why is the sky blue?"


class World:
    """Where rows act: a device with the scripted engine (``node``), another verifier, and for some the real model."""

    def __init__(self, folder: Path, node: Node, real: Node | None) -> None:
        self.folder = folder
        self.node = node
        self.real = real

    def honest(self, prompt: str = PROMPT, **options: Any) -> Bundle:
        answer: Answer = self.node.ask(prompt, temperature=0.9, max_tokens=24, **options)
        return answer.bundle

    def other(self, name: str = "other") -> Node:
        """Another device, with a key of its own and the same engine."""
        return verity.open(self.folder / name, engine=ScriptedEngine(REPLY))

    def request(self, *, late: bool = False, **options: Any) -> Issued:
        """The verifier's own request, for the scripted engine's model."""
        model = ScriptedEngine(REPLY).model["blake3"]
        with self.other("verifier") as verifier:
            return verifier.issuer.issue(PROMPT, model=model, late=late, max_tokens=24, temperature=0.9, **options)

    def reveal(self, issued: Issued, signed: Any) -> Issued:
        with self.other("verifier") as verifier:
            return verifier.issuer.reveal(issued, signed, self.node.key.id)

    def verify(self, bundle: Bundle | bytes, **options: Any) -> Result:
        """As somebody who holds the bundle and expects this device; the replay is real, in this process."""
        given: dict[str, Any] = {"key": self.node.key.id, "home": self.folder / "verifier", "replayer": in_process}
        if isinstance(options.get("policy"), dict):
            options["policy"] = msgspec.convert(options["policy"], Policy)
        try:
            return verity.verify(bundle, **given | options)
        except VerityError as error:
            return error

    def verify_real(self, bundle: Bundle, **options: Any) -> Result:
        """The same with the real model, replayed in a process of its own."""
        assert self.real is not None
        try:
            return verity.verify(bundle, key=self.real.key.id, home=self.real.home, threads=1, **options)
        except VerityError as error:
            return error


class Row(NamedTuple):
    name: str
    adversary: str
    holds: str
    attack: str
    caught: str
    act: Callable[[World], Result]
    real: bool
    slow: bool

    @property
    def verdict(self) -> str:
        """What the documentation says of it."""
        if self.caught.startswith(LIMIT):
            return f"**not caught**: {self.caught.removeprefix(LIMIT).strip(': ')}"
        if self.caught.endswith("Error"):
            return f"refused unread (`{self.caught}`)"
        name, _, status = self.caught.partition(" ")
        return f"`{name}` {status or 'failed'}"


ROWS: list[Row] = []


def row(
    name: str, adversary: str, holds: str, attack: str, caught: str, *, real: bool = False, slow: bool = False
) -> Callable[[Callable[[World], Result]], Callable[[World], Result]]:
    """Enter a row. The order of entering is the order in the documentation."""

    def enter(act: Callable[[World], Result]) -> Callable[[World], Result]:
        ROWS.append(Row(name, adversary, holds, attack, caught, act, real, slow))
        return act

    return enter


def becomes(result: Result, caught: str) -> bool:
    """Whether the attack came to what its row says. The scripted engine's own failure counts for nothing."""
    if isinstance(result, VerityError):
        return type(result).__name__ == caught
    checks = [result] if isinstance(result, Check) else result.checks
    failed = {c.name for c in checks if c.status == "failed"} - {"engine"}
    if caught == "engine":
        return any(c.name == "engine" and c.status == "failed" for c in checks)
    if caught.startswith(LIMIT):
        unmade = {c.name for c in result.unmade} if isinstance(result, Report) else set()
        return not failed and not unmade
    name, _, status = caught.partition(" ")
    if status == "not made":
        return not failed and any(c.name == name and c.status == "not made" for c in checks)
    return name in failed


def edited(bundle: Bundle, edit: Callable[[Any], None]) -> bytes:
    """The bundle's JSON, edited by somebody without any key."""
    plain = msgspec.json.decode(bundle.encode())
    edit(plain)
    return msgspec.json.encode(plain)


def line(plain: Any, field: str) -> Any:
    """The line of a field in a bundle's JSON."""
    return next(x for x in plain["disclosure"]["intent"] + plain["disclosure"]["result"] if x["field"] == field)
