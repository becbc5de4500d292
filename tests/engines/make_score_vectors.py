"""Write the scoring vectors: `python -m tests.engines.make_score_vectors spec/vectors`.

From logits to scores, written a second time from spec/scoring.md in plain Python with decimals of 60 digits, sharing no
code with verity.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

Row = list[float]


def written(row: Row) -> bytes:
    return struct.pack(f"<{len(row)}f", *row)


def logprob(row: Row, token: int) -> float:
    """Natural logarithm of the softmax, to the nearest float64."""
    with localcontext() as context:
        context.prec = 60
        total = sum((Decimal(x).exp() for x in row), Decimal(0))
        return float(Decimal(row[token]) - total.ln())


def reference(rows: list[Row], tokens: list[int], top: int) -> dict[str, Any]:
    digests = b"".join(hashlib.sha256(written(row)).digest() for row in rows)
    last = rows[-1]
    order = sorted(range(len(last)), key=lambda token: (-last[token], token))
    return {
        "logits": hashlib.sha256(b"verity/scoring/v1\x00" + digests).hexdigest(),
        "logprobs": [logprob(row, token) for row, token in zip(rows, tokens[1:], strict=False)],
        "candidates": [{"logprob": logprob(last, t), "token": t} for t in order[:top]],
    }


def shared(before: list[int], tokens: list[int]) -> int:
    """The first token that a given answer decides."""
    start = 0
    while start < min(len(before), len(tokens)) and before[start] == tokens[start]:
        start += 1
    return start


def generated(name: str, tokens: int, size: int) -> list[Row]:
    """Logits between -16 and 16, exact in float32."""

    def number(place: str) -> float:
        return (int.from_bytes(hashlib.sha256(f"{name} {place}".encode()).digest()[:3], "big") - (1 << 23)) * 2.0**-19

    return [[number(f"{t} {i}") for i in range(size)] for t in range(tokens)]


CASES: list[tuple[str, list[Row], list[int], int]] = [
    ("one token: only what could come next", [[0.0, 1.0, 2.0]], [2], 2),
    ("all equally likely, the first tokens first", [[0.5] * 4, [0.5] * 4], [3, 1], 3),
    ("no candidates", generated("none", 3, 5), [0, 4, 2], 0),
    ("more candidates than tokens", generated("more", 2, 3), [1, 1], 256),
    ("a tie for the last candidate", [[1.0, 3.0, 2.0, 2.0, 2.0]], [0], 3),
    ("so unlikely that its probability is no float64", [[0.0, -2000.0], [2000.0, 0.0]], [0, 1], 2),
    ("logits far from 0: exponentials alone would overflow", [[3e4, 29999.0, -3e4]], [1], 3),
    ("negative zero has other bits", [[-0.0, 1.0]], [0], 1),
    ("positive zero", [[0.0, 1.0]], [0], 1),
    ("a sentence", generated("a sentence", 12, 48), [7, 1, 1, 40, 3, 8, 47, 0, 22, 9, 9, 30], 5),
]
STARTS = [
    ([1, 2, 3], [1, 2, 3, 4]),
    ([1, 2, 3], [1, 2, 9, 4, 5]),
    ([1, 2, 3], [1, 2, 7]),
    ([5], [6, 7]),
    ([4, 5], [4, 5]),
]


def scoring() -> dict[str, Any]:
    cases = []
    for desc, rows, tokens, top in CASES:
        encoded = [base64.b64encode(written(row)).decode() for row in rows]
        cases.append({"desc": desc, "rows": encoded, "tokens": tokens, "top": top, **reference(rows, tokens, top)})
    starts = [{"prompt": before, "tokens": tokens, "start": shared(before, tokens)} for before, tokens in STARTS]
    return {"cases": cases, "starts": starts}


def main(folder: Path) -> None:
    (folder / "scoring.json").write_text(json.dumps(scoring(), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
