"""Write the test vectors of segments: `python tests/statements/make_segment_vectors.py spec/vectors`.

It shares no code with verity: spec/segments.md, once more, from hashes, JSON and zlib. The receipt around the segments
is that of make_vectors.py, beside this file.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import make_vectors as receipts  # type: ignore[import-not-found]

FORM = "FormatError"
SIZE = 8
ENCODING = {"kind": "scripted", "row": 2}
NO_GRAMMAR = bytes(32)
PROMPT: list[int] = receipts.INTENT["prompt_tokens"]
OUTPUT = [token for token, _ in receipts.TOKENS]
KV = {"kind": "kv", "layers": 2, "k": [8, 3], "v": [8, 2]}
FIELD = "output/segments"

sha256, b64, jcs, salt, changed = (
    getattr(receipts, name) for name in ("sha256", "b64", "jcs", "salt", "changed")
)  # fmt: skip


def u64(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers)


def u32(numbers: list[int]) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


# --- states and leaves ------------------------------------------------------------------------------------------------


def bounds(size: int, length: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def rows(start: int, end: int) -> bytes:
    """Of the scripted engine: the tokens themselves."""
    return b"".join(token.to_bytes(2, "big") for token in [*PROMPT, *OUTPUT][start:end])


def kv_rows(start: int, end: int) -> bytes:
    """Made-up rows that tell where they stand: layer, K or V, position."""
    parts = []
    for layer in range(2):
        for tensor, width in ((0, 3), (1, 2)):
            parts += [bytes([16 * layer + tensor, position] * 2)[:width] for position in range(start, end)]
    return b"".join(parts)


def chain(encoding: dict[str, Any], cuts: list[tuple[int, int]], rows_of: Any) -> list[bytes]:
    """The state before the first segment, and that at the end of each."""
    states = [sha256(b"verity/state/v1\0", jcs(encoding))]
    for start, end in cuts:
        states.append(sha256(b"verity/state/v1\0", states[-1], u64(start, end), sha256(rows_of(start, end))))
    return states


def grammar_digest(allowed: list[int], vocabulary: int) -> bytes:
    bits = bytearray((vocabulary + 7) // 8)
    for token in allowed:
        bits[token // 8] |= 1 << token % 8
    return sha256(bytes(bits))  # type: ignore[no-any-return]


def leaves(intent: bytes, grammar: list[bytes]) -> list[dict[str, Any]]:
    tokens, first = [*PROMPT, *OUTPUT], len(PROMPT)
    cuts = bounds(SIZE, len(tokens) - 1)
    states = chain(ENCODING, cuts, rows)
    made = []
    for number, (start, end) in enumerate(cuts):
        seen = sha256(b"verity/state-tokens/v1\0", u32(tokens[: end + 1]))
        drawn = sha256(b"verity/state-sampler/v1\0", u32(tokens[first : end + 1]))
        body = intent + u64(number, start, end) + states[number] + states[number + 1] + seen + drawn + grammar[number]
        name = receipts.name("output/segments/leaf")
        data = sha256(b"verity/commitment/v1\0", receipts.ID, name, salt(FIELD, number), body)
        made.append({
            "number": number, "start": start, "end": end,
            "start_state": states[number].hex(), "end_state": states[number + 1].hex(),
            "tokens": seen.hex(), "sampler": drawn.hex(), "grammar": grammar[number].hex(),
            "body": body.hex(), "salt": salt(FIELD, number).hex(), "data": data.hex(),
            "leaf": sha256(b"\0", data).hex(),
        })  # fmt: skip
    return made


# --- a receipt with segments ------------------------------------------------------------------------------------------


def receipt(
    grammar: list[bytes], intent: dict[str, Any] | None = None, bound: bytes | None = None, **root: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Leaves and bundle. ``bound`` is another intent for the leaves, ``root`` changes members of the field."""
    fields = receipts.INTENT | {"retention": {"segments_s": 604800}} | (intent or {})
    named = bytes.fromhex(receipts.receipt(fields, receipts.result_fields())[0]["statement_digest"])
    made = leaves(bound or named, grammar)
    tree = receipts.root([bytes.fromhex(leaf["leaf"]) for leaf in made]).hex()
    value = {"count": len(made), "encoding": ENCODING, "root": tree, "size": SIZE} | root
    bundle = receipts.receipt(fields, receipts.result_fields() | {FIELD: value})[2]
    bundle["disclosure"]["segments"] = [opening(leaf) for leaf in made]
    return made, bundle


