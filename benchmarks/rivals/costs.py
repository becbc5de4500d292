"""What each method costs: bytes with an output, the device's extra time, the verifier's time for a token.

Ratios are medians of alternating pairs in one run; everything is computed by the installed build, with one thread, and
counted in processor time. A receipt's two durable commits wait for the disk besides (some milliseconds).
"""

from __future__ import annotations

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import verity
from rivals import lies, token_difr, toploc_check
from rivals.lies import CLAIMED, TOKENS
from rivals.methods import EXACT, STATISTICAL, TOKEN_DIFR, TOPLOC
from rivals.outputs import Output, read_lines
from rivals.running import Progress, Run
from rivals.seeing import claim_of, judged
from rivals.watched import WatchedEngine
from rivals.worker import CONTEXT
from verity.engines.llama import LlamaEngine
from verity.node import Node
from verity.sampling.noise import derive_seed
from verity.sampling.sampler import Sampler
from verity.store.pull import pull
from verity.verify.calibration import shipped
from verity.verify.margins import measure
from verity.verify.replay import Claim, replay
from verity.verify.statistics import judge

PAIRS = 5
_MODEL = "claimed"


def costs(run: Run, progress: Progress) -> dict[str, dict[str, Any]]:
    """By method: ``bytes_per_token``, ``prover_overhead`` (1.0 is none), ``verifier_ms_per_token``."""
    with tempfile.TemporaryDirectory() as folder:
        receipt_bytes, receipt_overhead = _receipts(run, Path(folder), progress)
    checking = _checking(run, progress)
    receipt = {"bytes_per_token": receipt_bytes / TOKENS, "prover_overhead": receipt_overhead}
    found = {EXACT: receipt, STATISTICAL: receipt}
    found[TOKEN_DIFR] = {"bytes_per_token": 0.0, "prover_overhead": 1.0}
    if toploc_check.installed():
        size = toploc_check.PROOF_BYTES / lies.CHUNK
        found[TOPLOC] = {"bytes_per_token": size, "prover_overhead": _proving(run, progress)}
    return {
        name: {kind: round(value, 3) for kind, value in (cost | {"verifier_ms_per_token": checking[name]}).items()}
        for name, cost in found.items()
    }


def _receipts(run: Run, home: Path, progress: Progress) -> tuple[int, float]:
    """A receipt's bytes (both envelopes), and writing with a receipt over writing the same tokens without."""
    with verity.open(home, threads=1) as node:
        pull(str(run.weights[CLAIMED.weights]), node.blobs, name=_MODEL)
        engine = node.load(_MODEL).engine
        assert isinstance(engine, LlamaEngine)
        ratios = []
        nonce, answer = _full(node)
        for pair in range(PAIRS):
            bare = _seconds(lambda: _written(engine, derive_seed(nonce)))
            ratios.append(_seconds(lambda: _ask(node, nonce)) / bare)
            progress(pair + 1, PAIRS, "cost of receipts")
        receipt = answer.bundle.receipt
        return len(receipt.intent.encode()) + len(receipt.result.encode()), statistics.median(ratios)


def _ask(node: Node, nonce: bytes) -> Any:
    prompt = lies.messages(0, True)
    return node.ask(prompt, model=_MODEL, max_tokens=TOKENS, nonce=nonce, temperature=CLAIMED.temperature)


def _full(node: Node) -> tuple[bytes, Any]:
    """A nonce whose answer has TOKENS tokens."""
    for number in itertools.count():
        nonce = number.to_bytes(32, "big")
        answer = _ask(node, nonce)
        if len(answer.tokens) == TOKENS:
            return nonce, answer
    raise AssertionError


def _written(engine: LlamaEngine, seed: bytes) -> list[int]:
    """TOKENS tokens by the same sampler, and nothing else."""
    engine.reset()
    prompt = engine.tokenize(engine.render(lies.messages(0, True), None))
    sampler = Sampler(CLAIMED.parameters, seed, prompt)
    tokens: list[int] = []
    ahead = prompt
    while len(tokens) < TOKENS:
        tokens.append(sampler.draw(engine.advance(ahead)))
        ahead = tokens[-1:]
    return tokens


def _proving(run: Run, progress: Progress) -> float:
    """Writing with TOPLOC's proofs over writing without."""
    weights = run.weights[CLAIMED.weights]
    plain = LlamaEngine(weights, context_size=CONTEXT, threads=1)
    watched = WatchedEngine(weights, context_size=CONTEXT, threads=1)
    ratios = []

    def with_proofs() -> None:
        watched.states.clear()
        _written(watched, bytes(32))
        toploc_check.prove(watched.states)

    for pair in range(PAIRS):
        bare = _seconds(lambda: _written(plain, bytes(32)))
        ratios.append(_seconds(with_proofs) / bare)
        progress(pair + 1, PAIRS, "cost of TOPLOC's proofs")
    plain.close()
    watched.close()
    return statistics.median(ratios)


def _checking(run: Run, progress: Progress) -> dict[str, float]:
    """Milliseconds for each output token, the forward pass included: what a verifier waits for, in turn."""
    engine = LlamaEngine(run.weights[CLAIMED.weights], context_size=CONTEXT, threads=1)
    outputs = read_lines(run.written("honest"), Output)
    times: dict[str, list[float]] = {}
    for number in range(PAIRS):
        output, claim = outputs[number], claim_of(engine, "honest", outputs[number])
        ways: dict[str, Callable[[], Any]] = {
            EXACT: functools.partial(replay, engine, claim),
            STATISTICAL: functools.partial(_judged_by_statistics, engine, claim),
            TOKEN_DIFR: functools.partial(_judged_by_token_difr, engine, claim),
        }
        if output.proofs:
            ways[TOPLOC] = functools.partial(_checked_by_toploc, engine, claim, output.proofs)
        for name, way in ways.items():
            times.setdefault(name, []).append(_seconds(way))
        progress(number + 1, PAIRS, "time of checking")
    engine.close()
    return {name: 1000 * statistics.median(taken) / TOKENS for name, taken in times.items()}


def _judged_by_statistics(engine: LlamaEngine, claim: Claim) -> None:
    judge(measure(engine, claim).margins, shipped())


def _judged_by_token_difr(engine: LlamaEngine, claim: Claim) -> float:
    score = token_difr.Score([0.0, 1.0], CLAIMED.temperature)
    return score([margin for _, _, margin in judged(engine, claim)])


def _checked_by_toploc(engine: LlamaEngine, claim: Claim, proofs: list[str]) -> None:
    """It needs no logits: the hidden states come from a context that gives nothing else."""
    states = [state.copy() for state in engine.hidden([*claim.prompt_tokens, *claim.tokens[:-1]])]
    toploc_check.check(states[len(claim.prompt_tokens) - 1 :], proofs)


def _seconds(work: Callable[[], Any]) -> float:
    """Of processor time: others at work on the machine do not count."""
    started = time.process_time()
    work()
    return time.process_time() - started
