"""Write the embedding vectors: `python -m tests.engines.make_vectors spec/vectors`.

From hidden states to a vector, written a second time from spec/embedding.md in plain Python, sharing no code with
verity. Sums of squares are exact fractions. Some cases come out otherwise when one operation is made in another order.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
import sys
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import Any

Row = list[float]
LARGEST = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
SMALLEST = struct.unpack("<f", b"\x01\x00\x00\x00")[0]


def written(row: Row) -> str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()


def read(text: str) -> Row:
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def reference(rows: list[Row], pooling: str, normalisation: str) -> Row:
    """Not yet rounded to float32."""
    if pooling == "last":
        pooled = rows[-1]
    else:
        pooled = [reduce(lambda total, x: total + x, column) / len(rows) for column in zip(*rows, strict=True)]
    length = math.sqrt(float(sum(Fraction(x * x) for x in pooled)))
    if normalisation == "none" or length == 0.0:
        return pooled
    return [x / length for x in pooled]


def carelessly_summed(rows: list[Row], normalisation: str) -> list[Row]:
    """What comes out of sums in pairs, of exact sums, and of squares added one after the other."""
    pairs = [_in_pairs(list(column)) / len(rows) for column in zip(*rows, strict=True)]
    exact = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    pooled = reference(rows, "mean", "none")
    found = [pairs, exact]
    if normalisation == "l2":
        length = math.sqrt(reduce(lambda total, x: total + x * x, pooled, 0.0))
        found = [[x / length for x in pooled]]
    return found


def _in_pairs(column: Row) -> float:
    if len(column) == 1:
        return column[0]
    half = len(column) // 2
    return _in_pairs(column[:half]) + _in_pairs(column[half:])


def generated(name: str, tokens: int, size: int) -> list[Row]:
    """Numbers of many magnitudes, exact in float32."""

    def number(place: str) -> float:
        digest = hashlib.sha256(f"{name} {place}".encode()).digest()
        return (int.from_bytes(digest[:3], "big") - (1 << 23)) * 2.0 ** (digest[3] % 24 - 28)

    return [[number(f"{t} {i}") for i in range(size)] for t in range(tokens)]


LOST = [[1e20], [1.0], [-1e20], [1.0]]
NEAR = 2.0**-23
TIE = [[2.0**27, 1 + NEAR, *[1.0] * 14], [2.0**27, 1 + 2 * NEAR, *[1.0] * 14]]
ROWS: list[tuple[str, list[Row]]] = [
    ("one token", [[3.0, 4.0]]),
    ("two tokens", [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]),
    ("many magnitudes", generated("many magnitudes", 37, 12)),
    ("as long as a sentence, as wide as a small model", generated("wide", 9, 64)),
    ("all zeros: there is no direction, and l2 leaves them", [[0.0, 0.0], [0.0, 0.0]]),
    ("negative zeros", [[-0.0, 1.0], [-0.0, 1.0]]),
    ("the largest numbers", [[LARGEST, -LARGEST], [LARGEST, -LARGEST]]),
    ("the smallest numbers", [[SMALLEST, -SMALLEST, SMALLEST], [0.0, SMALLEST, SMALLEST]]),
    ("tokens in order: sums in pairs, or exact sums, give another mean", LOST),
    ("squares are summed exactly: one after the other, the small ones are lost, and the second number rounds up", TIE),
]
REFUSED = {
    "no numbers": "",
    "not whole numbers of four bytes": base64.b64encode(bytes(6)).decode(),
    "not base64": "****",
    "not padded": "AACAPw",
    "bits left over": "AACAPx==",
    "white space": "AACA\nPw==",
    "an infinity": written([math.inf]),
    "not a number": written([1.0, math.nan]),
}


def embedding() -> dict[str, Any]:
    cases = []
    for desc, rows in ROWS:
        for pooling in ("mean", "last"):
            for normalisation in ("l2", "none"):
                vector = written(reference(rows, pooling, normalisation))
                cases.append({"desc": desc, "rows": [written(row) for row in rows], "pooling": pooling,
                              "normalisation": normalisation, "vector": vector})  # fmt: skip
    for rows, normalisation in ((LOST, "none"), (TIE, "l2")):
        right = written(reference(rows, "mean", normalisation))
        assert all(written(wrong) != right for wrong in carelessly_summed(rows, normalisation))
    return {"cases": cases, "refused": [{"desc": desc, "vector": text} for desc, text in REFUSED.items()]}


def main(folder: Path) -> None:
    (folder / "embedding.json").write_text(json.dumps(embedding(), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
