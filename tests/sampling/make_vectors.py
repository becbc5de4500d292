"""Write the sampling vectors: `python -m tests.sampling.make_vectors spec/vectors`.

They are made with reference.py, which shares no code with verity. Logits are multiples of 1/64 or otherwise exact in
float32. A case that would depend on the last bits of exp or log is refused here, unless that is what it is about.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.sampling.reference import Parameters, Reference, gumbel, hmac_sha256, key_of, seed_of, word

Row = list[float]
NEVER = -math.inf
ALL: dict[str, Any] = {"top_k": 0, "top_p": 1.0}

# Seed 1234567: https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64, agreeing with S. Vigna's splitmix64.c.
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def generated(size: int, key: int, scale: int) -> Row:
    return [((word(key, t) >> 52) - 2048) / scale for t in range(size)]


def narrow(name: str, size: int, steps: int = 64) -> Row:
    """Logits in [−4, 4), multiples of 1 / ``steps``."""
    draws = (int.from_bytes(digest(f"{name} {t}")[:4], "big") for t in range(size))
    return [x % (8 * steps) / steps - 4 for x in draws]


def exact(x: float) -> float:
    assert struct.unpack("<f", struct.pack("<f", x))[0] == x
    return x


# --- noise.json -------------------------------------------------------------------------------------------------------


def noise() -> dict[str, Any]:
    nonces = [bytes(32), bytes(range(32)), digest("a nonce"), b"\xff" * 32]
    choices = [0, 1, 2, 256, 2**32 - 1]
    tokens = [0, 1, 2, 3, 255, 256, 49151, 128255, 262143, 2**31 - 1]
    places = [(bytes(32), 0), (bytes(32), 1), (digest("a seed"), 0), (digest("a seed"), 255), (digest("a seed"), 256)]
    places += [(b"\xff" * 32, 65536), (b"\xff" * 32, 2**32), (b"\xff" * 32, 2**64 - 1)]
    words = [0, 1, 4095, 4096, 8191, 2**52, 2**62, 2**63 - 1, 2**63, 2**64 - 8192, 2**64 - 4096, 2**64 - 1]
    return {
        "about": "Vectors for spec/sampling.md, section 1. Made by tests/sampling/make_vectors.py.",
        "splitmix64": {"seed": "1234567", "outputs": [str(n) for n in PUBLISHED]},
        "seeds": [{"nonce": n.hex(), "choice": c, "seed": seed_of(n, c).hex()} for n in nonces for c in choices],
        "words": [{"word": str(w), "noise": round(gumbel(w), 13)} for w in words],
        "noise": [at_place(seed, position, tokens) for seed, position in places],
    }


def at_place(seed: bytes, position: int, tokens: Sequence[int]) -> dict[str, Any]:
    key = key_of(seed, position)
    words = [word(key, t) for t in tokens]
    return {
        "seed": seed.hex(),
        "position": str(position),
        "key": str(key),
        "tokens": list(tokens),
        "words": [str(w) for w in words],
        "noise": [round(gumbel(w), 13) for w in words],
    }


# --- sampling.json: draws ---------------------------------------------------------------------------------------------


def draw(
    desc: str,
    rows: Sequence[Row] | tuple[int, int, int],
    *,
    steps: int = 12,
    prompt: Sequence[int] = (),
    choice: int = 0,
    settled: bool = False,
    **parameters: Any,
) -> dict[str, Any]:
    nonce = digest(desc)
    reference = Reference(Parameters(**parameters), seed_of(nonce, choice), prompt)
    for position in range(steps):
        if isinstance(rows, tuple):
            size, key, scale = rows
            row = generated(size, key + position, scale)
        else:
            row = rows[position % len(rows)]
        assert settled or reference.settled(row), desc
        reference.draw(row)
    return {
        "desc": desc,
        "parameters": asdict(reference.parameters),
        "nonce": nonce.hex(),
        "choice": choice,
        "prompt": list(prompt),
        **given(rows),
        "tokens": reference.output,
    }


def given(rows: Sequence[Row] | tuple[int, int, int]) -> dict[str, Any]:
    if isinstance(rows, tuple):
        size, key, scale = rows
        return {"generated": {"size": size, "key": str(key), "scale": scale}}
    return {"logits": [[None if x == NEVER else exact(x) for x in row] for row in rows]}


def small_draws() -> Iterable[dict[str, Any]]:
    a, b, c = narrow("a", 16), narrow("b", 32), narrow("c", 64)
    tied = [1.0, 2.0, 2.0, 0.5, 2.0, -1.0, 0.5, 2.0]
    holes = [NEVER if t % 3 else x for t, x in enumerate(b)]
    yield draw("the defaults", [c, narrow("d", 64)], steps=24)
    yield draw("no filter", [a], steps=24, **ALL)
    yield draw("another choice of the same request", [a], steps=24, choice=1, **ALL)
    yield draw("the largest choice", [a], choice=2**32 - 1, **ALL)
    yield draw("one token in the vocabulary", [[-7.5]], steps=3)
    yield draw("greedy", [a, b[:16]], temperature=0.0)
    yield draw("greedy: the lowest of equal logits", [tied], temperature=0.0)
    yield draw("greedy: filters are not used", [a], temperature=0.0, top_k=1, top_p=0.01, min_p=1.0)
    yield draw("greedy: penalties are used", [a], temperature=0.0, repetition_penalty=1.25, prompt=[3, 3, 4])
    yield draw(
        "greedy: a penalty makes a tie, the lowest wins", [[1.0, 2.0, 1.0]], temperature=0.0, presence_penalty=1.0
    )
    yield draw("temperature 0.1", [c], temperature=0.1)
    yield draw("temperature 1", [c], temperature=1.0)
    yield draw("temperature 10, the highest", [c], temperature=10.0, **ALL)
    yield draw("temperature 10^-6, the lowest: the most likely", [c], temperature=1e-6, **ALL)
    yield draw("temperature 10^-6 and equal logits: the noise decides", [[0.0] * 16], temperature=1e-6, **ALL)
    yield draw("equal logits: the noise decides", [[-2.5] * 32], **ALL)
    yield draw("top-k 1 is the most likely", [a, b[:16]], top_k=1, top_p=1.0)
    yield draw("top-k 1 of equal logits is the lowest", [tied], top_k=1, top_p=1.0)
    yield draw("top-k 3 of four equal logits: the lower ids stay", [tied], steps=24, top_k=3, top_p=1.0)
    yield draw("top-k 5", [c], steps=24, top_k=5, top_p=1.0)
    yield draw("top-k 65 of 64", [c], top_k=65, top_p=1.0)
    yield draw("top-p 0.5", [c], steps=24, top_k=0, top_p=0.5)
    yield draw("top-p 0.9 of equal logits: the lower ids stay", [[0.0] * 12], steps=24, top_k=0, top_p=0.9)
    yield draw("top-p below the first weight keeps the first", [c], top_k=0, top_p=1e-6)
    yield draw("top-p is over what top-k kept", [b], steps=24, top_k=6, top_p=0.7)
    yield draw("top-p close to 1", [c], top_k=0, top_p=0.999)
    yield draw("min-p 0.1", [c], steps=24, top_k=0, top_p=1.0, min_p=0.1)
    yield draw("min-p 0.9 with logits 1/64 apart", [[x / 64 for x in range(16)]], steps=24, **ALL, min_p=0.9)
    yield draw(
        "min-p is relative to the most likely, whatever top-p kept", [c], steps=24, top_k=0, top_p=0.8, min_p=0.3
    )
    yield draw("min-p does not see temperature", [c], steps=24, temperature=3.0, **ALL, min_p=0.2)
    yield draw("all filters", [b, a + a], steps=24, top_k=12, top_p=0.9, min_p=0.05)
    yield draw("repetition: the prompt counts", [a], repetition_penalty=3.0, prompt=[0, 5, 5, 9], **ALL)
    yield draw("repetition: below 0 multiplies, 0 stays", [[-1.0, 0.0, 1.0, -0.5]], repetition_penalty=4.0, **ALL)
    yield draw("repetition below 1 favours", [b], repetition_penalty=0.5, **ALL)
    yield draw("presence: once, and not for the prompt", [a], presence_penalty=2.0, prompt=[1, 2, 3], **ALL)
    yield draw("frequency: for each time", [a], steps=32, frequency_penalty=0.75, prompt=[1, 2, 3], **ALL)
    yield draw("negative presence and frequency", [b], presence_penalty=-1.0, frequency_penalty=-0.25, **ALL)
    every: dict[str, Any] = {"repetition_penalty": 1.125, "presence_penalty": 0.5, "frequency_penalty": 0.375}
    yield draw("all penalties, all filters", [b], steps=32, prompt=[7, 8, 9], min_p=0.02, top_k=20, **every)
    yield draw("penalties come before top-k", [a], steps=16, presence_penalty=100.0, top_k=1)
    yield draw("logits of −∞ never win", [holes], steps=24, temperature=10.0, **ALL)
    yield draw("logits of −∞ and all filters", [holes], steps=24, top_k=20, top_p=0.99, min_p=0.001, **every)
    huge = [-(2.0**100), 2.0**99, 3.0, 2.0**100]
    yield draw("a huge spread", [huge], temperature=10.0, **ALL)
    yield draw("a huge spread, all filters", [huge], top_p=0.75, min_p=0.5)
    lost = [-(2.0**100), 2.0**100, 3.0, 2.0**100]
    yield draw("equal logits so large that the noise is lost: the lowest id", [lost], settled=True, **ALL)


def wide_draws() -> Iterable[dict[str, Any]]:
    yield draw("wide: the defaults", (700, 1, 256), steps=16)
    yield draw("wide: no filter", (700, 2, 256), steps=16, **ALL)
    yield draw("wide: flat, no filter", (1500, 3, 4096), steps=16, **ALL)
    yield draw("wide: flat, top-p keeps most", (1500, 4, 4096), steps=16, top_k=0, top_p=0.95)
    yield draw("wide: top-p within top-k 600", (1500, 5, 1024), steps=16, top_k=600, top_p=0.9)
    yield draw("wide: min-p keeps many", (1500, 6, 4096), steps=16, top_k=0, top_p=1.0, min_p=0.5)
    yield draw("wide: min-p and top-p keep many", (1500, 7, 4096), steps=16, top_k=0, top_p=0.97, min_p=0.4)
    yield draw("wide: temperature 10", (1500, 8, 64), steps=16, temperature=10.0, **ALL)
    yield draw("wide: flat, top-p is over the 300 that top-k kept", (1500, 10, 4096), steps=16, top_k=300, top_p=0.3)
    yield draw("wide: greedy", (1500, 9, 256), steps=4, temperature=0.0)


# --- sampling.json: replays -------------------------------------------------------------------------------------------


def replay(
    desc: str, row: Row, claimed: int, *, nonce: bytes = bytes(32), output: Sequence[int] = (), **parameters: Any
) -> dict[str, Any]:
    reference = Reference(Parameters(**parameters), seed_of(nonce, 0), (), list(output))
    found = reference.judge(row, claimed)
    return {
        "desc": desc,
        "parameters": asdict(reference.parameters),
        "nonce": nonce.hex(),
        "choice": 0,
        "prompt": [],
        "output": list(output),
        **given([row]),
        "claimed": claimed,
        "accepted": found.accepted,
        "best": found.best,
        "filtered": math.isinf(found.margin),
    }


def tie(gap: float) -> Row:
    """Logits under which token 0 scores ``gap`` more than token 1 at temperature 1, position 0, nonce 0."""
    key = key_of(seed_of(bytes(32), 0), 0)
    g0, g1 = (gumbel(word(key, t)) for t in (0, 1))
    first = round((g1 - g0) * 2**18) / 2**18
    second = round((first + g0 - g1 - gap) * 2**40) / 2**40  # far from the last bits, and exact in float32
    return [first, second]


def nonce_for(winner: int, size: int) -> bytes:
    """A nonce whose noise at position 0 is largest, clearly, for ``winner`` of ``size`` tokens."""
    for n in range(10_000):
        nonce = n.to_bytes(32, "big")
        key = key_of(seed_of(nonce, 0), 0)
        g = [gumbel(word(key, t)) for t in range(size)]
        if g[winner] == max(g) and sorted(g)[-2] < g[winner] - 0.5:
            return nonce
    raise AssertionError("no such nonce")


def replays() -> Iterable[dict[str, Any]]:
    for gap, word_ in ((5e-10, "within"), (2e-9, "beyond")):
        yield replay(f"a tie {word_} SLACK: the second", tie(gap), 1, temperature=1.0, **ALL)
        yield replay(f"a tie {word_} SLACK: the first", tie(gap), 0, temperature=1.0, **ALL)
    four, last = [0.0] * 4, nonce_for(2, 4)
    for top_p in (0.5, 0.5 + 5e-10, 0.5 - 5e-10, 0.5 + 1e-8, 0.5 - 1e-8):
        for claimed in (0, 1, 2):
            desc = f"four equal logits, top-p {top_p!r} at the edge of token 2: token {claimed}"
            yield replay(desc, four, claimed, nonce=last, top_k=0, top_p=top_p)
    two, second = [0.0, -1.0], nonce_for(1, 2)
    for off in (0.0, 5e-10, -5e-10, 1e-8, -1e-8):
        for claimed in (0, 1):
            desc = f"min-p {off:g} from the edge of token 1: token {claimed}"
            yield replay(desc, two, claimed, nonce=second, temperature=10.0, **ALL, min_p=math.exp(off - 1.0))
    for claimed in range(4):
        yield replay(
            f"min-p 1 and equal logits, all on the edge: token {claimed}", four, claimed, nonce=last, min_p=1.0
        )
    row = narrow("replay", 16)
    order = sorted(range(16), key=lambda t: (-row[t], t))
    for claimed in (order[0], order[4], order[5], 15, 16, -1):
        yield replay(f"top-k 5: token {claimed}", row, claimed, top_k=5, top_p=1.0)
    for claimed in (0, 1, 2):
        yield replay(f"greedy, equal logits: token {claimed}", [1.0, 3.0, 3.0], claimed, temperature=0.0)
    yield replay("greedy has no tolerance", [1.0, 1.0 + 2.0**-23], 0, temperature=0.0)
    yield replay("a logit of −∞", [0.0, NEVER], 1, **ALL)
    for output in ([], [0], [0, 0]):
        desc = f"the history {output} decides"
        yield replay(desc, [3.0, 2.5], 0, output=output, temperature=0.0, frequency_penalty=0.375)


def refused() -> Iterable[dict[str, Any]]:
    yield {"desc": "a NaN", "logits": ["1", "nan", "2"]}
    yield {"desc": "a NaN beside +∞", "logits": ["nan", "inf"]}
    yield {"desc": "+∞", "logits": ["1", "inf", "2"]}
    yield {"desc": "nothing but −∞", "logits": ["-inf", "-inf"]}
    yield {"desc": "nothing but NaN", "logits": ["nan"]}


def sampling() -> dict[str, Any]:
    return {
        "about": "Cases for spec/sampling.md. Made by tests/sampling/make_vectors.py.",
        "draws": [*small_draws(), *wide_draws()],
        "replays": list(replays()),
        "refused": list(refused()),
    }


def text(vectors: dict[str, Any]) -> str:
    """JSON with one line for each case."""

    def value(x: Any) -> str:
        if not isinstance(x, list):
            return json.dumps(x, ensure_ascii=False)
        return "[\n  " + ",\n  ".join(map(value, x)) + "\n ]"

    return "{\n " + ",\n ".join(f"{json.dumps(name)}: {value(x)}" for name, x in vectors.items()) + "\n}\n"


def main() -> None:
    assert [word(1234567, t) for t in range(5)] == PUBLISHED
    assert (
        hmac_sha256(b"key", b"The quick brown fox jumps over the lazy dog").hex().startswith("f7bc83f430538424b13298e6")
    )
    for name, vectors in (("noise", noise()), ("sampling", sampling())):
        (Path(sys.argv[1]) / f"{name}.json").write_text(text(vectors), encoding="utf-8")


if __name__ == "__main__":
    main()
