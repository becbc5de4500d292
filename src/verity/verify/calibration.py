"""A calibration of the statistical check: what honest margins look like. A JSON file (spec/statistics.md §3).

It is measured (benchmarks/calibrate.py), never guessed, and holds for the models and the sampling that it names.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path

import msgspec

from verity.errors import FormatError
from verity.sampling.margins import MOST
from verity.sampling.parameters import SamplingParameters
from verity.statements.strict import decode_hex, load

SHIPPED = "calibration.json"
_MAX_FILE = 1 << 18
_MAX_ENTRIES = 256
_MAX_RATIO = 40.0


class Alternative(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of lying: for each size of margin, the log of how many times likelier it makes a token that is drawn
    (margin ≤ 0), and one that misses (margin > 0)."""

    name: str
    drawn: list[float]
    missed: list[float]


class Null(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Honest windows of ``tokens`` tokens: the ``chances`` that their score is at least each of ``scores`` (rising).
    Beyond the last the chance falls by e for each 1 / ``rate``."""

    tokens: int
    scores: list[float]
    chances: list[float]
    rate: float


class Covered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sampling that it was measured with: from … to, and greedy besides if ``greedy``."""

    greedy: bool
    temperature: tuple[float, float]
    repetition_penalty: tuple[float, float]


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was measured, and the rates that are promised for it. Raises FormatError.

    models            BLAKE3 digests (hex) of the models that it holds for
    numerics, engine  between which builds it was measured, and of which version of the engine
    honest_tokens     how many tokens were checked for it
    edges             sizes of margins (logits) at which a bin begins; the first is 0
    threshold         the largest p-value that is refused; honest outputs are refused at most at ``false_alarm_rate``
    typical_edit      the median margin (logits) of a token that the model might as well have written
    """

    format: int
    models: list[str]
    numerics: list[str]
    engine: str
    honest_tokens: int
    covered: Covered
    edges: list[float]
    alternatives: list[Alternative]
    nulls: list[Null]
    threshold: float
    false_alarm_rate: float
    typical_edit: float

    def __post_init__(self) -> None:
        if self.format != 1:
            raise FormatError(f"a calibration of format {self.format} is not known", "get a newer version")
        for model in self.models:
            decode_hex(model, 32, "model of a calibration")
        names, sizes = (len(self.models), len(self.numerics)), (len(self.alternatives), len(self.nulls))
        if not all(0 < length <= _MAX_ENTRIES for length in (*names, *sizes, len(self.edges))):
            raise FormatError("a calibration has a list that is empty or too long")
        if self.edges[0] != 0.0 or not _rising(self.edges) or self.edges[-1] >= MOST:
            raise FormatError(f"the edges of a calibration rise from 0 to less than {MOST:g}")
        if not 0.0 < self.threshold <= self.false_alarm_rate <= 0.5 or not 0.0 < self.typical_edit <= MOST:
            raise FormatError("a calibration states rates between 0 and a half, and an edit above 0")
        for alternative in self.alternatives:
            self._check_alternative(alternative)
        for null in self.nulls:
            _check_null(null)
        if not _rising([null.tokens for null in self.nulls]):
            raise FormatError("the windows of a calibration grow")

    def _check_alternative(self, alternative: Alternative) -> None:
        for ratios in (alternative.drawn, alternative.missed):
            if len(ratios) != len(self.edges) or not all(abs(ratio) <= _MAX_RATIO for ratio in ratios):
                raise FormatError(f"an alternative has a ratio for each bin, within ±{_MAX_RATIO:g}")

    @property
    def shortest(self) -> int:
        """Tokens: of fewer nothing can be said."""
        return self.nulls[0].tokens

    @property
    def window(self) -> int:
        """Tokens in a window: an output is judged in pieces of at most so many."""
        return self.nulls[-1].tokens

    def uncovered(self, model: str, parameters: SamplingParameters) -> str:
        """Why it does not hold for this model (BLAKE3, hex) and sampling; nothing if it does."""
        if model not in self.models:
            return "the calibration is of another model"
        low, high = self.covered.repetition_penalty
        if (
            not low <= parameters.repetition_penalty <= high
            or parameters.presence_penalty
            or parameters.frequency_penalty
        ):
            return "the calibration does not cover these penalties"
        low, high = self.covered.temperature
        if not (self.covered.greedy if parameters.greedy else low <= parameters.temperature <= high):
            return f"the calibration does not cover the temperature {parameters.temperature:g}"
        return ""


def _check_null(null: Null) -> None:
    if not 0 < null.tokens <= 1 << 16 or not 0.0 < null.rate <= 1.0:
        raise FormatError("a window has some tokens, and its chances fall by at most e for each 1")
    if not 0 < len(null.scores) == len(null.chances) <= _MAX_ENTRIES or not _rising(null.scores):
        raise FormatError("the scores of a window rise, each with its chance")
    if not _rising([-chance for chance in null.chances]) or not 0.0 < null.chances[-1] <= null.chances[0] <= 1.0:
        raise FormatError("the chances of a window fall from at most 1")


def _rising(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) for value in values) and all(a < b for a, b in pairwise(values))


def read_calibration(data: bytes) -> Calibration:
    """Read a calibration from its file's bytes. Raises FormatError."""
    return load(data, Calibration, limit=_MAX_FILE, what="calibration")


def open_calibration(path: Path) -> Calibration:
    """Read a calibration's file. Raises FormatError."""
    hint = "benchmarks/calibrate.py makes one"
    try:
        with path.open("rb") as file:
            return read_calibration(file.read(_MAX_FILE + 1))
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}", hint) from error


@functools.cache
def shipped() -> Calibration:
    """The calibration that comes with this version, for the default model."""
    return read_calibration(resources.files("verity.verify").joinpath(SHIPPED).read_bytes())