def opening(leaf: dict[str, Any]) -> dict[str, Any]:
    said = {"salt": b64(bytes.fromhex(leaf["salt"])), "state": leaf["end_state"]}
    return said if leaf["grammar"] == NO_GRAMMAR.hex() else said | {"grammar": leaf["grammar"]}


def bundle_cases(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """Changes to the bundle by somebody without a key."""
    first, second, third = bundle["disclosure"]["segments"]
    fields = [line["field"] for line in bundle["disclosure"]["result"]]
    line = f"disclosure/result/{fields.index(FIELD)}"
    value = bundle["disclosure"]["result"][fields.index(FIELD)]["value"]
    hidden = receipts.withheld(FIELD, value)
    at = "disclosure/segments/"
    cases: list[tuple[str, str, Any, str | None]] = [
        ("as written", at + "0", first, None),
        ("no segments opened", "disclosure/segments", ..., None),
        ("an empty list", "disclosure/segments", [], None),
        ("another state", at + "1/state", "0" * 64, "disclosure"),
        ("another salt", at + "1/salt", b64(bytes(16)), "disclosure"),
        ("a salt of 15 bytes", at + "1/salt", b64(bytes(15)), "disclosure"),
        ("a state of 31 bytes", at + "1/state", "0" * 62, "disclosure"),
        ("a state in upper case", at + "1/state", "A" * 64, "disclosure"),
        ("a grammar where there is none", at + "1/grammar", "0" * 63 + "1", "disclosure"),
        ("a grammar of 31 bytes", at + "1/grammar", "0" * 62, "disclosure"),
        ("no grammar, written out", at + "1/grammar", "0" * 64, None),
        ("two exchanged", "disclosure/segments", [second, first, third], "disclosure"),
        ("the last left out", at + "2", ..., "disclosure"),
        ("one twice", "disclosure/segments", [first, second, third, third], "disclosure"),
        ("a token changed", "disclosure/tokens/3/id", 1, "disclosure"),
        ("tokens left out", "disclosure/tokens", [], "disclosure"),
        ("the field withheld", line, hidden, "disclosure"),
        ("another count", line + "/value/count", 2, "disclosure"),
        ("an unknown member", at + "0/start", 0, FORM),
        ("a segment without its state", at + "0/state", ..., FORM),
        ("segments that are no list", "disclosure/segments", {}, FORM),
    ]
    return [
        {"desc": desc, "path": where, **({} if to is ... else {"value": to}), "fails": fails}
        for desc, where, to, fails in cases
    ]


def liar_cases() -> list[dict[str, Any]]:
    """Receipts that the device itself signed; every hash and signature holds."""
    none = [NO_GRAMMAR] * 3
    opened: list[tuple[str, dict[str, Any], str | None]] = [
        ("under a grammar", receipt([NO_GRAMMAR, sha256(b"allowed"), sha256(b"then")])[1], None),
        ("bound to another intent", receipt(none, bound=sha256(b"another intent"))[1], "disclosure"),
        ("a segment less than there are", receipt(none, count=2)[1], "disclosure"),
        ("a segment more than there are", receipt(none, count=4)[1], "disclosure"),
        ("segments of another size", receipt(none, size=9)[1], "disclosure"),
        ("segments that are too short", receipt(none, size=7)[1], "disclosure"),
        ("segments that are too long", receipt(none, size=4097)[1], "disclosure"),
        ("no segments", receipt(none, count=0)[1], "disclosure"),
        ("another encoding than that of the states", receipt(none, encoding={"kind": "x"})[1], "disclosure"),
        ("a root of 31 bytes", receipt(none, root="0" * 62)[1], "disclosure"),
        ("a prompt's token beyond 32 bits", receipt(none, {"prompt_tokens": [1 << 32, *PROMPT[1:]]})[1], "disclosure"),
        ("a prompt of another length", receipt(none, {"prompt_tokens": PROMPT[1:]})[1], "disclosure"),
        ("the opened segments of a receipt without", without(receipt(none)[1]), "disclosure"),
    ]
    return [{"desc": desc, "bundle": bundle, "fails": fails} for desc, bundle, fails in opened]


def without(bundle: dict[str, Any]) -> dict[str, Any]:
    """The same segments opened on a receipt that commits to none."""
    plain = receipts.receipt(receipts.INTENT, receipts.result_fields())[2]
    plain["disclosure"]["segments"] = bundle["disclosure"]["segments"]
    return plain  # type: ignore[no-any-return]


# --- encodings, packing, files ----------------------------------------------------------------------------------------


def encoding_cases() -> list[dict[str, Any]]:
    cases: list[tuple[str, Any, int | None]] = [
        ("rows of K and V", KV, 10),
        ("the default model's", {"kind": "kv", "layers": 30, "k": [8, 204], "v": [8, 204]}, 12240),
        ("the scripted engine's", ENCODING, 2),
        ("the longest row", {"kind": "scripted", "row": 1 << 24}, 1 << 24),
        ("a row that is too long", {"kind": "scripted", "row": (1 << 24) + 1}, None),
        ("no bytes", {"kind": "scripted", "row": 0}, None),
        ("less than none", {"kind": "kv", "layers": 2, "k": [8, -3], "v": [8, 2]}, None),
        ("no layers", {"kind": "kv", "layers": 0, "k": [8, 3], "v": [8, 2]}, None),
        ("an unknown kind", {"kind": "mamba", "row": 2}, None),
        ("no kind", {"row": 2}, None),
        ("a kind that is no text", {"kind": [], "row": 2}, None),
        ("no rows of V", {"kind": "kv", "layers": 2, "k": [8, 3]}, None),
        ("a row of V without its type", {"kind": "kv", "layers": 2, "k": [8, 3], "v": [2]}, None),
        ("a size that is a text", {"kind": "scripted", "row": "two"}, None),
        ("a size that is null", {"kind": "scripted", "row": None}, None),
    ]
    return [{"desc": desc, "encoding": value, "row": row} for desc, value, row in cases]


COMPRESSED = "6360646266616563e7e0e4e2e6e1e5e36740e30300"
ZEROS = "edc13101000000c2a0f54f6d0d0fa" + 117 * "0" + "be0c"
"""DEFLATE of the 32 bytes below, and of 60,000 zeros, as one compressor wrote them."""


def stored(data: bytes, last: bool = True) -> bytes:
    """DEFLATE's form of what is not compressed."""
    return bytes([last]) + len(data).to_bytes(2, "little") + (0xFFFF - len(data)).to_bytes(2, "little") + data


def pack_cases() -> list[dict[str, Any]]:
    plain = bytes(range(16)) * 2
    whole = stored(plain)
    assert zlib.decompress(bytes.fromhex(COMPRESSED), -15) == plain
    cases: list[tuple[str, bytes, int, bool]] = [
        ("compressed", bytes.fromhex(COMPRESSED), 32, True),
        ("stored", whole, 32, True),
        ("in two blocks", stored(plain[:9], False) + stored(plain[9:]), 32, True),
        ("with an empty block", stored(plain, False) + stored(b""), 32, True),
        ("nothing", stored(b""), 0, True),
        ("a byte too few", stored(plain[:-1]), 32, False),
        ("a byte too many", stored(plain + b"\0"), 32, False),
        ("sixty thousand bytes", bytes.fromhex(ZEROS), 32, False),
        ("cut short", whole[:-1], 32, False),
        ("without an end", stored(plain, False), 32, False),
        ("with something after it", whole + b"\0", 32, False),
        ("the same twice", whole * 2, 64, False),
        ("no bytes at all", b"", 32, False),
        ("an unknown block", b"\x07", 32, False),
        ("in zlib's wrapping", b"\x78\x01" + whole + zlib.adler32(plain).to_bytes(4, "big"), 32, False),
        ("in gzip's wrapping", b"\x1f\x8b\x08" + bytes(6) + b"\xff" + whole + bytes(8), 32, False),
    ]
    return [
        {"desc": desc, "packed": data.hex(), "size": size, "rows": plain[:size].hex() if good else None}
        for desc, data, size, good in cases
    ]


def file_of(header: Any, *chunks: bytes) -> bytes:
    text = header if isinstance(header, bytes) else jcs(header)
    return b"verity-states/v1\n" + text + b"\n" + b"".join(chunks)


def file_cases() -> list[dict[str, Any]]:
    own, a, b = receipts.ID.hex(), b"first\n", b"second"
    header = {"lengths": [6, 6], "receipt": own}
    good = file_of(header, a, b)
    cases: list[tuple[str, bytes, list[bytes] | None]] = [
        ("two chunks", good, [a, b]),
        ("no chunks", file_of({"lengths": [], "receipt": own}), []),
        ("white space in the header", file_of(json.dumps(header).encode(), a, b), [a, b]),
        ("of another receipt", file_of(header | {"receipt": "0" * 32}, a, b), None),
        ("a receipt's id that is too short", file_of(header | {"receipt": own[:-2]}, a, b), None),
        ("a chunk too few", file_of(header, a), None),
        ("a chunk too many", file_of(header, a, b, b), None),
        ("a byte too few", good[:-1], None),
        ("a byte too many", good + b"\0", None),
        ("an empty chunk", file_of(header | {"lengths": [6, 0, 6]}, a, b), None),
        ("a length below nothing", file_of(header | {"lengths": [18, -6]}, a, b, b), None),
        ("a length that is no integer", file_of(header | {"lengths": [6.5, 5.5]}, a, b), None),
        ("a length that is true", file_of(header | {"lengths": [True, 11]}, a, b), None),
        ("a length beyond all", file_of(header | {"lengths": [6, 2**53 - 1]}, a, b), None),
        ("an unknown member", file_of(header | {"more": 1}, a, b), None),
        ("a member that stands twice", file_of(b'{"lengths":[12],"lengths":[6,6],"receipt":"%s"}' % own.encode(), a, b),
         None),
        ("no header", b"verity-states/v1\n", None),
        ("a header without its end", b"verity-states/v1\n" + jcs(header), None),
        ("another version", good.replace(b"v1", b"v2", 1), None),
        ("nothing", b"", None),
        ("a bundle", b'{"receipt":{}}', None),
    ]  # fmt: skip
    return [
        {"desc": desc, "file": data.hex(), "chunks": None if chunks is None else [c.hex() for c in chunks]}
        for desc, data, chunks in cases
    ]


def vectors() -> dict[str, Any]:
    made, bundle = receipt([NO_GRAMMAR] * 3)
    cuts = bounds(4, 10)
    return {
        "about": "Cases for spec/segments.md. Made by tests/statements/make_segment_vectors.py. Bytes are in "
        "hexadecimal, but inside JSON of the format. The receipt is that of receipt.json, with segments.",
        "receipt_id": receipts.ID.hex(),
        "secret": receipts.SECRET.hex(),
        "encoding": ENCODING,
        "size": SIZE,
        "prompt": PROMPT,
        "output": OUTPUT,
        "chunks": [rows(leaf["start"], leaf["end"]).hex() for leaf in made],
        "leaves": made,
        "root": receipts.root([bytes.fromhex(leaf["leaf"]) for leaf in made]).hex(),
        "kv": {
            "encoding": KV,
            "size": 4,
            "chunks": [kv_rows(start, end).hex() for start, end in cuts],
            "states": [state.hex() for state in chain(KV, cuts, kv_rows)],
        },
        "grammar": [
            {"vocabulary": vocabulary, "allowed": allowed, "digest": grammar_digest(allowed, vocabulary).hex()}
            for vocabulary, allowed in ((10, [0, 3, 9]), (16, [15]), (17, []))
        ],
        "bundle": bundle,
        "encoding_cases": encoding_cases(),
        "pack_cases": pack_cases(),
        "file_cases": file_cases(),
        "bundle_cases": bundle_cases(bundle),
        "liar_cases": liar_cases(),
    }


def main() -> None:
    (Path(sys.argv[1]) / "segments.json").write_text(json.dumps(vectors(), indent=1) + "\n")


if __name__ == "__main__":
    main()
