"""Honest generations of every kind: what must replay exactly, always. Used by the tests and by receipts.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

PROMPTS = (
    "Why is the sky blue?",
    "Écris une phrase sur la mer.",
    "Schreibe einen kurzen Satz über den Wald.",
    "用一句话介绍北京。",
    "اكتب جملة عن القمر.",
    "Напиши короткое предложение о зиме.",
    "List three colours, separated by commas.",
    "def fibonacci(n):",
    "Translate to Spanish: good morning 🌞",
    "Tell me a short story about a robot and a cat.",
)
SAMPLING: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.0},
    {"temperature": 1.2, "top_k": 0, "top_p": 1.0},
    {"temperature": 0.3, "top_p": 0.5},
    {"temperature": 1.0, "top_k": 0, "top_p": 0.9},
    {"temperature": 0.7, "min_p": 0.05, "top_k": 0, "top_p": 1.0},
    {"temperature": 0.9, "repetition_penalty": 1.15},
    {"temperature": 1.1, "presence_penalty": 0.6, "frequency_penalty": 0.4},
    {"temperature": 0.0, "repetition_penalty": 1.3},
    {"temperature": 0.8, "top_k": 400, "top_p": 0.98, "min_p": 0.01},
)
LENGTHS = (1, 2, 3, 24, 40, 7, 16, 33, 12, 60)
LONG_PROMPT = "Summarise the following. " + "The river runs past the old mill and on to the sea. " * 90
"""More than 1,000 tokens."""


class Machine(NamedTuple):
    """How one side computes: threads and micro-batch."""

    threads: int
    micro_batch: int


MACHINES = (
    (Machine(1, 128), Machine(2, 512)),
    (Machine(2, 8), Machine(1, 64)),
    (Machine(1, 512), Machine(1, 8)),
)
"""Pairs: who generates, who replays."""


class Case(NamedTuple):
    generate: Machine
    replay: Machine
    prompt: str
    options: dict[str, Any]


def honest_cases(count: int, first: int = 0) -> Iterator[Case]:
    """``count`` different cases, those of one generating machine together; one of them 400 tokens long, one with a
    context beyond 1,000 tokens. Another ``first`` pairs prompts, sampling and lengths in another way."""
    per_machine = -(-count // len(MACHINES))
    made = 0
    for part, (generate, replay) in enumerate(MACHINES):
        for index in range(min(per_machine, count - made)):
            number = first + part * per_machine + index
            prompt, options = PROMPTS[(number * 3) % len(PROMPTS)], dict(SAMPLING[(number * 7) % len(SAMPLING)])
            options["max_tokens"] = LENGTHS[(number + number // 10) % len(LENGTHS)]
            if number % 10 == 4:
                options |= {"stops": ["."], "system": "Answer briefly."}
            if (part, index) == (0, 0):
                options["max_tokens"] = 400
            elif (part, index) == (1, 0):
                prompt, options["max_tokens"] = LONG_PROMPT, 12
            yield Case(generate, replay, prompt, options)
            made += 1
