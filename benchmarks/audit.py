"""Checking many receipts at once, against one by one.

    python benchmarks/audit.py [--receipts 24] [--rounds 3] [--json]

The receipts are one device's, of short answers under shared instructions, as an assistant's are. With --json the last
line is one JSON object with ``audit_speedup`` (`verity verify` of each file alone over one of them all, in wall time,
median of alternating rounds), ``audit_replay_speedup`` (the replays alone: one by one over ``replay_many``),
``audit_replay_speedup_unlike`` (the same where the prompts share nothing but the template's beginning) and
``packing_gain`` (tokens a second of eight prompts in one step over one step for each).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import verity
from clocked import spent
from verity.answer import Answer
from verity.engines.engine import Part
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import probe_tokens
from verity.node import Node
from verity.store.catalogue import DEFAULT
from verity.store.pull import pull
from verity.verify.audit import replay_many
from verity.verify.claims import Fields
from verity.verify.kinds import AnyClaim, replay_claim
from verity.verify.replay import Outcome

SYSTEM = (
    "You are a robot in a kitchen. Answer in as few words as you can, name one thing to take, and never invent. " * 3
)
TOKENS = 16
PACKED, LENGTH = 8, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receipts", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.receipts, options.rounds)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<32}{value}")


def measure(receipts: int = 24, rounds: int = 3) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place, verity.open(Path(place) / "home", threads=1) as node:
        pull(DEFAULT, node.blobs)
        node.load()
        alike = [_ask(node, f"Order {i}: what now?", SYSTEM) for i in range(receipts)]
        unlike = [_ask(node, f"{i} {'abcdefghijklmnopqrstuvwxyz'[i % 26] * 3}: what now?") for i in range(receipts)]
        found = {"receipts": receipts, "receipt_tokens": _length(alike[0])}
        found |= _replays(node, {"": alike, "_unlike": unlike}, rounds)
        files = [answer.save(Path(place) / f"{i}.verity.json") for i, answer in enumerate(alike)]
        found |= _commands(node, files, rounds)
        path = node.blobs.open(node.load().model["blake3"]).path
        return found | {"packing_gain": _packing(path, rounds)}


def _ask(node: Node, prompt: str, system: str | None = None) -> Answer:
    return node.ask(prompt, system=system, max_tokens=TOKENS)


def _claim(node: Node, answer: Answer) -> AnyClaim:
    disclosure: Any = answer.bundle.disclosure
    opened = {line.field: line.value for line in (*disclosure.intent, *disclosure.result)}
    return Fields(opened).claim(answer.tokens, [node.load().engine.piece(token) for token in answer.tokens])


def _length(answer: Answer) -> int:
    disclosure: Any = answer.bundle.disclosure
    prompt = next(line.value for line in disclosure.intent if line.field == "prompt_tokens")
    return len(prompt) + len(answer.tokens)


def _replays(node: Node, sets: dict[str, list[Answer]], rounds: int) -> dict[str, Any]:
    engine, found = node.load().engine, {}
    for name, answers in sets.items():
        claims = [_claim(node, answer) for answer in answers]

        def one_by_one(claims: list[AnyClaim] = claims) -> None:
            assert all(replay_claim(engine, claim).matches for claim in claims)

        def together(claims: list[AnyClaim] = claims) -> None:
            assert all(isinstance(each, Outcome) and each.matches for each in replay_many(engine, claims))

        found[f"audit_replay_speedup{name}"] = _ratio(one_by_one, together, rounds, spent)
    return found


def _commands(node: Node, files: list[Path], rounds: int) -> dict[str, Any]:
    options = ["--home", str(node.home), "--key", node.key.id, "--threads", "1"]

    def verify(*given: Path) -> None:
        command = [sys.executable, "-c", "from verity.cli import main; main()", "verify", *map(str, given), *options]
        subprocess.run(command, check=True, capture_output=True)

    def one_by_one() -> None:
        for file in files:
            verify(file)

    seen: list[float] = []
    ratio = _ratio(one_by_one, lambda: verify(*files), rounds, _wall, seen)
    return {"audit_speedup": ratio, "audit_s_a_receipt": round(statistics.median(seen) / len(files), 3)}


def _packing(path: Path, rounds: int) -> float:
    """In one step a sequence of LENGTH tokens for each of PACKED, against a step for each."""
    engine = LlamaEngine(path, threads=1, context_size=64, sequences=PACKED, micro_batch=PACKED * LENGTH)
    tokens = probe_tokens(PACKED * LENGTH, engine.vocabulary)
    parts = [Part(i, tokens[i * LENGTH : (i + 1) * LENGTH]) for i in range(PACKED)]

    def alone() -> None:
        engine.reset()
        for part in parts:
            engine.step([part])

    def packed() -> None:
        engine.reset()
        engine.step(parts)

    gain = _ratio(alone, packed, 3 * rounds, spent)
    engine.close()
    return gain


def _wall(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _ratio(
    slow: Callable[[], None],
    fast: Callable[[], None],
    rounds: int,
    clock: Callable[[Callable[[], None]], float],
    seen: list[float] | None = None,
) -> float:
    """Slow over fast, in turn; ``seen`` takes the seconds of the fast one."""
    ratios = []
    for _ in range(rounds):
        before, after = clock(slow), clock(fast)
        ratios.append(before / after)
        if seen is not None:
            seen.append(after)
    return round(statistics.median(ratios), 3)


if __name__ == "__main__":
    main()
