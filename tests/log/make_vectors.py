"""Write the log's test vectors: `python tests/log/make_vectors.py spec/vectors`.

It shares no code with verity. In merkle.json, trees and proofs are the recursive definitions of RFC 9162, sections
2.1.1, 2.1.3.1 and 2.1.4.1, over data in lists, and what is wrong with a case is known because it was made wrong here.
In checkpoint.json, notes are put together as text, with the key of RFC 8032, section 7.1, TEST 1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# The leaves of Certificate Transparency's reference tests.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
D = [bytes.fromhex(leaf) for leaf in LEAVES]
OTHER = hashlib.sha256(b"a hash of nothing in these trees").digest()
EMPTY = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def mth(d: list[bytes]) -> bytes:
    if not d:
        return EMPTY
    if len(d) == 1:
        return leaf_hash(d[0])
    k = split(len(d))
    return hashlib.sha256(b"\1" + mth(d[:k]) + mth(d[k:])).digest()


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    return [*path(m, d[:k]), mth(d[k:])] if m < k else [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
    if m == len(d):
        return [] if b else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def flipped(proof: list[bytes], at: int) -> list[bytes]:
    digest = bytearray(proof[at])
    digest[at * 5 % 32] ^= 1 << at % 8
    return [*proof[:at], bytes(digest), *proof[at + 1 :]]


def wrong_proofs(proof: list[bytes], roots: list[bytes]) -> list[tuple[str, list[bytes]]]:
    wrong = [(f"modified proof[{at}]", flipped(proof, at)) for at in range(len(proof))]
    wrong += [(f"removed component {at}", proof[:at] + proof[at + 1 :]) for at in range(len(proof))]
    wrong += [(f"inserted component {at}", [*proof[:at], OTHER, *proof[at:]]) for at in range(1, len(proof))]
    wrong += [("trailing garbage", [*proof, OTHER]), ("trailing empty hash", [*proof, b""])]
    wrong += [("preceding garbage", [OTHER, *proof]), ("preceding empty hash", [b"", *proof])]
    wrong += [(f"trailing root {at + 1}", [*proof, root]) for at, root in enumerate(roots)]
    wrong += [(f"preceding root {at + 1}", [root, *proof]) for at, root in enumerate(roots)]
    if proof:
        wrong += [("empty proof", []), ("truncated hash", [*proof[:-1], proof[-1][:-1]])]
        wrong += [("overlong hash", [*proof[:-1], proof[-1] + b"\0"])]
    if len(proof) > 1 and proof != proof[::-1]:
        wrong.append(("reversed proof", proof[::-1]))
    return wrong


def inclusion(index: int, size: int, all_wrong: bool) -> list[dict[str, Any]]:
    proof = path(index, D[:size])
    right = {
        "leafIdx": index,
        "treeSize": size,
        "root": mth(D[:size]),
        "leafHash": leaf_hash(D[index]),
        "proof": proof,
    }
    cases = [case(right, "happy path", False)]
    if all_wrong:
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("leafIdx - 1", {"leafIdx": index - 1}),
            ("leafIdx + 1", {"leafIdx": index + 1}),
            ("leafIdx XOR 2", {"leafIdx": index ^ 2}),
            ("treeSize * 2", {"treeSize": size * 2}),
            ("treeSize / 2", {"treeSize": size // 2}),
            ("treeSize 0", {"treeSize": 0}),
            ("wrong leaf", {"leafHash": OTHER}),
            ("empty leaf", {"leafHash": b""}),
            ("wrong root", {"root": OTHER}),
            ("empty root", {"root": b""}),
            ("root of the empty tree", {"root": EMPTY}),
        ]
        wrong += [(desc, {"proof": proof}) for desc, proof in wrong_proofs(proof, [mth(D[:size])])]
        cases += [case({**right, **change}, desc, True) for desc, change in wrong]
    return cases


def consistency(old: int, new: int, all_wrong: bool) -> list[dict[str, Any]]:
    roots = [mth(D[:old]), mth(D[:new])]
    proof = subproof(old, D[:new], True)
    right = {"size1": old, "size2": new, "root1": roots[0], "root2": roots[1], "proof": proof}
    cases = [case(right, "happy path", False)]
    if all_wrong:
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("size1 - 1", {"size1": old - 1}),
            ("size1 + 1", {"size1": old + 1}),
            ("size1 XOR 2", {"size1": old ^ 2}),
            ("size2 * 2", {"size2": new * 2}),
            ("size2 / 2", {"size2": new // 2}),
            ("wrong root1", {"root1": OTHER}),
            ("wrong root2", {"root2": OTHER}),
            ("empty root1", {"root1": b""}),
            ("empty root2", {"root2": b""}),
            ("swapped roots", {"root1": roots[1], "root2": roots[0]}),
            ("swapped sizes", {"size1": new, "size2": old}),
        ]
        wrong += [(desc, {"proof": changed}) for desc, changed in wrong_proofs(proof, roots)]
        cases += [case({**right, **change}, desc, True) for desc, change in wrong]
    return cases


def edges() -> list[dict[str, Any]]:
    """Sizes that are equal or zero."""
    one, two = mth(D[:1]), mth(D[:2])
    table: list[tuple[int, int, bytes, bytes, list[bytes], str, bool]] = [
        (0, 0, EMPTY, EMPTY, [], "sizes are zero, proof is empty", False),
        (0, 1, EMPTY, one, [], "size1 is zero, proof is empty", False),
        (0, 0, one, one, [], "sizes are zero, roots are of another tree", True),
        (0, 0, EMPTY, one, [], "sizes are zero, roots differ", True),
        (0, 0, EMPTY, EMPTY, [OTHER], "sizes are zero, proof is not empty", True),
        (0, 1, EMPTY, one, [one], "size1 is zero, proof is not empty", True),
        (0, 1, OTHER, one, [], "size1 is zero, root1 is not of the empty tree", True),
        (0, 1, b"", one, [], "size1 is zero, root1 is empty", True),
        (1, 1, two, two, [], "sizes are one, proof is empty", False),
        (1, 1, one, two, [], "sizes are one, roots differ", True),
        (1, 1, one, one, [OTHER], "sizes are one, proof is not empty", True),
        (1, 0, one, EMPTY, [], "size1 is greater than size2", True),
        (2, 1, two, one, [one], "size1 is greater than size2", True),
        (1, 2, one, two, [], "sizes differ, proof is empty", True),
        (1, 2, one, one, [], "sizes differ, roots do not, proof is empty", True),
    ]
    names = ("size1", "size2", "root1", "root2", "proof")
    return [case(dict(zip(names, row[:5], strict=True)), row[5], row[6]) for row in table]


def case(fields: dict[str, Any], desc: str, wrong: bool) -> dict[str, Any]:
    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(item) for item in value]
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value

    return {name: text(value) for name, value in fields.items()} | {"desc": desc, "wantErr": wrong}


def merkle() -> dict[str, Any]:
    thorough = [(0, 1), (0, 2), (1, 3), (2, 3), (4, 5), (0, 8), (5, 8), (2, 7)]
    sizes = range(1, len(D) + 1)
    inclusions = [one for n in sizes for m in range(n) for one in inclusion(m, n, (m, n) in thorough)]
    steps = [(1, 2), (2, 3), (3, 4), (1, 8), (6, 8), (2, 5), (6, 7), (4, 8)]
    consistencies = [one for n in sizes for m in range(1, n + 1) for one in consistency(m, n, (m, n) in steps)]
    return {
        "about": "Cases for spec/log.md. Made by tests/log/make_vectors.py; hashes in base64.",
        "leaves": LEAVES,
        "roots": [base64.b64encode(mth(D[:n])).decode() for n in range(len(D) + 1)],
        "inclusion": inclusions,
        "consistency": consistencies + edges(),
    }


KEY = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
PUBLIC = KEY.public_key().public_bytes_raw()
ORIGIN = f"verity/{PUBLIC.hex()}/0"
ROOT = base64.b64encode(mth(D)).decode()


def line(name: str, kind: bytes, public: bytes, signature: bytes) -> str:
    key_id = hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]
    return f"\u2014 {name} {base64.b64encode(key_id + signature).decode()}\n"


def own(body: str, name: str = ORIGIN) -> str:
    return line(name, b"\x01", PUBLIC, KEY.sign(body.encode()))


def note(origin: str = ORIGIN, size: str = "8", root: str = ROOT, more: str = "") -> str:
    """A note with a good signature over whatever body these make."""
    body = f"{origin}\n{size}\n{root}\n{more}"
    return f"{body}\n{own(body, origin)}"


def checkpoint() -> dict[str, Any]:
    good = note()
    body, _, signature = good.rpartition("\n\n")
    witness = line("witness.example/w", b"\x04", bytes(32), bytes(72))
    stranger = line("other", b"\x01", bytes(32), bytes(64))
    loose = ROOT[:-2] + chr(ord(ROOT[-2]) + 1) + "="
    form, signed = "FormatError", "SignatureError"
    rows: list[tuple[str, str, str | None]] = [
        ("as written", good, None),
        ("an empty log", note(size="0", root=base64.b64encode(EMPTY).decode()), None),
        ("the largest size", note(size=str(2**63 - 1)), None),
        ("an origin of another shape", note("example.org/log-\u00e9"), None),
        ("with a cosignature of a witness", good + witness, None),
        ("the log's signature comes last", f"{body}\n\n{witness}{stranger}{signature}", None),
        ("sixteen signature lines", good + "".join(witness.replace("/w", f"/{at}") for at in range(15)), None),
        ("seventeen signature lines", good + "".join(witness.replace("/w", f"/{at}") for at in range(16)), form),
        ("two lines of one key", good + signature, form),
        ("empty", "", form),
        ("no signature", body + "\n\n", form),
        ("no empty line", body + "\n" + signature, form),
        ("the last newline is missing", good[:-1], form),
        ("a line after the signatures", good + "\n", form),
        ("lines end in CR LF", good.replace("\n", "\r\n"), form),
        ("an extension line", note(more="extension\n"), form),
        ("no origin", note(""), form),
        ("a space in the origin", note("a b"), form),
        ("a no-break space in the origin", note("a\u00a0b"), form),
        ("a plus sign in the origin", note("a+b"), form),
        ("a control character in the origin", note("a\x7fb"), form),
        ("a scheme in the origin", note("https://example.org/log"), form),
        ("a leading zero in the size", note(size="08"), form),
        ("a sign before the size", note(size="+8"), form),
        ("a negative size", note(size="-1"), form),
        ("an empty size", note(size=""), form),
        ("a space after the size", note(size="8 "), form),
        ("digits that are not ASCII", note(size="\u0668"), form),
        ("a size of 2^63", note(size=str(2**63)), form),
        ("a size of 21 digits", note(size="1" * 21), form),
        ("a root of 31 bytes", note(root=base64.b64encode(bytes(31)).decode()), form),
        ("a root of 33 bytes", note(root=base64.b64encode(bytes(33)).decode()), form),
        ("a root without padding", note(root=ROOT[:-1]), form),
        ("a root with unused bits set", note(root=loose), form),
        ("a root in the URL alphabet", note(root=ROOT.replace("+", "-").replace("/", "_")), form),
        ("a hyphen for the dash", good.replace("\u2014", "-"), form),
        ("a signature line without a name", good.replace(f"\u2014 {ORIGIN} ", "\u2014 "), form),
        ("two spaces before the signature", good.replace(f"\u2014 {ORIGIN} ", f"\u2014 {ORIGIN}  "), form),
        ("an unknown line that is not base64", good + "\u2014 other !!!!\n", form),
        ("an unknown line of four bytes", good + "\u2014 other AAAAAA==\n", form),
        ("an unknown line without a dash", good + "other AAAAAAA=\n", form),
        ("signed by nobody known", f"{body}\n\n{stranger}", signed),
        ("signed under another key name", f"{body}\n\n{own(body + chr(10), 'other')}", signed),
        ("signed over another size", good.replace("\n8\n", "\n9\n"), signed),
        ("signed over the body without its last newline", f"{body}\n\n{own(body)}", signed),
        ("a signature of 63 bytes", f"{body}\n\n{line(ORIGIN, bytes([1]), PUBLIC, bytes(63))}", signed),
        ("the key id of a cosignature", f"{body}\n\n{line(ORIGIN, bytes([4]), PUBLIC, bytes(72))}", signed),
    ]
    return {
        "about": "Cases for spec/log.md. Made by tests/log/make_vectors.py. error: the class of refusal, or null.",
        "seed": KEY.private_bytes_raw().hex(),
        "public": PUBLIC.hex(),
        "example": {"origin": ORIGIN, "size": 8, "root": mth(D).hex(), "note": good},
        "cases": [{"desc": desc, "note": text, "error": error} for desc, text, error in rows],
    }


def main() -> None:
    for name, vectors in (("merkle", merkle()), ("checkpoint", checkpoint())):
        (Path(sys.argv[1]) / f"{name}.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
