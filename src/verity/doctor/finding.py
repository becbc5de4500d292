"""What an examination comes to: one finding per check, never one word."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from verity.verify.report import printable

Status = Literal["works", "does not work", "note"]
"""``note``: nothing is wrong, and there is something to know: not made yet, untested, cannot be told here."""


class Outcome(NamedTuple):
    """What a check says: one sentence, and for what does not work, what to do about it."""

    status: Status
    sentence: str
    hint: str = ""


class Finding(msgspec.Struct, frozen=True):
    """One check's outcome by name. ``needed``: without it `ask` or `verify` does not work."""

    name: str
    status: Status
    needed: bool
    sentence: str
    hint: str


class Diagnosis(msgspec.Struct, frozen=True):
    """All findings, in the order of the checks."""

    findings: list[Finding]

    def finding(self, name: str) -> Finding:
        """The finding of that check. Raises KeyError."""
        return {f.name: f for f in self.findings}[name]

    @property
    def broken(self) -> list[Finding]:
        """What does not work and is needed."""
        return [f for f in self.findings if f.needed and f.status == "does not work"]

    @property
    def exit_code(self) -> int:
        """0 when everything that `ask` and `verify` need works, else 1."""
        return 1 if self.broken else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "works": not self.broken,
            "exit_code": self.exit_code,
            "checks": [msgspec.to_builtins(f) for f in self.findings],
        }

    def __str__(self) -> str:
        marks = {"works": "✓ works        ", "does not work": "✗ DOES NOT WORK", "note": "· note         "}
        width = max((len(f.name) for f in self.findings), default=0)
        lines = []
        for f in self.findings:
            lines.append(f"{marks[f.status]}  {f.name:<{width}}  {printable(f.sentence)}")
            lines += [f"{'':<{width + 19}}{printable(f.hint)}"] if f.hint else []
        return "\n".join(lines)
