"""What is asked for the honest outputs that calibrate the statistical check: prompts, sampling, lengths, who checks.

Half of the prompts are utterances to a home assistant (HWU64, CC BY 4.0), where VERITY_SHARED names a folder that has
``data/hwu64``; the others, and all of them elsewhere, are written here.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

NUMERICS = ("portable", "native", "sse", "f16")
"""Builds of builds.py, and the portable one with an f16 KV cache. The generic one is left out: it gives
the bits of sse, which calibrate.py checks."""

SLOW = ("sse",)
"""It takes seven times as long, and so makes and checks less."""

COUNTS = {"train": (60, 9), "test": (340, 20), "fresh": (380, 20)}
"""Outputs of each fast and of each slow maker, by split."""

SPLITS = ("train", "test", "fresh")
TRAINING = SPLITS[:2]
FRESH = SPLITS[2]
"""A first calibration was made with ``train`` and tested with ``test``, where one honest window of 3,630 was refused:
an f16 cache makes rare large margins that it had not met. Now it is made with both, and tested with ``fresh``."""

MAX_TOKENS = 160

_FORMS = (
    "Tell me a story about {}.",
    "Explain {} to a child.",
    "What are the pros and cons of {}?",
    "Write a letter about {}.",
    "Give me five facts about {}.",
    "Why do people care about {}?",
    "Write a short poem about {}.",
    "Write instructions for somebody who is new to {}.",
    "Schreibe ein paar Sätze über das Thema: {}.",
    "Résume ce que tu sais sur: {}.",
    "Write a Python function that has to do with {}.",
    "Write a dialogue between two friends about {}.",
)
_TOPICS = (
    "the moon", "a lighthouse", "bread", "bicycles", "chess", "whales", "winter", "old maps", "trains", "honey bees",
    "volcanoes", "jazz", "the desert", "robots", "a lost dog", "tea", "gravity", "mushrooms", "libraries", "rain",
    "the Roman empire", "vaccines", "football", "clocks", "islands", "electric cars", "owls", "chocolate",
    "prime numbers", "a market in Morocco", "dreams", "glass", "sleep", "earthquakes", "knitting", "photography",
    "rivers", "batteries", "the human heart", "gardening",
)  # fmt: skip
_FRESH_TOPICS = (
    "the sun", "a bakery", "cheese", "skateboards", "poker", "octopuses", "spring", "compasses", "ferries", "ants",
    "glaciers", "the blues", "the jungle", "drones", "a stray cat", "coffee", "magnets", "ferns", "museums", "fog",
    "the Inca", "antibiotics", "tennis", "calendars", "caves", "solar panels", "bats", "honey", "fractions",
    "a festival in Peru", "memory", "paper", "yoga", "tides", "pottery", "cinema", "lakes", "lasers", "the lungs",
    "beekeeping",
)  # fmt: skip
_SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"top_k": 0, "top_p": 0.9},
    {"top_k": 0, "top_p": 1.0},
    {"top_k": 50, "top_p": 1.0},
    {"top_k": 0, "top_p": 1.0, "min_p": 0.05},
    {"repetition_penalty": 1.1},
    {"top_k": 20, "top_p": 0.8},
)
_TEMPERATURES = (0.8, 0.5, 1.0, 0.7, 0.9, 0.6, 0.8, 0.0)


class Case(NamedTuple):
    """One honest output: who makes it and what is asked. ``nonce`` decides the randomness."""

    name: str
    maker: str
    prompt: str
    sampling: dict[str, Any]
    nonce: bytes


def cases(split: str, maker: str) -> list[Case]:
    """What ``maker`` answers. No prompt of one split stands in another."""
    made = []
    for number in range(COUNTS[split][maker in SLOW]):
        name = f"{split}-{maker}-{number}"
        sampling = {"temperature": _TEMPERATURES[number % len(_TEMPERATURES)], **_SHAPES[number % len(_SHAPES)]}
        if not sampling["temperature"]:
            sampling = {"temperature": 0.0}
        pool = _prompts(split)
        prompt = pool[_draw(name, len(pool))]
        made.append(Case(name, maker, prompt, sampling, hashlib.sha256(name.encode()).digest()))
    return made


def checkers(split: str, case: str) -> list[str]:
    """Who checks this output. For ``train`` everybody else who is fast, and for a sixth of the outputs the slow too;
    else one of the others (a slow one for a twentieth), so that no two tests share a token."""
    _, maker, number = case.split("-")
    fast, slow = (
        [name for name in NUMERICS if name != maker and (name in SLOW) is is_slow] for is_slow in (False, True)
    )
    if split == "train":
        return [*fast, *slow] if int(number) % 6 == 0 else fast
    turn = int(number) // 10
    if int(number) % 20 == 9 and slow:
        return [slow[turn % len(slow)]]
    return [fast[(turn + int(number)) % len(fast)]]


@functools.cache
def _prompts(split: str) -> list[str]:
    """Those of the two for training are told apart by their digests; ``fresh`` is about other things."""
    written = [form.format(topic) for form in _FORMS for topic in (_FRESH_TOPICS if split == FRESH else _TOPICS)]
    start = len(written) if split == FRESH else 0
    pool = [*written, *_spoken()[start : start + len(written)]]
    return [prompt for prompt in pool if split == FRESH or TRAINING[_draw(prompt, len(TRAINING))] == split]


@functools.cache
def _spoken() -> list[str]:
    folder = Path(os.environ.get("VERITY_SHARED", Path(__file__).parents[2] / "shared")) / "data/hwu64/train"
    found = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found += [row["answer_from_user"] for row in csv.DictReader(file, delimiter=";")]
    return sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())


def _draw(text: str, size: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[8:16], "big") % size
