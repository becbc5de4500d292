"""Honest devices and those that lie: what each claims, and what it does instead.

All claim the same: the default model in Q8_0, a system prompt, temperature 0.8, top-k 40, top-p 0.95, a seed of the
verifier's. Every output has TOKENS tokens; one that ends earlier is left out, and the next seed is taken.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from verity.engines.engine import Message
from verity.sampling.noise import derive_seed
from verity.sampling.parameters import SamplingParameters
from verity.sampling.sampler import Sampler, _Survivors

CHUNK = 32
"""Tokens: TOPLOC makes one proof of so many, and Verity's statistical check is a test of so many."""
TOKENS = 6 * CHUNK
ADAPTER_STRENGTH = 0.1
"""Of the random LoRA adapter (tests/support/lora.py)."""
SYSTEM = "You work in a public library. Write plainly, give dates and names where you can, and never use a list."
_SUBJECTS = (
    *("a lighthouse", "the first railways", "a lost letter", "the history of bread", "an old clockmaker"),
    *("how rivers are mapped", "a night at sea", "the invention of glass", "a village school", "the life of bees"),
    *("a journey on foot", "how bridges are built", "two brothers", "the winter of a small town", "growing rice"),
    *("a museum of maps", "learning to sail", "the sounds of a forest", "a bakery at dawn", "the moons of Jupiter"),
)
_FORMS = ("Write a long story about {}.", "Write a long article about {}.", "Tell me everything about {}, at length.")


class EdgeLeftOut(Sampler):
    """A sampler with an error of one in top-p: the token that crosses the threshold is left out, though it belongs to
    the smallest set that reaches it."""

    def _cut(
        self, order: npt.NDArray[np.int64], adjusted: npt.NDArray[np.floating], total: float | None, slack: float
    ) -> _Survivors:
        kept = super()._cut(order, adjusted, total, slack)
        fewer = max(1, len(kept.tokens) - 1)
        return _Survivors(kept.tokens[:fewer], kept.logits[:fewer], min(kept.firm, fewer))


class Way(NamedTuple):
    """How a device writes an answer. The defaults are what every device claims."""

    weights: str = "Q8_0"
    adapter: bool = False
    temperature: float = 0.8
    system: bool = True
    sampler: type[Sampler] = Sampler
    edits: bool = False

    @property
    def parameters(self) -> SamplingParameters:
        return SamplingParameters(temperature=self.temperature)


class Lie(NamedTuple):
    """``way`` is None where nothing is written: the lie changes an honest output afterwards."""

    title: str
    does: str
    way: Way | None


CLAIMED = Way()
LIES = {
    "weights": Lie("4-bit for 8-bit weights", "runs Q4_0 weights, made from the same file", Way(weights="Q4_0")),
    "adapter": Lie("another adapter", "runs the model under an adapter that it does not name", Way(adapter=True)),
    "temperature": Lie("temperature 0.8 → 1.0", "samples at temperature 1.0", Way(temperature=1.0)),
    "system": Lie("system prompt removed", "leaves the claimed system prompt out", Way(system=False)),
    "top_p": Lie("a bug in top-p", "leaves out the token that crosses top-p", Way(sampler=EdgeLeftOut)),
    "edit": Lie("one edited token", "puts one token of its own among the drawn ones and goes on", Way(edits=True)),
    "edit_after": Lie("one token edited afterwards", "puts another token into the finished output", None),
}
HONEST = ("calibration", "honest")
"""Two sets of honest outputs: what the methods are set by, and what they are tried on."""


def way_of(group: str) -> Way | None:
    """How the outputs of this group (a name in HONEST or LIES) are written."""
    return CLAIMED if group in HONEST else LIES[group].way


def messages(number: int, system: bool) -> list[Message]:
    """The request of this number."""
    form = _FORMS[number % len(_FORMS)]
    asked = Message("user", form.format(_SUBJECTS[number // len(_FORMS) % len(_SUBJECTS)]))
    return [Message("system", SYSTEM), asked] if system else [asked]


def seed_of(group: str, number: int, attempt: int) -> bytes:
    """The seed that the verifier gives for an output; another attempt takes another."""
    return derive_seed(hashlib.sha256(f"{group}/{number}/{attempt}".encode()).digest())


def edited_position(number: int) -> int:
    """Where the output of this number is edited: anywhere, each position about as often."""
    return int.from_bytes(hashlib.sha256(f"edit/{number}".encode()).digest()[:4], "little") % TOKENS
