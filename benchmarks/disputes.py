"""Whether a referee finds the liar, and what that costs him: randomised lies of ten kinds, told with the real model.

    python benchmarks/disputes.py [--lies 300] [--tokens 96] [--cost-tokens 400] [--cost-lies 20] [--json]

``dispute_right`` is the share of disputes in which the honest party holds and the liar is false; who is named first is
drawn. ``dispute_cost``: the referee's time, all checks included and loading excluded, over the time that the answer of
--cost-tokens took to generate, both in processor time; the median over lies that took a segment. ``dispute_cost_all``
counts also those that
took none, or whole replays.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import verity
from liars import WAYS, tell
from segments import SAMPLING
from verity.cli.terminal import ProgressBars
from verity.engines.llama import LlamaEngine
from verity.node import Node
from verity.referee import party_of
from verity.statements.bundle import Bundle
from verity.store.catalogue import DEFAULT
from verity.store.pull import pull
from verity.verify.dispute import Verdict, settle
from verity.verify.kinds import AnyClaim, replay_claim
from verity.verify.replay import Replayed
from verity.verify.spot import StateSource

PROMPTS = (
    "Write a long story about a lighthouse keeper and the sea.",
    "Explain step by step how bread is baked, from the grain to the loaf.",
    "Describe a journey by train through the mountains in winter.",
)


class Told(NamedTuple):
    """A lie beside the truth: both bundles, where each party's states are, and how long the truth took to write."""

    way: str
    honest: Bundle
    lie: Bundle
    states: tuple[StateSource, StateSource]
    seconds: float


def measure(
    lies: int = 300, tokens: int = 96, cost_tokens: int = 400, cost_lies: int = 20, *, bars: ProgressBars
) -> dict[str, Any]:
    """The figures. One thread."""
    with (
        tempfile.TemporaryDirectory() as folder,
        verity.open(Path(folder) / "honest", threads=1, context_size=1024) as honest,
        verity.open(Path(folder) / "liar", threads=1, context_size=1024) as liar,
    ):
        for node in (honest, liar):
            pull(DEFAULT, node.blobs)
            node.load()
        right, wrong = _right(honest, liar, lies, tokens, bars)
        return {
            "dispute_right": right / lies,
            "disputes": lies,
            "wrong": wrong,
            **_cost(honest, liar, cost_lies, cost_tokens, bars),
        }


def _right(honest: Node, liar: Node, lies: int, tokens: int, bars: ProgressBars) -> tuple[int, dict[str, int]]:
    right, wrong = 0, Counter[str]()
    for number, told in enumerate(_lies(honest, liar, lies, tokens)):
        verdict, swapped, _ = _settle(honest, told, random.Random(number))
        findings = (verdict.b.finding, verdict.a.finding) if swapped else (verdict.a.finding, verdict.b.finding)
        if findings == ("holds", "false"):
            right += 1
        else:
            wrong[told.way] += 1
        bars(number + 1, lies, "settling disputes")
    return right, dict(wrong)


def _cost(honest: Node, liar: Node, lies: int, tokens: int, bars: ProgressBars) -> dict[str, Any]:
    sliver, every = [], []
    for number, told in enumerate(_lies(honest, liar, lies, tokens)):
        verdict, _, seconds = _settle(honest, told, random.Random(-number))
        every.append(seconds / told.seconds)
        if verdict.segment is not None:
            sliver.append(every[-1])
        bars(number + 1, lies, "timing disputes")
    return {
        "dispute_cost": round(statistics.median(sliver), 4),
        "dispute_cost_worst": round(max(sliver), 4),
        "dispute_cost_all": round(statistics.median(every), 4),
        "dispute_tokens": tokens,
        "cost_lies": lies,
    }


def _lies(honest: Node, liar: Node, count: int, tokens: int) -> Iterator[Told]:
    """``count`` lies, every way in turn; one that told the truth is told again with another answer."""
    made, attempt, ways = 0, 0, tuple(WAYS)
    truths: dict[tuple[str, bytes], tuple[Bundle, float]] = {}
    while made < count:
        way, chance = ways[made % len(ways)], random.Random(f"lie {made} {attempt}")
        prompt, nonce = chance.choice(PROMPTS), bytes([chance.randrange(8)]) * 32
        asked: dict[str, Any] = {"max_tokens": tokens, "nonce": nonce, **SAMPLING}
        if (prompt, nonce) not in truths:
            started = time.thread_time()
            answer = honest.ask(prompt, **asked)
            truths[prompt, nonce] = answer.bundle, time.thread_time() - started
        truth, seconds = truths[prompt, nonce]
        attempt += 1
        lie = tell(liar, way, chance, prompt, honest=truth, **asked)
        if lie is not None:
            made, attempt = made + 1, 0
            yield Told(way, truth, lie, (honest.states, _as_committed(liar)), seconds)


def _as_committed(liar: Node) -> StateSource:
    def states(receipt: str, segments: Sequence[int]) -> list[bytes]:
        return liar.states.kept(receipt, segments) or []

    return states


def _settle(referee: Node, told: Told, chance: random.Random) -> tuple[Verdict, bool, float]:
    """The verdict, whether the liar was named first, and the referee's seconds."""
    engine = referee.load().engine
    assert isinstance(engine, LlamaEngine)

    def replayer(claim: AnyClaim) -> Replayed:
        outcome = replay_claim(engine, claim)
        return Replayed(numerics=claim.numerics, engine=engine.description, outcome=outcome)

    bundles, states, swapped = (told.honest, told.lie), told.states, chance.random() < 0.5
    started = time.thread_time()
    truth, lie = (party_of(bundle, source) for bundle, source in zip(bundles, states, strict=True))
    verdict = settle(lie, truth, replayer) if swapped else settle(truth, lie, replayer)
    return verdict, swapped, time.thread_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lies", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--cost-lies", type=int, default=20)
    parser.add_argument("--cost-tokens", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    o = parser.parse_args()
    with ProgressBars() as bars:
        figures = measure(o.lies, o.tokens, o.cost_tokens, o.cost_lies, bars=bars)
    print(json.dumps(figures) if o.json else "\n".join(f"{name:<28}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
