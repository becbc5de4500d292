"""What a receipt costs, how fast it is checked, and that honest outputs are never refused.

    python benchmarks/receipts.py [--runs 200] [--threads N] [--quantisations] [--only honest] [--json]

Ratios are medians of alternating pairs in one run, because machines are noisy. With --json the last line is one JSON
object with ``receipt_overhead``, ``receipt_overhead_untruncated``, ``replay_speedup``, ``tokens_per_s``,
``peer_tokens_per_s``, ``verify_ms``, ``bytes_per_receipt``, ``bytes_per_bundle``, ``exact_runs`` and ``false_alarms``;
with --quantisations the honest runs are spread over six types of weights, and ``exact_types`` lists those that are
exact. ``--only honest`` leaves out everything else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import verity
from baseline import OwnSampler
from honest import honest_by_type, honest_default
from peer import Peer
from verity.answer import Answer
from verity.cli.terminal import ProgressBars
from verity.engines.library import default_threads
from verity.engines.llama import LlamaEngine
from verity.node import Node
from verity.statements.strict import decode_base64
from verity.store.catalogue import DEFAULT
from verity.store.pull import pull
from verity.verify.claims import Fields
from verity.verify.replay import Claim, replay

TOKENS = 200
PROMPT = "Write a long story about a lighthouse."
TRUNCATED = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}
UNTRUNCATED = {"temperature": 0.8, "top_k": 0, "top_p": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="honest generations to replay")
    parser.add_argument("--pairs", type=int, default=10, help="alternating pairs for the overheads")
    parser.add_argument("--threads", type=int, help="all cores but one; honest runs: 1 and 2, or at most this many")
    parser.add_argument("--quantisations", action="store_true", help="spread the honest runs over six types of weights")
    parser.add_argument("--only", choices=["honest"], help="make the honest runs alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ProgressBars() as bars:
        figures = measure(Path(folder), options, bars)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<32}{value}")


def measure(home: Path, options: Any, bars: ProgressBars) -> dict[str, Any]:
    threads = options.threads or default_threads()
    figures: dict[str, Any] = {}
    if options.only != "honest":
        with verity.open(home, threads=threads) as node:
            pull(DEFAULT, node.blobs)
            node.load()
            figures |= {"threads": threads} | overheads(node, options.pairs, bars)
            figures |= speeds(node, threads, bars)
            figures |= checking(node)
    honest = honest_by_type if options.quantisations else honest_default
    return figures | honest(home, options.runs, options.threads, bars)


def overheads(node: Node, pairs: int, bars: ProgressBars) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, sampling in (("receipt_overhead", TRUNCATED), ("receipt_overhead_untruncated", UNTRUNCATED)):
        engine = _engine(node)
        own = OwnSampler(engine, **sampling)  # type: ignore[arg-type]
        rendered = engine.render([verity.Message("user", PROMPT)], None)
        ratios, nonce = [], _long_answer(node, sampling)
        own.generate(rendered, TOKENS)
        for pair in range(pairs):  # who goes first alternates
            before = own.generate(rendered, TOKENS) if pair % 2 == 0 else 0.0
            with_receipt, _ = _timed(node, nonce, sampling)
            bare = before or own.generate(rendered, TOKENS)
            ratios.append(with_receipt / bare)
            bars(pair + 1, pairs, name)
        own.close()
        figures[name] = round(statistics.median(ratios), 4)
        figures[f"{name}_range"] = [round(min(ratios), 4), round(max(ratios), 4)]
    return figures


def _long_answer(node: Node, sampling: dict[str, Any]) -> bytes:
    """A nonce with which the model does not end its answer before TOKENS tokens."""
    while True:
        nonce = secrets.token_bytes(32)
        if len(_timed(node, nonce, sampling)[1].tokens) == TOKENS:
            return nonce


def _timed(node: Node, nonce: bytes, sampling: dict[str, Any]) -> tuple[float, Answer]:
    """One answer with intent and result committed durably, from the call to the bundle."""
    started = time.perf_counter()
    answer = node.ask(PROMPT, max_tokens=TOKENS, nonce=nonce, **sampling)
    return time.perf_counter() - started, answer


def speeds(node: Node, threads: int, bars: ProgressBars) -> dict[str, Any]:
    """Generating, replaying and the peer, in turn."""
    peer = Peer(node.blobs.open(node.load().model["blake3"]).path, threads)
    peer.generate(TOKENS)
    nonce = _long_answer(node, TRUNCATED)
    generated, replayed, peers = [], [], []
    for turn in range(5):
        seconds, answer = _timed(node, nonce, TRUNCATED)
        generated.append(seconds)
        claim = _claim(answer)
        started = time.perf_counter()
        outcome = replay(node.load().engine, claim)
        replayed.append(time.perf_counter() - started)
        assert outcome.matches, outcome.sentence
        peers.append(peer.generate(TOKENS))
        bars(turn + 1, 5, "speeds")
    peer.close()
    return {
        "replay_speedup": round(statistics.median(g / r for g, r in zip(generated, replayed, strict=True)), 3),
        "tokens_per_s": round(TOKENS / statistics.median(generated), 2),
        "peer_tokens_per_s": round(TOKENS / statistics.median(peers), 2),
        "tokens_per_s_over_peer": round(statistics.median(p / g for p, g in zip(peers, generated, strict=True)), 3),
    }


def _claim(answer: Answer) -> Claim:
    disclosure: Any = answer.bundle.disclosure
    lines = itertools.chain(disclosure.intent, disclosure.result)
    return Fields({line.field: line.value for line in lines}).claim(
        answer.tokens, [decode_base64(t.piece, "piece") for t in disclosure.tokens]
    )


def checking(node: Node) -> dict[str, Any]:
    """Everything but the replay, for an answer of 200 tokens, and what it weighs."""
    answer = _timed(node, _long_answer(node, TRUNCATED), TRUNCATED)[1]
    data, times = answer.bundle.encode(), []
    for _ in range(20):
        started = time.perf_counter()
        report = verity.verify(data, key=node.key.id, home=node.home, replay=False)
        times.append((time.perf_counter() - started) * 1e3)
        assert report.passed, str(report)
    receipt = answer.bundle.receipt
    return {
        "verify_ms": round(statistics.median(times), 2),
        "bytes_per_receipt": len(receipt.intent.encode()) + len(receipt.result.encode()),
        "bytes_per_bundle": len(data),
    }


def _engine(node: Node) -> LlamaEngine:
    engine = node.load().engine
    assert isinstance(engine, LlamaEngine)
    return engine


if __name__ == "__main__":
    main()
