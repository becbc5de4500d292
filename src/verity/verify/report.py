"""The result of verifying: a list of checks, each passed, failed or not made, never one word."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["passed", "failed", "not made"]


class Check(msgspec.Struct, frozen=True):
    """One check: its name, what came out, one plain sentence, and the evidence in a form for programs."""

    name: str
    status: Status
    sentence: str
    evidence: dict[str, Any] = {}


class Report(msgspec.Struct, frozen=True):
    """All checks in the order they were made; ``required`` names those that the policy asks for."""

    checks: list[Check]
    required: list[str]
    receipt: str
    device: str

    def check(self, name: str) -> Check:
        """The check of that name. Raises KeyError."""
        return {c.name: c for c in self.checks}[name]

    @property
    def failed(self) -> list[Check]:
        """Every failed check, required or not: a lie anywhere spoils the whole."""
        return [c for c in self.checks if c.status == "failed"]

    @property
    def unmade(self) -> list[Check]:
        """Required checks that could not be made."""
        return [self.check(name) for name in self.required if self.check(name).status == "not made"]

    @property
    def passed(self) -> bool:
        """Whether every required check passed and no check failed."""
        return not self.failed and not self.unmade

    @property
    def exit_code(self) -> int:
        """0 all required passed, 1 a check failed, 3 a required check could not be made."""
        return 1 if self.failed else 3 if self.unmade else 0

    @property
    def grade(self) -> str:
        """The names of the checks that passed, for one line."""
        return ", ".join(c.name for c in self.checks if c.status == "passed") or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "receipt": self.receipt,
            "device": self.device,
            "passed": self.passed,
            "exit_code": self.exit_code,
            "required": self.required,
            "checks": [msgspec.to_builtins(c) for c in self.checks],
        }

    def __str__(self) -> str:
        # A bundle's author chose some of these words: nothing in them may steer the reader's terminal.
        marks = {"passed": "✓ passed  ", "failed": "✗ FAILED  ", "not made": "· not made"}
        width = max((len(c.name) for c in self.checks), default=0)
        return "\n".join(f"{marks[c.status]}  {c.name:<{width}}  {printable(c.sentence)}" for c in self.checks)


def printable(text: str) -> str:
    """``text`` with everything that a terminal might obey written out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
