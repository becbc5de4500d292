"""Where the time of generating and of replaying goes, by operator, and how far it is from the processor's limit.

    python benchmarks/profile_replay.py [--tokens 400] [--rounds 3] [--json]

On one thread, in processor time of that thread, so that other programs disturb little. With --json the last line is one
JSON object with ``replay_speedup`` (generating over replaying, prompt included, load excluded; median of alternating
rounds), ``arithmetic_share`` (of the matrix products of the replay: multiply-adds a second over the AVX2 limit),
``operators`` and ``parts``. docs/concepts/replay-time.md explains them.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import verity
from clocked import Clocked
from native_code import Operator, Operators, limit, quantising_rate
from verity.answer import Answer
from verity.engines.library import exact_profile
from verity.engines.llama import LlamaEngine
from verity.node import Node
from verity.sampling.sampler import Sampler
from verity.statements.strict import decode_base64
from verity.store.catalogue import DEFAULT
from verity.store.pull import pull
from verity.verify.claims import Fields
from verity.verify.replay import Claim, replay

PROMPT = "Write a long story about a lighthouse."
NOTHING = ("NONE", "PERMUTE", "RESHAPE", "TRANSPOSE", "VIEW")
"""Nodes that only say how memory is read."""
ROLES = {
    "attn_q": "attention q", "attn_k": "attention k", "attn_v": "attention v", "attn_output": "attention output",
    "ffn_up": "FFN up", "ffn_gate": "FFN gate", "ffn_down": "FFN down", "token_embd": "output head",
    "output": "output head", "attn_inp_k_rot": "rotating keys", "attn_inp_v_rot": "rotating values",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.tokens, options.rounds)
    if options.json:
        print(json.dumps(figures))
        return
    print(table(figures))
    for name, value in figures.items():
        if name != "operators":
            print(f"{name:<24}{value}")


def measure(tokens: int = 400, rounds: int = 3) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home, verity.open(home, threads=1) as node:
        pull(DEFAULT, node.blobs)
        engine = node.load().engine
        assert isinstance(engine, LlamaEngine)
        nonce, claim = _long_answer(node, tokens)
        generating = functools.partial(_ask, node, tokens, nonce)
        replaying = functools.partial(_replay, engine, claim)
        plain = _in_turn(engine, generating, replaying, rounds)
        path = node.blobs.open(node.load().model["blake3"]).path
        watched = _watched(path, engine.context_size, claim)
    return _figures(tokens, claim, plain, watched)


def _long_answer(node: Node, tokens: int) -> tuple[bytes, Claim]:
    """A nonce with which the model does not end its answer before, and the claim of that answer."""
    for number in itertools.count():
        nonce = number.to_bytes(32, "big")
        answer = _ask(node, tokens, nonce)
        if len(answer.tokens) == tokens:
            break
    disclosure: Any = answer.bundle.disclosure
    fields = Fields({line.field: line.value for line in itertools.chain(disclosure.intent, disclosure.result)})
    return nonce, fields.claim(answer.tokens, [decode_base64(t.piece, "piece") for t in disclosure.tokens])


def _ask(node: Node, tokens: int, nonce: bytes) -> Answer:
    return node.ask(PROMPT, max_tokens=tokens, nonce=nonce)


def _replay(engine: LlamaEngine, claim: Claim) -> None:
    outcome = replay(engine, claim)
    assert outcome.matches, outcome.sentence


def _in_turn(
    engine: LlamaEngine, generating: Callable[[], Any], replaying: Callable[[], Any], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each round: in all, in llama.cpp, and in the sampler."""
    seen: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name, run in (("generate", generating), ("replay", replaying)):
            decoding, sampling = Clocked(), Clocked()
            method = "draw" if name == "generate" else "judge"
            with decoding.watching(engine._lib, "llama_decode"), sampling.watching(Sampler, method):
                started = time.thread_time()
                run()
                total = time.thread_time() - started
            into = seen.setdefault(name, {"total": [], "llama.cpp": [], "sampler": []})
            for part, seconds in (("total", total), ("llama.cpp", decoding.seconds), ("sampler", sampling.seconds)):
                into[part].append(seconds)
    return seen


def _watched(path: Path, context_size: int, claim: Claim) -> dict[str, tuple[float, list[Operator]]]:
    """The same tokens through an engine that is told of every node: seconds in llama.cpp, and its operators."""
    operators = Operators()
    with patch("verity.engines.llama.exact_profile", lambda *args: operators.watch(exact_profile(*args))):
        engine = LlamaEngine(path, threads=1, context_size=context_size)
    sequence = [*claim.prompt_tokens, *claim.tokens[:-1]]

    def generate() -> None:
        engine.advance(claim.prompt_tokens)
        for token in claim.tokens[:-1]:
            engine.advance([token])

    def replay_rows() -> None:
        for _ in engine.advance_all(sequence, skip=len(claim.prompt_tokens) - 1):
            pass

    seen = {}
    for name, run in (("generate", generate), ("replay", replay_rows)):
        engine.reset()
        operators.reset()
        decoding = Clocked()
        with decoding.watching(engine._lib, "llama_decode"):
            run()
        seen[name] = (decoding.seconds, corrected(operators.read()))
    engine.close()
    return seen


