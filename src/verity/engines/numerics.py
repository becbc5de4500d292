"""Numerics: the measured fingerprint of how this host computes this model. Specified in spec/numerics.md.

A list of processor flags does not tell whether two hosts agree; running the model does. The probe evaluates fixed
tokens twice, once as one batch and once mostly one by one, and hashes the logits. Two hosts with one fingerprint replay
each other's outputs bit for bit. If the two ways disagree on this host, then a replay here can only be statistical.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from verity.engines.engine import Engine
from verity.statements.strict import canonical, decode_hex
from verity.store.clock import now
from verity.store.database import Database

PROBE_TOKENS = 576
SINGLES_BEFORE = 16
SINGLES_AFTER = 32
"""Crosses 512 keys (where f16 caches change to another path) and 64 queries in one batch (where tiles begin)."""
PROBE_BATCH = 128
"""The first pass evaluates at least that many at once, however few the engine usually does: in batches of 8 on one
thread an f16 cache is exact, and what holds for them would be believed of wider ones."""

_DOMAIN = b"verity/numerics/v1\x00"


class Numerics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``fingerprint`` (64 hex digits) names how logits come out; ``exact``: one by one and in batches they agree."""

    exact: bool
    fingerprint: str


def measure(engine: Engine, progress: Callable[[int, int], None] | None = None) -> Numerics:
    """Run the probe (seconds) and forget the sequence. Raises EngineError."""
    size = min(PROBE_TOKENS, engine.context_size)
    tokens = probe_tokens(size, engine.vocabulary)
    middle = max(size - SINGLES_BEFORE - SINGLES_AFTER, 0)
    hasher = hashlib.sha256(_DOMAIN)
    compared: list[bytes] = []
    engine.reset()
    for position, logits in enumerate(engine.advance_all(tokens, at_least=PROBE_BATCH)):
        digest = hashlib.sha256(logits.astype("<f4").tobytes()).digest()
        hasher.update(digest)
        if position < SINGLES_BEFORE or position >= SINGLES_BEFORE + middle - 1:
            compared.append(digest)
        _tell(progress, position + 1, 2 * size)
    engine.reset()
    exact = compared == _one_by_one(engine, tokens, middle, progress)
    engine.reset()
    return Numerics(exact=exact, fingerprint=hasher.hexdigest())


def _one_by_one(
    engine: Engine, tokens: list[int], middle: int, progress: Callable[[int, int], None] | None
) -> list[bytes]:
    steps = [[t] for t in tokens[:SINGLES_BEFORE]]
    if middle:
        steps.append(tokens[SINGLES_BEFORE : SINGLES_BEFORE + middle])
    steps += [[t] for t in tokens[SINGLES_BEFORE + middle :]]
    digests, done = [], 0
    for step in steps:
        digests.append(hashlib.sha256(engine.advance(step).astype("<f4").tobytes()).digest())
        done += len(step)
        _tell(progress, len(tokens) + done, 2 * len(tokens))
    return digests


def probe_tokens(size: int, vocabulary: int) -> list[int]:
    """The fixed tokens: spread over the vocabulary, the same for everybody."""
    return [(7919 * position + 13) % vocabulary for position in range(size)]


@functools.cache
def host() -> str:
    """What may change how this host computes: architecture and processor features, in one string."""
    return " ".join([platform.machine(), *sorted(processor_flags())])


@functools.cache
def processor_flags() -> frozenset[str]:
    """The processor's features as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), frozenset())


def _tell(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


class NumericsStore:
    """Fingerprints measured on this device, by model and setting: library, options and processor."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, model: str) -> dict[str, Numerics]:
        """What was measured so far for the model of this BLAKE3 digest, by setting: good for replays of it."""
        return self._read("SELECT setting, exact, fingerprint FROM numerics WHERE model = ?", model)

    def declared(self, model: str) -> dict[str, Numerics]:
        """What this device itself measured and declared in its log: what its own receipts may name."""
        return self._read("SELECT setting, exact, fingerprint FROM numerics WHERE model = ? AND declared = 1", model)

    def _read(self, query: str, model: str) -> dict[str, Numerics]:
        with self._database.snapshot() as connection:
            rows = connection.execute(query, (model,)).fetchall()
        return {setting: Numerics(exact=bool(exact), fingerprint=fingerprint) for setting, exact, fingerprint in rows}

    def keep(self, model: str, setting: str, numerics: Numerics) -> None:
        """Remember what a replay's process says. It ran a stranger's model: its word counts for that model alone.

        Raises FormatError when it is not of the form of a measurement.
        """
        decode_hex(setting, 32, "setting of a measurement")
        decode_hex(numerics.fingerprint, 32, "fingerprint")
        with self._database.transaction() as connection:
            _write(connection, model, setting, numerics, declared=False)


def write_declared(connection: sqlite3.Connection, model: str, setting: str, numerics: Numerics) -> None:
    """Remember this device's own measurement, in the transaction that declares it in the log."""
    _write(connection, model, setting, numerics, declared=True)


def _write(connection: sqlite3.Connection, model: str, setting: str, numerics: Numerics, *, declared: bool) -> None:
    row = (model, setting, numerics.fingerprint, int(numerics.exact), int(declared), now())
    connection.execute("INSERT OR REPLACE INTO numerics VALUES (?, ?, ?, ?, ?, ?)", row)


def setting_of(engine: Engine) -> str:
    """What may change how a given model is computed here, in one digest: library, options, processor, adapters."""
    options = {k: v for k, v in engine.context.items() if k != "size"}
    probe = min(PROBE_TOKENS, engine.context_size)
    adapters = [[[adapter.blake3, adapter.scale] for adapter in engine.adapters]] if engine.adapters else []
    return hashlib.sha256(canonical([engine.description, options, probe, host(), *adapters])).hexdigest()
