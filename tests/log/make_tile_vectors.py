"""Write spec/vectors/tiles.json: `python tests/log/make_tile_vectors.py spec/vectors`.

It shares no code with verity: paths are put together from the words of C2SP tlog-tiles, a tile's hash number i is the
recursive definition MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l]) over data in a list.
"""

from __future__ import annotations

import functools
import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any


@functools.cache
def mth(start: int, stop: int) -> bytes:
    """RFC 6962, section 2.1, over the entries "entry 0", "entry 1", …"""
    if stop - start == 1:
        return hashlib.sha256(b"\0" + entry(start)).digest()
    k = 1
    while 2 * k < stop - start:
        k *= 2
    return hashlib.sha256(b"\1" + mth(start, start + k) + mth(start + k, stop)).digest()


def entry(index: int) -> bytes:
    return f"entry {index}".encode()


def path(level: int | str, number: int, width: int = 256) -> str:
    text = str(number)
    while len(text) % 3:
        text = "0" + text
    parts = [text[at : at + 3] for at in range(0, len(text), 3)]
    parts[:-1] = ["x" + part for part in parts[:-1]]
    return f"tile/{level}/{'/'.join(parts)}" + (f".p/{width}" if width != 256 else "")


def widths(level: int, size: int) -> tuple[int, int]:
    """Full tiles, and the width of the partial one: floor(s / 256**l) mod 256."""
    hashes = size // 256**level
    return hashes // 256, hashes % 256


def tree(size: int) -> dict[str, Any]:
    full: dict[str, int] = {}
    partial = []
    for level in range(8):
        count, width = widths(level, size)
        names: list[int | str] = [level, "entries"] if level == 0 else [level]
        for name in names:
            if count:
                full[str(name)] = count
            if width:
                partial.append(path(name, count, width))
    return {"size": size, "full": full, "partial": partial}


def log(size: int) -> dict[str, Any]:
    tiles: dict[str, bytes] = {}
    for level in range(8):
        count, width = widths(level, size)
        for number in range(count + (width > 0)):
            wide = 256 if number < count else width
            step = 256**level
            first = number * 256
            tiles[path(level, number, wide)] = b"".join(
                mth((first + at) * step, (first + at + 1) * step) for at in range(wide)
            )
            if level == 0:
                data = [entry(first + at) for at in range(wide)]
                tiles[path("entries", number, wide)] = b"".join(struct.pack(">H", len(d)) + d for d in data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in tiles.items()}
    return {"size": size, "root": mth(0, size).hex(), "tiles": digests}


def paths() -> list[dict[str, Any]]:
    good: list[tuple[int | str, int, int]] = [
        (0, 0, 256), (0, 0, 1), (0, 0, 255), (0, 999, 256), (0, 1000, 256), (0, 1234067, 256), (0, 1234067, 8),
        (1, 3, 17), (5, 2, 256), (7, 0, 127), ("entries", 0, 256), ("entries", 12345, 9),
        (0, (2**63 - 256) // 256, 255),
    ]  # fmt: skip
    wrong = [
        "", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/000", "tile/0/x001",
        "tile/0/001/234", "tile/0/x01/234", "tile/0/X001/234", "tile/00/000", "tile/01/000", "tile/-1/000",
        "tile/data/000", "tile/64/000", "tile/8/000", "tile/7/000", "tile/7/000.p/128", "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p/1/", "tile/0/000.p/-1", "/tile/0/000",
        "tile/0/000/", "tile/0/../0/000", "tile//000", "tile/0/000\n", "tile/0/\u0660\u0660\u0660", "tile/8/0/000",
        "tile/0/000.P/1", "tile/0/x999/x999/x999/x999/x999/x999/999", "tile/entries/0", "tile/Entries/000",
        "checkpoint",
    ]  # fmt: skip
    cases = [{"path": path(*g), "level": g[0], "number": g[1], "width": g[2], "error": None} for g in good]
    return cases + [{"path": text, "error": "FormatError"} for text in wrong]


def bundles() -> list[dict[str, Any]]:
    two = b"\0\1a\0\2bc"
    rows: list[tuple[str, int, bytes, list[bytes] | None]] = [
        ("one entry", 1, b"\0\1a", [b"a"]),
        ("two entries", 2, two, [b"a", b"bc"]),
        ("empty entries", 3, bytes(6), [b"", b"", b""]),
        ("a length of two bytes", 1, b"\1\0" + bytes(256), [bytes(256)]),
        ("a full bundle", 256, b"\0\1a" * 256, [b"a"] * 256),
        ("nothing", 1, b"", None),
        ("half a length", 1, b"\0", None),
        ("an entry that is cut off", 2, two[:-1], None),
        ("an entry too few", 3, two, None),
        ("an entry too many", 1, two, None),
        ("a byte after the last", 2, two + b"\0", None),
        ("little-endian lengths", 1, b"\1\0a", None),
        ("257 entries", 256, b"\0\1a" * 257, None),
    ]
    return [
        {
            "desc": desc,
            "width": width,
            "data": data.hex(),
            "entries": None if told is None else [one.hex() for one in told],
            "error": "FormatError" if told is None else None,
        }
        for desc, width, data, told in rows
    ]


def main() -> None:
    sizes = (1, 2, 255, 256, 257, 511, 512, 65535, 65536, 65537, 70000, 256**3, 2**63 - 1)
    vectors = {
        "about": "Cases for spec/tiles.md. Made by tests/log/make_tile_vectors.py. Entry n of a log is the text of "
        "`entry n`; tiles by path, with the SHA-256 of their bytes.",
        "paths": paths(),
        "trees": [tree(size) for size in sizes],
        "bundles": bundles(),
        "logs": [log(size) for size in (1, 2, 15, 255, 256, 257, 700, 1024)],
    }
    (Path(sys.argv[1]) / "tiles.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
