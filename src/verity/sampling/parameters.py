"""The parameters of sampling, with the defaults and ranges that other local runtimes use."""

from __future__ import annotations

import math

import msgspec

from verity.errors import UsageError

_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 10.0),
    "top_k": (0, 1 << 20),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
}
_COLDEST = 1e-6  # far below it, logit / temperature overflows


class SamplingParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a token is drawn. Raises UsageError for a value out of range.

    temperature         0 is greedy: the most likely token, no noise
    top_k               keep this many most likely tokens; 0 keeps all
    top_p               keep the smallest set with at least this probability (over what top_k kept); 1 keeps all
    min_p               drop tokens less likely than this share of the most likely one; 0 keeps all
    repetition_penalty  divides (multiplies, below 0) the logit of every token of prompt and output; 1 is none
    presence_penalty    taken off the logit of every token of the output; 0 is none
    frequency_penalty   taken off once for each time it stands in the output; 0 is none
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise UsageError(f"{name} must be between {low:g} and {high:g}, not {value:g}")
        if 0.0 < self.temperature < _COLDEST:
            raise UsageError(f"temperature must be 0 or at least {_COLDEST:g}", "0 gives the most likely token")
        if self.top_p == 0.0:
            raise UsageError("top_p must be above 0", "use temperature 0 for the most likely token")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0
