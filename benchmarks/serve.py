"""What serving many at once costs and gains: nothing lost, every receipt in the log, answers exact under load.

    python benchmarks/serve.py [--requests 5000] [--peer-requests 500] [--at-once 16] [--tokens 8] [--json]

``verity serve`` and the peer (xllamacpp, llama.cpp's own server) answer the same requests over HTTP with the same
model, threads and number of answers at once. Speeds of the two are compared in alternating rounds, because machines are
noisy; ``peer_ratio`` is the median over the rounds. ``batch_gain`` is tokens a second at 8 at once over one at a time,
in alternating rounds too, and ``raw_batch_gain`` what the engine alone gains in the same rounds, which depends on the
processor. With --json the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import verity
from load import Load, load
from verity.cli.terminal import ProgressBars
from verity.engines.engine import Part
from verity.engines.library import default_threads
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import probe_tokens
from verity.store.blobs import Blobs
from verity.store.catalogue import DEFAULT
from verity.store.database import Database
from verity.store.pull import pull

CONTEXT = 512
PARALLEL = 8
GAIN_TOKENS = 32
RAW_STEPS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--peer-requests", type=int, default=500, help="of the peer, and of verity beside it")
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of the comparisons")
    parser.add_argument("--replays", type=int, default=40, help="answers that are replayed")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ProgressBars() as bars:
        figures = measure(Path(folder), options, bars)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<24}{value}")


def measure(home: Path, options: argparse.Namespace, bars: ProgressBars) -> dict[str, Any]:
    """All figures; the server's home and log are in ``home``."""
    with Database.open(home) as database:
        blobs = Blobs(home, database)
        pull(DEFAULT, blobs)
        model = blobs.open(blobs.resolve(DEFAULT)[1].blake3).path
    with serving(home, options.threads) as (url, process):
        load(url, PARALLEL, at_once=PARALLEL, tokens=options.tokens)
        figures = compare(url, model, options, bars)
        figures |= batch_gain(url, model, options, bars)
        main_load, memory = flat(url, process, options, bars)
    figures |= {
        "requests": options.requests,
        "lost": main_load.lost,
        "p50_ms": round(main_load.percentile_ms(0.5), 1),
        "p95_ms": round(main_load.percentile_ms(0.95), 1),
        "tokens_per_s": round(main_load.tokens_per_s, 1),
        **memory,
        **in_the_log(home, main_load),
        "exact_under_load": exact(home, main_load, options, bars),
        "threads": options.threads,
    }
    return figures


@contextlib.contextmanager
def serving(home: Path, threads: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``verity serve`` on a free port, the model loaded."""
    command = [
        sys.executable,
        "-c",
        "import verity.cli; verity.cli.main()",
        "serve",
        "--port",
        "0",
        "--json",
        "--home",
        str(home),
    ]
    command += ["--context", str(CONTEXT), "--parallel", str(PARALLEL), "--threads", str(threads), "--model", DEFAULT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"], process
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def peer(model: Path, threads: int) -> Iterator[str]:
    script = Path(__file__).with_name("served_peer.py")
    command = [sys.executable, str(script), str(model), str(threads), str(PARALLEL), str(CONTEXT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError("xllamacpp is not installed: `make bench` installs it")
            yield address
        finally:
            process.kill()


def compare(url: str, model: Path, options: argparse.Namespace, bars: ProgressBars) -> dict[str, Any]:
    """Rounds of the same load on both, one after the other."""
    each = options.peer_requests // options.rounds
    ours, theirs = [], []
    with peer(model, options.threads) as other:
        load(other, PARALLEL, at_once=PARALLEL, tokens=options.tokens)
        for number in range(options.rounds):
            bars(number, options.rounds, "side by side with the peer")
            settings: Any = {"at_once": options.at_once, "tokens": options.tokens, "first": 100_000 + number * each}
            ours.append(load(url, each, **settings).tokens_per_s)
            theirs.append(load(other, each, **settings).tokens_per_s)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "peer_tokens_per_s": round(statistics.median(theirs), 1),
        "beside_peer_tokens_per_s": round(statistics.median(ours), 1),
        "peer_ratio": round(statistics.median(ratios), 3),
        "peer_ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def batch_gain(url: str, model: Path, options: argparse.Namespace, bars: ProgressBars) -> dict[str, float]:
    """Of the server, and of the engine alone: the most that any server could gain on this processor."""
    gains, raw = [], []
    engine = LlamaEngine(model, context_size=CONTEXT, threads=options.threads, sequences=PARALLEL)
    for number in range(options.rounds):
        bars(number, options.rounds, "one at a time, and eight")
        settings: Any = {"tokens": GAIN_TOKENS, "first": 200_000 + 100 * number}
        one = load(url, 6, at_once=1, **settings).tokens_per_s
        gains.append(load(url, 4 * PARALLEL, at_once=PARALLEL, **settings).tokens_per_s / one)
        raw.append(raw_tokens_per_s(engine, PARALLEL) / raw_tokens_per_s(engine, 1))
    engine.close()
    return {"batch_gain": round(statistics.median(gains), 2), "raw_batch_gain": round(statistics.median(raw), 2)}


def raw_tokens_per_s(engine: LlamaEngine, sequences: int) -> float:
    """Tokens a second in steps of one token for each of so many sequences, after a prompt; nothing is drawn."""
    engine.reset()
    for sequence in range(sequences):
        engine.step([Part(sequence, probe_tokens(96, engine.vocabulary))])
    started = time.perf_counter()
    for step in range(RAW_STEPS):
        engine.step([Part(sequence, [1000 + step]) for sequence in range(sequences)])
    return RAW_STEPS * sequences / (time.perf_counter() - started)


def flat(
    url: str, process: subprocess.Popen[str], options: argparse.Namespace, bars: ProgressBars
) -> tuple[Load, dict[str, Any]]:
    """The main load, and the server's memory (MiB resident) after a fifth of it and at the end."""
    fifth = options.requests // 5
    seen: list[float] = []

    def progress(done: int) -> None:
        bars(done, options.requests, "answers")
        if done in (fifth, options.requests):
            seen.append(resident_mib(process.pid))

    result = load(url, options.requests, at_once=options.at_once, tokens=options.tokens, progress=progress)
    return result, {"memory_mib": [round(mib, 1) for mib in seen]}


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def in_the_log(home: Path, answers: Load) -> dict[str, Any]:
    """Whether every answer's receipt is in the log once, its result after its intent, and the log is sound."""
    with verity.open(home) as node:
        kept = {k.id: k for k in node.exporter.receipts.all()}
        wanted = [kept.get(reply.receipt) for reply in answers.replies]
        right = [k for k in wanted if k and k.result_position is not None and k.intent_position < k.result_position]
        positions = [p for k in kept.values() for p in (k.intent_position, k.result_position)]
        return {
            "logged_once": len({k.id for k in right}) == len(answers.replies) and len(set(positions)) == len(positions),
            "log_problems": len(node.check_log()),
        }


def exact(home: Path, answers: Load, options: argparse.Namespace, bars: ProgressBars) -> float:
    """The share of sampled answers that a replay gives again, bit for bit."""
    sample = random.Random(7).sample(answers.replies, min(options.replays, len(answers.replies)))
    passed = 0
    with verity.open(home) as node:
        for number, reply in enumerate(sample):
            bars(number, len(sample), "replaying")
            report = verity.verify(node.exporter.bundle(reply.receipt), home=home, threads=options.threads)
            passed += report.check("replayed-exact").status == "passed"
    return passed / len(sample)


if __name__ == "__main__":
    main()