def corrected(operators: list[Operator]) -> list[Operator]:
    """Without the nodes that compute nothing, and without what asking costs, which is what those take."""
    nothing = [o for o in operators if o.op in NOTHING]
    asking = sum(o.seconds for o in nothing) / sum(o.calls for o in nothing)
    return [o._replace(seconds=max(0.0, o.seconds - asking * o.calls)) for o in operators if o.op not in NOTHING]


def role(operator: Operator) -> str:
    """What an operator is for, in a word or two."""
    if operator.op == "MUL_MAT":
        part = operator.weight.removeprefix("blk..").removesuffix(".weight")
        return f"product: {ROLES.get(part, part)}"
    return {"FLASH_ATTN_EXT": "attention itself", "GLU": "SWIGLU", "GET_ROWS": "rows of tables", "SET_ROWS":
            "writing the cache (q8_0)"}.get(operator.op, operator.op)  # fmt: skip


def _figures(
    tokens: int,
    claim: Claim,
    plain: dict[str, dict[str, list[float]]],
    watched: dict[str, tuple[float, list[Operator]]],
) -> dict[str, Any]:
    middle = {name: {part: statistics.median(s) for part, s in parts.items()} for name, parts in plain.items()}
    ratios = [g / r for g, r in zip(plain["generate"]["total"], plain["replay"]["total"], strict=True)]
    avx2, rate = limit("avx2"), quantising_rate()
    found: dict[str, Any] = {
        "tokens": tokens,
        "prompt_tokens": len(claim.prompt_tokens),
        "replay_speedup": round(statistics.median(ratios), 3),
        "replay_speedup_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "avx2_limit_gmacs": round(avx2 / 1e9, 1),
        "vnni_limit_gmacs": round(limit("vnni") / 1e9, 1),
    }
    for name, (seconds, operators) in watched.items():
        products = [o for o in operators if o.op == "MUL_MAT"]
        in_products = sum(o.seconds for o in products)
        share = sum(o.multiply_adds for o in products) / in_products / avx2
        found["arithmetic_share" if name == "replay" else "arithmetic_share_generate"] = round(share, 3)
        found[f"{name}_s"] = round(middle[name]["total"], 3)
        found[f"{name}_watched_over_plain"] = round(seconds / middle[name]["llama.cpp"], 3)
        python = middle[name]["total"] - middle[name]["llama.cpp"] - middle[name]["sampler"]
        between = middle[name]["llama.cpp"] - sum(o.seconds for o in operators)
        found.setdefault("parts", {})[name] = {
            "in_products_ms": round(1e3 * in_products),
            "other_operators_ms": round(1e3 * sum(o.seconds for o in operators if o.op != "MUL_MAT")),
            "between_operators_ms": round(1e3 * between),
            "sampler_ms": round(1e3 * middle[name]["sampler"]),
            "python_ms": round(1e3 * python),
            "quantising_activations_ms": round(1e3 * sum(o.activations for o in products) / rate),
        }
    found["operators"] = _rows(watched)
    return found


def _rows(watched: dict[str, tuple[float, list[Operator]]]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for name, (_, operators) in watched.items():
        for operator in operators:
            row = rows.setdefault(role(operator), {"operator": role(operator)})
            row[f"{name}_ms"] = row.get(f"{name}_ms", 0.0) + 1e3 * operator.seconds
            row[f"{name}_gmacs"] = row.get(f"{name}_gmacs", 0.0) + operator.multiply_adds / 1e9
            row[f"{name}_calls"] = row.get(f"{name}_calls", 0) + operator.calls
    for row in rows.values():
        for name in watched:
            rate = row.pop(f"{name}_gmacs", 0.0) / (row.get(f"{name}_ms", 0.0) / 1e3 or 1.0)
            row[f"{name}_gmacs_per_s"] = round(rate, 1)
            row[f"{name}_ms"] = round(row.get(f"{name}_ms", 0.0), 1)
    return sorted(rows.values(), key=lambda row: -row["replay_ms"])


def table(figures: dict[str, Any]) -> str:
    """The operators as a table in Markdown."""
    lines = [
        "| operator | generating, ms | replaying, ms | Gmac/s generating | Gmac/s replaying |",
        "|---|---|---|---|---|",
    ]
    for row in figures["operators"]:
        rates = [f"{row[f'{name}_gmacs_per_s']:.1f}" if row[f"{name}_gmacs_per_s"] else "" for name in
                 ("generate", "replay")]  # fmt: skip
        times = [f"{row[f'{name}_ms']:,.0f}" for name in ("generate", "replay")]
        lines.append(f"| {row['operator']} | {times[0]} | {times[1]} | {rates[0]} | {rates[1]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
