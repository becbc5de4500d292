"""What committing to states costs, and what replaying one segment costs beside replaying the whole.

    python benchmarks/segments.py [--tokens 400] [--pairs 8] [--sizes] [--json]

``commit_overhead``: answering with segments over answering without, medians of alternating pairs, states packed, sealed
and kept. ``segment_cost``: unpacking and checking the states, restoring the one before, replaying one segment and
digesting its end, over replaying the whole answer; the median over all segments. Loading is in neither, and both are
processor time. With --sizes
the segment's cost for other numbers of positions, by which 32 was chosen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import verity
from clocked import spent
from verity.cli.terminal import ProgressBars
from verity.engines.engine import Engine, State
from verity.engines.llama import LlamaEngine
from verity.node import Node
from verity.statements.bundle import Bundle
from verity.statements.segments import SegmentRoot, chain, cut, evaluated_length, pack
from verity.store.catalogue import DEFAULT
from verity.store.pull import pull
from verity.verify.content import generation_claim, open_fields
from verity.verify.replay import Claim, replay
from verity.verify.segments import SpotClaim, replay_segments
from verity.verify.verifier import statements

PROMPT = "Write a long story about a lighthouse keeper and the sea."
SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}
SIZES = (8, 16, 32, 64, 128)


def measure(tokens: int = 400, pairs: int = 8, *, sizes: bool = False, bars: ProgressBars) -> dict[str, Any]:
    """The figures; ``tokens`` of output, on one thread."""
    with tempfile.TemporaryDirectory() as folder, verity.open(folder, threads=1, context_size=2048) as node:
        pull(DEFAULT, node.blobs)
        engine = node.load().engine
        assert isinstance(engine, LlamaEngine)
        figures = _commit_overhead(node, tokens, pairs, bars)
        bundle = _long(node, tokens)
        claim, spot = claims_of(node, bundle)
        figures |= _segment_cost(engine, claim, spot, bars)
        if sizes:
            figures["segment_cost_by_size"] = {str(n): _cost_of_size(engine, claim, n) for n in SIZES}
        return figures


def _long(node: Node, tokens: int) -> Bundle:
    """An answer of all these tokens: nonces are tried until one does not end before."""
    for number in range(64):
        answer = node.ask(PROMPT, max_tokens=tokens, nonce=bytes([number]) * 32, **SAMPLING)
        if len(answer.tokens) == tokens:
            bundle: Bundle = answer.bundle
            return bundle
    raise SystemExit("no answer of this length was found")


def claims_of(node: Node, bundle: Bundle) -> tuple[Claim, SpotClaim]:
    """What replaying the whole needs, and what replaying its segments needs; ``picked`` is still empty."""
    opened = open_fields(bundle, *statements(bundle))
    assert opened.segments is not None
    claim, segments = generation_claim(opened), opened.segments
    chunks = node.states(opened.receipt)
    spot = SpotClaim(
        claim=claim, root=segments.root, states=segments.states, grammar=segments.grammar, picked=[], chunks=chunks
    )
    return claim, spot


def _commit_overhead(node: Node, tokens: int, pairs: int, bars: ProgressBars) -> dict[str, Any]:
    def ask(number: int) -> float:
        return spent(lambda: node.ask(PROMPT, max_tokens=tokens, nonce=bytes([number]) * 32, **SAMPLING))

    ratios, kept = [], 0
    for pair in range(pairs):
        with mock.patch.object(LlamaEngine, "state", _stateless):
            without = ask(pair)
        ratios.append(ask(pair) / without)
        bars(pair + 1, pairs, "committing")
    with_states = [path.stat().st_size for path in (node.home / "states").iterdir()]
    kept = max(with_states)
    return {"commit_overhead": round(statistics.median(ratios), 4), "kept_bytes_of_longest": kept, "pairs": pairs}


def _stateless(_engine: Engine, _sequence: int, _bounds: Sequence[tuple[int, int]]) -> State | None:
    return None


def _segment_cost(engine: Engine, claim: Claim, spot: SpotClaim, bars: ProgressBars) -> dict[str, Any]:
    import msgspec

    count = spot.root.count
    ratios, wholes = [], []
    for index in range(count):
        whole = timed(lambda: replay(engine, claim).matches)
        one = timed(lambda i=index: replay_segments(engine, msgspec.structs.replace(spot, picked=[i])).matches)  # type: ignore[misc]
        ratios.append(one / whole)
        wholes.append(whole)
        bars(index + 1, count, "replaying segments")
    length = evaluated_length(len(claim.prompt_tokens), len(claim.tokens))
    return {
        "segment_cost": round(statistics.median(ratios), 4),
        "segment_cost_worst": round(max(ratios), 4),
        "segments": count,
        "tokens": len(claim.tokens),
        "replay_s": round(statistics.median(wholes), 3),
        "state_bytes_per_token": round(sum(map(len, spot.chunks)) / length),
    }


def _cost_of_size(engine: Engine, claim: Claim, size: int) -> float:
    """The median cost of a segment of another size, on states made for it here."""
    tokens = [*claim.prompt_tokens, *claim.tokens]
    length = evaluated_length(len(claim.prompt_tokens), len(claim.tokens))
    engine.reset()
    for _ in engine.advance_all(tokens[:length], skip=length):
        pass
    bounds = cut(size, length)
    state = engine.state(0, bounds)
    assert state is not None
    root = SegmentRoot(count=len(bounds), encoding=state.encoding, root="", size=size)
    states = chain(state.encoding, size, length, state.chunks)
    chunks = [pack(rows) for rows in state.chunks]
    ratios = []
    for index in range(0, len(bounds), max(1, len(bounds) // 6)):
        spot = SpotClaim(
            claim=claim, root=root, states=states, grammar=[bytes(32)] * len(bounds), picked=[index], chunks=chunks
        )
        whole = timed(lambda: replay(engine, claim).matches)
        ratios.append(timed(lambda spot=spot: replay_segments(engine, spot).matches) / whole)  # type: ignore[misc]
    return round(statistics.median(ratios), 4)


def timed(work: Callable[[], bool]) -> float:
    """Seconds of processor time that ``work`` takes; it must come out true."""
    came_out = []
    seconds = spent(lambda: came_out.append(work()))
    if came_out != [True]:
        raise SystemExit("an honest replay differs")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--sizes", action="store_true", help="also other sizes of segments")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ProgressBars() as bars:
        figures = measure(options.tokens, options.pairs, sizes=options.sizes, bars=bars)
    print(json.dumps(figures) if options.json else "\n".join(f"{name:<28}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
