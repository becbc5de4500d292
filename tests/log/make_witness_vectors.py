"""Write the witness's test vectors: `python tests/log/make_witness_vectors.py spec/vectors`.

It shares no code with verity. Trees and proofs are the recursive definitions of RFC 9162, sections 2.1.1 and 2.1.4.1,
over data in lists; notes and requests are put together as text. Keys: the log's is that of RFC 8032, section 7.1, TEST
1, the witness's that of TEST 2.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LOG = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
WITNESS = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
)
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
ORIGIN = f"verity/{LOG.public_key().public_bytes_raw().hex()}/0"
NAME = "witness.example/w1"
TIME = 1_800_000_000
HONEST = [b"entry %d" % n for n in range(16)]
FORKED = [*HONEST[:2], *(b"other entry %d" % n for n in range(2, 16))]


def mth(d: list[bytes]) -> bytes:
    if not d:
        return hashlib.sha256(b"").digest()
    if len(d) == 1:
        return hashlib.sha256(b"\0" + d[0]).digest()
    k = split(len(d))
    return hashlib.sha256(b"\1" + mth(d[:k]) + mth(d[k:])).digest()


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
    if m == len(d):
        return [] if b else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def proof(m: int, d: list[bytes]) -> list[bytes]:
    return subproof(m, d, True) if m else []


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def key_id(name: str, kind: int, key: Ed25519PrivateKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key.public_key().public_bytes_raw()).digest()[:4]


def vkey(name: str, kind: int, key: Ed25519PrivateKey) -> str:
    return f"{name}+{key_id(name, kind, key).hex()}+{b64(bytes([kind]) + key.public_key().public_bytes_raw())}"


def body(d: list[bytes], origin: str = ORIGIN) -> str:
    return f"{origin}\n{len(d)}\n{b64(mth(d))}\n"


def signed(text: str, key: Ed25519PrivateKey = LOG, name: str = ORIGIN) -> str:
    return f"{text}\n— {name} {b64(key_id(name, 1, key) + key.sign(text.encode()))}\n"


def head(d: list[bytes]) -> str:
    return signed(body(d))


def cosignature(text: str, time: int, key: Ed25519PrivateKey = WITNESS, name: str = NAME) -> str:
    signature = key.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    return f"— {name} {b64(key_id(name, 4, key) + time.to_bytes(8, 'big') + signature)}\n"


def request(old: int, hashes: list[bytes], note: str) -> str:
    return f"old {old}\n" + "".join(f"{b64(h)}\n" for h in hashes) + "\n" + note


def requests() -> list[dict[str, Any]]:
    """In this order to one witness that knows the log, its clock standing still: each with what it answers."""
    grown = proof(5, HONEST[:9])
    told: list[tuple[str, str, int, str | None]] = [
        ("the first head", request(0, [], head(HONEST[:5])), 200, cosignature(body(HONEST[:5]), TIME)),
        ("the same again", request(5, [], head(HONEST[:5])), 200, cosignature(body(HONEST[:5]), TIME)),
        ("a wrong old size", request(4, proof(4, HONEST[:9]), head(HONEST[:9])), 409, "5\n"),
        ("two roots of one size", request(5, [], head(FORKED[:5])), 409, "5\n"),
        ("another history", request(5, proof(5, FORKED[:9]), head(FORKED[:9])), 422, None),
        ("a missing hash", request(5, grown[:-1], head(HONEST[:9])), 422, None),
        ("a smaller checkpoint", request(5, [], head(HONEST[:4])), 400, None),
        ("a stranger's signature", request(5, grown, signed(body(HONEST[:9]), STRANGER)), 403, None),
        ("an unknown log", request(0, [], signed(body(HONEST[:3], "log.example"), LOG, "log.example")), 404, None),
        ("leading zeros", request(5, grown, head(HONEST[:9])).replace("old 5", "old 05"), 400, None),
        ("no empty line", request(5, grown, head(HONEST[:9])).replace("\n\n", "\n", 1), 400, None),
        ("64 hashes", request(5, [bytes(32)] * 64, head(HONEST[:9])), 400, None),
        ("growth", request(5, grown, head(HONEST[:9])), 200, cosignature(body(HONEST[:9]), TIME)),
    ]
    return [{"desc": d, "request": r, "status": s, "answer": a} for d, r, s, a in told]


def evidence(first: str, second: str, prefix: tuple[bytes, list[bytes]] | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"checkpoints": [first, second]}
    if prefix is not None:
        said["prefix"] = {"root": prefix[0].hex(), "path": [h.hex() for h in prefix[1]]}
    return said


def forks() -> list[dict[str, Any]]:
    """``error``: the class of refusal, or null where it proves a fork."""

    def between(old: int, history: list[bytes], size: int = 9) -> tuple[bytes, list[bytes]]:
        return mth(history[:old]), proof(old, history[:size])

    root, path = between(5, FORKED)
    other = signed(body(FORKED[:5]), STRANGER)
    told: list[tuple[str, dict[str, Any], str | None]] = [
        ("one size, two roots", evidence(head(HONEST[:5]), head(FORKED[:5])), None),
        ("two sizes", evidence(head(HONEST[:5]), head(FORKED[:9]), (root, path)), None),
        ("from a power of two", evidence(head(HONEST[:4]), head(FORKED[:9]), between(4, FORKED)), None),
        ("the same head twice", evidence(head(HONEST[:5]), head(HONEST[:5])), "ProofError"),
        ("a log that only grew", evidence(head(HONEST[:5]), head(HONEST[:9]), between(5, HONEST)), "ProofError"),
        ("a log that only grew, from a power of two",
         evidence(head(HONEST[:4]), head(HONEST[:9]), between(4, HONEST)), "ProofError"),
        ("another root stated",
         evidence(head(HONEST[:5]), head(HONEST[:9]), (root, proof(5, HONEST[:9]))), "ProofError"),
        ("another root stated, at a power of two",
         evidence(head(HONEST[:4]), head(HONEST[:9]), (mth(FORKED[:4]), proof(4, HONEST[:9]))), "ProofError"),
        ("no prefix", evidence(head(HONEST[:5]), head(FORKED[:9])), "ProofError"),
        ("from no entries",
         evidence(signed(f"{ORIGIN}\n0\n{b64(bytes(32))}\n"), head(FORKED[:9]), (mth([]), [])), "ProofError"),
        ("a stranger signed one", evidence(head(HONEST[:5]), other), "SignatureError"),
        ("two logs", evidence(head(HONEST[:5]), signed(body(FORKED[:5], ORIGIN[:-1] + "1"), LOG, ORIGIN[:-1] + "1")),
         "SignatureError"),
        ("the larger first", evidence(head(FORKED[:9]), head(HONEST[:5]), (root, path)), "FormatError"),
        ("a prefix between equal sizes", evidence(head(HONEST[:5]), head(FORKED[:5]), (root, [])), "FormatError"),
        ("a short hash", evidence(head(HONEST[:5]), head(FORKED[:9]), (root[:-1], path)), "FormatError"),
        ("one head", {"checkpoints": [head(HONEST[:5])]}, "FormatError"),
        ("an unknown member", {**evidence(head(HONEST[:5]), head(FORKED[:5])), "by": "me"}, "FormatError"),
    ]  # fmt: skip
    return [{"desc": desc, "fork": fork, "error": error} for desc, fork, error in told]


def main(folder: Path) -> None:
    example = body(HONEST[:5])
    line = cosignature(example, TIME)
    vectors = {
        "about": "Cases for spec/witness.md. Made by tests/log/make_witness_vectors.py.",
        "log": {"origin": ORIGIN, "vkey": vkey(ORIGIN, 1, LOG)},
        "cosignature": {
            "name": NAME,
            "public": WITNESS.public_key().public_bytes_raw().hex(),
            "private": WITNESS.private_bytes_raw().hex(),
            "vkey": vkey(NAME, 4, WITNESS),
            "time": TIME,
            "body": example,
            "line": line,
            "note": signed(example) + line,
        },
        "requests": requests(),
        "forks": forks(),
    }
    (folder / "witness.json").write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
