"""What the device's log costs: durable appends, proofs and their checks at a million entries, and memory.

    python benchmarks/log.py [--entries 1000000] [--batch 256] [--json]

Appends are durable: each batch is one transaction of SQLite with ``synchronous=FULL`` (an fsync each). An entry has the
size of a real receipt's (a leaf of 32 bytes, a salt of 16, an envelope of 1,904). Beside them, in turns within the same
run, a bare loop inserts the same rows into one table of another database with the same settings: the floor that the
disk and SQLite set. ``ratio`` is the median over rounds, because machines are noisy. With --json the last line is one
JSON object:

    appends_per_s, bare_per_s, ratio               in batches of --batch
    single_appends_per_s, bare_single_per_s, single_ratio
    proof_us                                       a proof of a random entry at --entries, built and checked, in batches of 256
    proof_one_us                                   the same, each in a snapshot of its own
    verify_us                                      a check of such a proof against the root
    proof_bytes                                    its hashes
    rss_mb                                         this process's peak memory at 10,000 entries and at --entries
"""  # noqa: E501

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verity.cli.terminal import ProgressBars
from verity.identity.device_key import DeviceKey
from verity.log.checkpoint import open_checkpoint
from verity.log.device_log import DeviceLog, Draft
from verity.log.tree import HASH_SIZE, check_inclusion, hash_leaf
from verity.statements.receipt import Place
from verity.store.database import Database

ENVELOPE_BYTES = 1904
SMALL = 10_000
ROUNDS = 9
PROOFS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; 2.5 GB for a million entries")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        with ProgressBars() as bars:
            figures = measure(folder, options.entries, options.batch, bars)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<24}{value}")


def measure(folder: Path, entries: int, batch: int, progress: ProgressBars) -> dict[str, Any]:
    home = folder / "device"
    home.mkdir()
    with Database.open(home) as database, contextlib.closing(bare_table(folder / "bare.db")) as bare:
        signer = DeviceKey.load(home)
        log, floor = DeviceLog(database, signer), Floor(bare)
        figures = in_turns(log, floor, 1, 200) | in_turns(log, floor, batch, max(1, 20_000 // batch))
        grow(log, SMALL, batch, progress)
        memory = {"small": peak_mb()}
        grow(log, entries, batch, progress)
        figures |= proofs(log, signer.public)
        memory["large"] = peak_mb()
    return {"entries": entries, "batch": batch, "envelope_bytes": ENVELOPE_BYTES, **figures, "rss_mb": memory}


def bare_table(path: Path) -> sqlite3.Connection:
    """A table like that of the log's entries and nothing else, under the settings of the device's database."""
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute(
        "CREATE TABLE entries (epoch INTEGER NOT NULL, position INTEGER NOT NULL, entry BLOB NOT NULL, salt BLOB, "
        "envelope BLOB, PRIMARY KEY (epoch, position)) STRICT"
    )
    return connection


class Floor:
    """The bare loop: one INSERT a row, one transaction a batch."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._size = 0

    def append(self, drafts: list[Draft]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for draft in drafts:
            self._connection.execute("INSERT INTO entries VALUES (0, ?, ?, ?, ?)", (self._size, *draft))
            self._size += 1
        self._connection.execute("COMMIT")


def drafts_of(count: int) -> list[Draft]:
    return [Draft(os.urandom(32), os.urandom(16), os.urandom(ENVELOPE_BYTES)) for _ in range(count)]


def built(draft: Draft) -> Callable[[Place], Draft]:
    return lambda _place: draft


def in_turns(log: DeviceLog, floor: Floor, batch: int, transactions: int) -> dict[str, float]:
    """Both, a round each, in turns: entries a second (medians), and the median of the rounds' ratios."""
    ours, bare = [], []
    for _ in range(ROUNDS):
        drafts = drafts_of(batch)
        builds = [built(draft) for draft in drafts]
        ours.append(batch * transactions / timed(lambda: log.append_all(builds), transactions))  # noqa: B023
        bare.append(batch * transactions / timed(lambda: floor.append(drafts), transactions))  # noqa: B023
    names = ("single_appends_per_s", "bare_single_per_s", "single_ratio")
    if batch > 1:
        names = ("appends_per_s", "bare_per_s", "ratio")
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    values = (round(statistics.median(ours)), round(statistics.median(bare)), round(ratio, 3))
    return dict(zip(names, values, strict=True))


def timed(work: Callable[[], object], times: int) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - begun


def grow(log: DeviceLog, size: int, batch: int, progress: ProgressBars) -> None:
    while (now := log.size()) < size:
        log.append_all([built(draft) for draft in drafts_of(min(batch, size - now))])
        progress(now, size, f"appending up to {size:,} entries")


def proofs(log: DeviceLog, public: bytes) -> dict[str, float]:
    """Proofs of random entries of the whole log, and their checks."""
    size = log.size()
    indices = random.sample(range(size), k=min(size, 20 * PROOFS))
    log.proofs(indices[:PROOFS])
    together, alone, checks = [], [], []
    for at in range(0, len(indices), PROOFS):
        some = indices[at : at + PROOFS]
        begun = time.perf_counter()
        note, found = log.proofs(some)
        together.append((time.perf_counter() - begun) / len(some))
        alone.append(timed(lambda: [log.prove(index) for index in some], 1) / len(some))  # noqa: B023
        root = open_checkpoint(note, public).root
        leaves = {index: hash_leaf(log.entry(index).entry) for index in some}
        begun = time.perf_counter()
        for index, proof in found.items():
            check_inclusion(index, size, leaves[index], proof, root)
        checks.append((time.perf_counter() - begun) / len(some))
    longest = max(len(proof) for proof in found.values())
    us = {"proof_us": together, "proof_one_us": alone, "verify_us": checks}
    return {name: round(statistics.median(all_) * 1e6, 1) for name, all_ in us.items()} | {
        "proof_bytes": longest * HASH_SIZE
    }


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    main()
