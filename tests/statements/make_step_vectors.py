"""Write the vectors of steps: `python -m tests.statements.make_step_vectors spec/vectors`.

The bytes of a step and the tree over them, written a second time from spec/inference.md in plain Python, sharing no
code with verity.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import struct
import sys
from pathlib import Path
from typing import Any

ID = bytes(range(0xA0, 0xB0))
SECRET = bytes(range(32))
FORMS = {"float32": "<{}f", "float64": "<{}d", "int64": "<{}q", "uint16": "<{}H", "bool": "<{}?", "int8": "<{}b"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def name(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def tensor(what: str, dtype: str, shape: list[int], values: list[Any]) -> dict[str, Any]:
    return {
        "name": what,
        "dtype": dtype,
        "shape": shape,
        "data": b64(struct.pack(FORMS[dtype].format(len(values)), *values)),
    }


STEPS: list[dict[str, Any]] = [
    {"inputs": [tensor("obs", "float32", [1, 3], [0.5, -1.0, 3.0e-39])],
     "outputs": [tensor("action", "float32", [1, 2], [-0.0, float("inf")])]},
    {"inputs": [tensor("obs", "float32", [2, 3], [1, 2, 3, 4, 5, 6])],
     "outputs": [tensor("action", "float32", [2, 2], [1, 0, 0, 1])],
     "note": {"at": "2026-01-02T03:04:05Z", "reward": 0.25}},
    {"inputs": [tensor("temperature °C", "float64", [], [21.5]), tensor("ids", "int64", [2], [-1, 1 << 62])],
     "outputs": [tensor("above", "bool", [2, 1], [True, False]), tensor("none", "uint16", [0, 4], [])]},
    {"inputs": [tensor("obs", "float32", [1, 3], [0.0, 0.0, 0.0])],
     "outputs": [tensor("action", "int8", [3], [-128, 0, 127])], "note": "é"},
    {"inputs": [tensor("obs", "float32", [1, 3], [0.0, 0.0, 0.0])], "outputs": [], "note": False},
]  # fmt: skip


def tensor_bytes(t: dict[str, Any]) -> bytes:
    dtype = t["dtype"].encode()
    shape = b"".join(d.to_bytes(8, "big") for d in t["shape"])
    head = name(t["name"]) + bytes([len(dtype)]) + dtype + bytes([len(t["shape"])]) + shape
    elements: bytes = base64.b64decode(t["data"])
    return bytes(head) + elements


def step_bytes(step: dict[str, Any]) -> bytes:
    note = b""
    if "note" in step:  # keys sort, and numbers print, as RFC 8785 wants: they are simple here
        note = json.dumps(step["note"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    parts = [
        struct.pack(">H", len(step[part])) + b"".join(map(tensor_bytes, step[part])) for part in ("inputs", "outputs")
    ]
    return b"".join(parts) + struct.pack(">I", len(note)) + note


def salt(index: int) -> bytes:
    return hmac.digest(SECRET, b"verity/salt/v1\0" + name("output/steps") + struct.pack(">Q", index), "sha256")[:16]


def step_data(index: int, step: dict[str, Any]) -> bytes:
    place = name("output/steps/leaf") + salt(index) + struct.pack(">Q", index)
    return sha256(b"verity/commitment/v1\0", ID, place, step_bytes(step))


def leaf(index: int) -> bytes:
    return sha256(b"\0", step_data(index, STEPS[index]))


def root(start: int, stop: int) -> bytes:
    """Of the leaves from ``start`` up to ``stop`` (RFC 9162, 2.1.1)."""
    if stop - start == 1:
        return leaf(start)
    middle = start + split(stop - start)
    return sha256(b"\1", root(start, middle), root(middle, stop))


def split(count: int) -> int:
    """The largest power of two below ``count``."""
    half = 1
    while 2 * half < count:
        half *= 2
    return half


def path(index: int, start: int, stop: int) -> list[str]:
    """From the leaf to the root (RFC 9162, 2.1.3.1)."""
    if stop - start == 1:
        return []
    middle = start + split(stop - start)
    if index < middle:
        return [*path(index, start, middle), root(middle, stop).hex()]
    return [*path(index, middle, stop), root(start, middle).hex()]


def opening(index: int) -> dict[str, Any]:
    return {"index": index, "salt": b64(salt(index)), **STEPS[index]}


def refused() -> list[dict[str, Any]]:
    changes: list[tuple[str, str, Any]] = [
        ("an element too many", "data", b64(bytes(16))),
        ("an element too few", "data", b64(bytes(8))),
        ("an unknown type", "dtype", "float8"),
        ("another shape", "shape", [2, 3]),
        ("a negative dimension", "shape", [-1, -3]),
        ("a dimension that is no integer", "shape", [1.0, 3]),
        ("a dimension of 2^50", "shape", [1 << 50]),
        ("17 dimensions", "shape", [1] * 15 + [3, 1]),
        ("no name", "name", ""),
        ("a name of 257 bytes", "name", "x" * 257),
        ("an unknown member", "unit", "m"),
    ]
    cases = []
    for desc, member, value in changes:
        wrong = copy.deepcopy(opening(0))
        wrong["inputs"][0][member] = value
        cases.append({"desc": desc, "opening": wrong, "error": "FormatError"})
    twice = copy.deepcopy(opening(0))
    twice["inputs"] *= 2
    truth = copy.deepcopy(opening(2))
    truth["outputs"][0]["data"] = b64(b"\2\0")
    loose = copy.deepcopy(opening(0))
    loose["outputs"][0]["data"] = loose["outputs"][0]["data"][:-2] + "9="
    negative = opening(0) | {"index": -1}
    more = [
        ("an input twice", twice),
        ("base64 with bits left over", loose),
        ("a truth value of 2", truth),
        ("index -1", negative),
    ]
    return [*cases, *({"desc": desc, "opening": wrong, "error": "FormatError"} for desc, wrong in more)]


def vectors() -> dict[str, Any]:
    count = len(STEPS)
    steps = [
        {"opening": opening(i), "bytes": step_bytes(step).hex(), "salt": salt(i).hex(),
         "data": step_data(i, step).hex(), "leaf": leaf(i).hex()}
        for i, step in enumerate(STEPS)
    ]  # fmt: skip
    part = [opening(index) | {"path": path(index, 0, count)} for index in (1, 2)]
    return {"receipt_id": ID.hex(), "secret": SECRET.hex(), "steps": steps, "root": root(0, count).hex(), "part": part,
            "refused": refused()}  # fmt: skip


def main() -> None:
    (Path(sys.argv[1]) / "inference.json").write_text(json.dumps(vectors(), indent=1) + "\n")


if __name__ == "__main__":
    main()
