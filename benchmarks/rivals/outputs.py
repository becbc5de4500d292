"""What the workers write down: one JSON line for each output, so that an interrupted run goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

_T = TypeVar("_T", bound="Line")


class Line(msgspec.Struct, frozen=True):
    """``number`` names an output within its group."""

    number: int


class Output(Line, frozen=True):
    """A finished output. ``proofs`` are TOPLOC's, in base64, one for each CHUNK of tokens; none without toploc.
    ``other`` is the most likely token beside the one at the edited position."""

    seed: str
    tokens: list[int]
    proofs: list[str]
    other: int


class Seen(Line, frozen=True):
    """What a verifier with other numerics sees. For each token: by how much its score ``missed`` the best (null where
    it was filtered out), and its signed ``margins`` in logits (spec/statistics.md). For each CHUNK TOPLOC's three
    ``errors``: exponents that differ (of 128), mean and median difference of the mantissas."""

    missed: list[float | None]
    margins: list[float]
    errors: list[tuple[float, float, float]]


class Replay(Line, frozen=True):
    """What an exact replay found: the first ``position`` that differs, or None; TOPLOC's errors for honest outputs."""

    position: int | None
    errors: list[tuple[float, float, float]]


class Compared(Line, frozen=True):
    """Which CHUNKs have a token that equal numerics would not have drawn there."""

    differs: list[bool]


def read_lines(path: Path, kind: type[_T]) -> dict[int, _T]:
    """The lines in a file, by number. A last line that was cut off counts for nothing, and is taken away."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        path.write_bytes(whole)
    found = (msgspec.json.decode(line, type=kind) for line in whole.splitlines())
    return {line.number: line for line in found}


def missing(path: Path, kind: type[Line], numbers: Iterable[int]) -> list[int]:
    """Those of ``numbers`` that the file does not have."""
    known = read_lines(path, kind)
    return [number for number in numbers if number not in known]


def append(path: Path, line: Line) -> None:
    with path.open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")
