"""One edited token under equal numerics: at every position of 20 outputs, whatever it is replaced by, it is caught.

    python benchmarks/edits.py [--outputs 20] [--tokens 64] [--json]

One replay of an output gives the logits at every position. There ``judge`` is asked about the token that was drawn,
which must match, and about tokens put in its place: the 48 likeliest others and 16 drawn from the whole vocabulary;
none may match. An edit changes the logits of what follows, never those of its own position: each is caught where it is.
``edited_caught`` is the share of edits that were refused.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from typing import Any

import numpy as np

import verity
from disputes import PROMPTS
from verity.cli.terminal import ProgressBars
from verity.engines.engine import Engine, Logits
from verity.sampling.sampler import Sampler
from verity.statements.segments import evaluated_length
from verity.store.catalogue import DEFAULT
from verity.store.pull import pull
from verity.verify.content import generation_claim, open_fields
from verity.verify.replay import Claim
from verity.verify.verifier import statements

LIKELY, ANY = 48, 16
"""Tokens put in one's place: with top-k 40 all others are filtered out, and the likeliest are all that could match."""
SAMPLING: tuple[dict[str, float], ...] = (
    {"temperature": 0.8, "top_k": 40, "top_p": 0.95},
    {"temperature": 0.0},
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
    {"temperature": 0.7, "min_p": 0.05, "repetition_penalty": 1.1},
)


def measure(outputs: int = 20, tokens: int = 64, *, bars: ProgressBars) -> dict[str, Any]:
    """The figures. One thread."""
    caught = edits = positions = kept = 0
    with tempfile.TemporaryDirectory() as folder, verity.open(folder, threads=1, context_size=1024) as node:
        pull(DEFAULT, node.blobs)
        for number in range(outputs):
            sampling, prompt = SAMPLING[number % len(SAMPLING)], PROMPTS[number % len(PROMPTS)]
            answer = node.ask(prompt, max_tokens=tokens, nonce=bytes([number]) * 32, **sampling)
            claim = generation_claim(open_fields(answer.bundle, *statements(answer.bundle)))
            found = score(node.load().engine, claim, np.random.default_rng(number))
            caught, edits, kept = caught + found[0], edits + found[1], kept + found[2]
            positions += len(claim.tokens)
            bars(number + 1, outputs, "scoring edits")
    return {
        "edited_caught": caught / edits, "edits": edits, "positions": positions, "outputs": outputs,
        "honest_kept": kept / positions,
    }  # fmt: skip


def score(engine: Engine, claim: Claim, chance: np.random.Generator) -> tuple[int, int, int]:
    """Of one output: edits that were caught, edits, and honest tokens that matched."""
    caught = edits = kept = 0
    length = evaluated_length(len(claim.prompt_tokens), len(claim.tokens))
    engine.reset()
    rows = engine.advance_all([*claim.prompt_tokens, *claim.tokens][:length], skip=len(claim.prompt_tokens) - 1)
    sampler = Sampler(claim.parameters, bytes.fromhex(claim.seed), claim.prompt_tokens)
    for token, logits in zip(claim.tokens, rows, strict=True):
        for other in _others(logits, token, chance):
            edits += 1
            caught += not copy.deepcopy(sampler).judge(logits, other).matches
        kept += sampler.judge(logits, token).matches
    return caught, edits, kept


def _others(logits: Logits, token: int, chance: np.random.Generator) -> list[int]:
    likely = np.argsort(-logits)[: LIKELY + 1]
    drawn = chance.integers(0, len(logits), ANY)
    return [int(other) for other in {*likely.tolist(), *drawn.tolist()} - {token}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ProgressBars() as bars:
        figures = measure(options.outputs, options.tokens, bars=bars)
    print(json.dumps(figures) if options.json else "\n".join(f"{name:<28}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
