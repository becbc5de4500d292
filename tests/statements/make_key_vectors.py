"""Write the test vectors of key events: `python tests/statements/make_key_vectors.py spec/vectors`.

It shares no code with verity: spec/keys.md, once more, from hashes, JSON, base64 and Ed25519.
"""

from __future__ import annotations

import base64
import copy
import datetime
import hashlib
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEEDS = {
    "device": "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",  # RFC 8032, section 7.1, TEST 1
    "successor": "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",  # TEST 2
    "recovery": "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",  # TEST 3
    "thief": "11" * 32,
    "second": "22" * 32,
    "spare": "33" * 32,
}
KEYS = {name: Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)) for name, seed in SEEDS.items()}
NAMES = {name: key.public_key().public_bytes_raw().hex() for name, key in KEYS.items()}
TYPE = "application/vnd.in-toto+json"
TIME = "2026-11-27T12:00:00Z"
ORIGIN = f"verity/{NAMES['device']}/0"
ID, SALT = bytes(range(0x70, 0x80)), bytes(range(0x80, 0x90))


def jcs(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pae(payload: bytes) -> bytes:
    return b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload)


def sealed(payload: bytes, *signers: str) -> dict[str, Any]:
    signatures = [{"keyid": NAMES[name], "sig": b64(KEYS[name].sign(pae(payload)))} for name in signers]
    signatures.sort(key=lambda signature: signature["keyid"])
    return {"payload": b64(payload), "payloadType": TYPE, "signatures": signatures}


def statement(kind: str, predicate: dict[str, Any], key: str = "device") -> dict[str, Any]:
    digest = hashlib.sha256(bytes.fromhex(NAMES[key])).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": predicate,
        "predicateType": f"verity:{kind}/v1",
        "subject": [{"name": f"verity:key:{NAMES[key]}", "digest": {"sha256": digest}}],
    }


def recovery(named: str = "recovery", key: str = "device") -> dict[str, Any]:
    return statement("recovery", {"recovery": NAMES[named], "time": TIME}, key)


def succession(to: str = "successor", key: str = "device", closed: Any = None) -> dict[str, Any]:
    return statement("succession", {"previous_log": closed, "successor": NAMES[to], "time": TIME}, key)


def revocation(since: str, key: str = "device") -> dict[str, Any]:
    return statement("key-revocation", {"reason": "the laptop was stolen", "since": since, "time": TIME}, key)


# --- a log that names an event ----------------------------------------------------------------------------------------


def root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = split(len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:])).digest()


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    half = split(len(leaves))
    if index < half:
        return [*path(index, leaves[:half]), root(leaves[half:])]
    return [*path(index - half, leaves[half:]), root(leaves[:half])]


def split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


BEFORE = [leaf(hashlib.sha256(b"entry %d" % n).digest()) for n in range(3)]
"""Leaves of whatever the device logged before."""
CLOSED = {"origin": ORIGIN, "root": root(BEFORE).hex(), "size": 3}


def note(origin: str, leaves: list[bytes], key: str) -> str:
    body = f"{origin}\n{len(leaves)}\n{b64(root(leaves))}\n"
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + bytes.fromhex(NAMES[key])).digest()[:4]
    return f"{body}\n— {origin} {b64(key_id + KEYS[key].sign(body.encode()))}\n"


def in_log(event: dict[str, Any], key: str = "device", after: int = 0) -> dict[str, Any]:
    """The event, and that the key's log names it as entry 3, with ``after`` more entries behind."""
    payload = base64.b64decode(event["payload"])
    kind = json.loads(payload)["predicateType"]
    origin = f"verity/{NAMES[key]}/0"
    fields = {"event": {"sha256": hashlib.sha256(payload).hexdigest(), "type": kind}, "time/started": TIME}
    named = jcs(named_statement(fields, origin))
    envelope = sealed(named, key)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    digest = hashlib.sha256(b"verity/envelope/v1\x00" + pae(named) + bytes.fromhex(NAMES[key]) + signature).digest()
    leaves = [*BEFORE, leaf(hashlib.sha256(b"verity/entry/v1\x00" + SALT + digest).digest())]
    leaves += [leaf(b"%32d" % n) for n in range(after)]
    proof = {"index": 3, "salt": b64(SALT), "path": [h.hex() for h in path(3, leaves)]}
    return {"event": event, "log": {"checkpoint": note(origin, leaves, key), "proof": proof, "statement": envelope}}


def named_statement(fields: dict[str, Any], origin: str) -> dict[str, Any]:
    shown, hasher = [], hashlib.sha256(b"verity/fields/v1\x00" + ID)
    for name, value in sorted(fields.items()):
        framed = struct.pack(">H", len(name)) + name.encode()
        salt = hashlib.sha256(name.encode()).digest()[:16]
        hasher.update(framed + hashlib.sha256(b"verity/commitment/v1\x00" + ID + framed + salt + jcs(value)).digest())
        shown.append({"field": name, "salt": b64(salt), "value": value})
    place = {"origin": origin, "index": 3, "previous": BEFORE[-1].hex()}
    kind = fields["event"]["type"].split("/")[0].rpartition("-")[2].rpartition(":")[2]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {"id": ID.hex(), "kind": kind, "log": place, "shown": shown},
        "predicateType": "verity:key-event/v1",
        "subject": [{"name": f"verity:fields:{ID.hex()}", "digest": {"sha256": hasher.hexdigest()}}],
    }


# --- reading ----------------------------------------------------------------------------------------------------------

NAMING = in_log(sealed(jcs(recovery()), "device", "recovery"))
PASSED_ON = in_log(sealed(jcs(succession(closed=CLOSED)), "device", "successor"))
RECOVERED = {"event": sealed(jcs(succession()), "recovery", "successor")}
REVOKED = {"event": sealed(jcs(revocation("2026-11-20T00:00:00Z")), "device")}


def edited(signed: dict[str, Any], edit: Callable[[Any], None]) -> dict[str, Any]:
    changed = copy.deepcopy(signed)
    edit(changed)
    return changed


def said(kind: dict[str, Any], edit: Callable[[Any], None], *signers: str) -> dict[str, Any]:
    """An event that is edited and then signed all the same."""
    return {"event": sealed(jcs(edited(kind, edit)), *signers)}


def flipped(signed: dict[str, Any]) -> dict[str, Any]:
    def flip(s: Any) -> None:
        signature = bytearray(base64.b64decode(s["event"]["signatures"][0]["sig"]))
        signature[40] ^= 1
        s["event"]["signatures"][0]["sig"] = b64(bytes(signature))

    return edited(signed, flip)


REVOKING = revocation("2026-11-20T00:00:00Z")
READING: list[tuple[str, dict[str, Any], str | None]] = [
    ("a recovery key, named in the log", NAMING, None),
    ("a succession, the last entry of the log that it closes", PASSED_ON, None),
    ("a succession by the recovery key, in no log", RECOVERED, None),
    ("a revocation by the key itself, in no log", REVOKED, None),
    ("a revocation by the recovery key", {"event": sealed(jcs(REVOKING), "recovery")}, None),
    (
        "a recovery key that replaces an earlier one",
        in_log(sealed(jcs(recovery("spare")), "device", "recovery", "spare")),
        None,
    ),
    ("a signature with a flipped bit", flipped(REVOKED), "SignatureError"),
    (
        "another payload under the signatures",
        edited(REVOKED, lambda s: s["event"].update(payload=b64(jcs(recovery())))),
        "SignatureError",
    ),
    ("a recovery key that did not agree", in_log(sealed(jcs(recovery()), "device")), "FormatError"),
    ("a recovery key named by a stranger", {"event": sealed(jcs(recovery()), "recovery", "thief")}, "FormatError"),
    ("a successor who did not agree", in_log(sealed(jcs(succession(closed=CLOSED)), "device")), "FormatError"),
    ("a successor by his own word", {"event": sealed(jcs(succession()), "successor")}, "FormatError"),
    ("a recovery key that the log is not shown to name", {"event": NAMING["event"]}, "LogError"),
    ("a succession that the log is not shown to name", {"event": PASSED_ON["event"]}, "LogError"),
    ("a succession after which the log goes on", in_log(PASSED_ON["event"], after=1), "LogError"),
    (
        "a succession that names another end of the log",
        in_log(sealed(jcs(succession(closed={**CLOSED, "size": 2})), "device", "successor")),
        "LogError",
    ),
    (
        "a succession by the key itself that names no log",
        in_log(sealed(jcs(succession()), "device", "successor")),
        "LogError",
    ),
    ("a succession in the successor's log only", in_log(PASSED_ON["event"], "successor"), "SignatureError"),
    ("a log that names another event", {**PASSED_ON, "log": NAMING["log"]}, "LogError"),
    ("a proof for another place", edited(NAMING, lambda s: s["log"]["proof"].update(index=2)), "LogError"),
    (
        "a key that succeeds itself",
        said(succession("device", closed=CLOSED), lambda s: None, "device", "recovery"),
        "FormatError",
    ),
    (
        "another key's log",
        said(
            succession(closed={**CLOSED, "origin": f"verity/{NAMES['thief']}/0"}), lambda s: None, "device", "successor"
        ),
        "FormatError",
    ),
    (
        "a time that is none",
        said(REVOKING, lambda s: s["predicate"].update(since="2026-13-01T00:00:00Z"), "device"),
        "FormatError",
    ),
    (
        "a time with a fraction",
        said(REVOKING, lambda s: s["predicate"].update(since="2026-11-20T00:00:00.5Z"), "device"),
        "FormatError",
    ),
    ("no reason", said(REVOKING, lambda s: s["predicate"].update(reason=""), "device"), "FormatError"),
    (
        "a reason of 501 characters",
        said(REVOKING, lambda s: s["predicate"].update(reason="x" * 501), "device"),
        "FormatError",
    ),
    ("a member too many", said(REVOKING, lambda s: s["predicate"].update(also=1), "device"), "FormatError"),
    (
        "an unknown kind",
        said(REVOKING, lambda s: s.update(predicateType="verity:key-blessing/v1"), "device"),
        "FormatError",
    ),
    (
        "a subject that is not the key's digest",
        said(REVOKING, lambda s: s["subject"][0]["digest"].update(sha256="00" * 32), "device"),
        "FormatError",
    ),
    ("two keys at once", said(REVOKING, lambda s: s["subject"].append(s["subject"][0]), "device"), "FormatError"),
    ("not canonical JSON", {"event": sealed(json.dumps(REVOKING).encode(), "device")}, "FormatError"),
    ("no signature", {"event": sealed(jcs(REVOKING))}, "FormatError"),
    (
        "one signature twice",
        edited(REVOKED, lambda s: s["event"].update(signatures=2 * s["event"]["signatures"])),
        "FormatError",
    ),
    ("four signatures", {"event": sealed(jcs(REVOKING), "device", "recovery", "spare", "thief")}, "FormatError"),
    ("signatures out of order", edited(NAMING, lambda s: s["event"]["signatures"].reverse()), "FormatError"),
]


# --- what they mean ---------------------------------------------------------------------------------------------------


def seconds(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp())


THEFT = "2026-11-20T00:00:00Z"
T = seconds(THEFT)
EVENTS: dict[str, dict[str, Any]] = {
    "naming": NAMING,
    "thief's naming": in_log(sealed(jcs(recovery("thief")), "device", "thief")),
    "replacement": in_log(sealed(jcs(recovery("spare")), "device", "recovery", "spare")),
    "succession": PASSED_ON,
    "thief's succession": in_log(sealed(jcs(succession("thief", closed=CLOSED)), "device", "thief")),
    "recovered": RECOVERED,
    "second succession": {"event": sealed(jcs(succession("second", "successor")), "spare", "second")},
    "spare naming": in_log(sealed(jcs(recovery("spare", "successor")), "successor", "spare"), "successor"),
    "revocation": {"event": sealed(jcs(revocation(THEFT)), "device")},
    "recovery's revocation": {"event": sealed(jcs(revocation(THEFT)), "recovery")},
    "earlier revocation": {"event": sealed(jcs(revocation("2026-11-10T00:00:00Z")), "recovery")},
    "stranger's revocation": {"event": sealed(jcs(revocation("2026-11-01T00:00:00Z")), "thief")},
}
NOBODY: dict[str, Any] = {"since": None, "recovery": None, "successors": [], "heirs": ["device"]}
TO_SUCCESSOR = {"successors": ["successor"], "heirs": ["device", "successor"]}


def receipt(status: str, last: int, size: int, seen: int | None = None, epoch: int = 0, other: bool = False) -> Any:
    leaves = (BEFORE * 3)[:size]
    proven = PASSED_ON["log"]["checkpoint"].split("\n")[2]  # of four entries
    head = proven if size == 4 else b64(root(leaves))
    at = {"origin": f"verity/{NAMES['device']}/{epoch}", "size": size}
    return {"head": {**at, "root": b64(bytes(32)) if other else head}, "last": last, "seen": seen, "status": status}


def case(desc: str, known: list[tuple[str, int | None]], *receipts: Any, **expected: Any) -> dict[str, Any]:
    told = {**NOBODY, **expected}
    who = {
        "since": told["since"],
        "recovery": NAMES[told["recovery"]] if told["recovery"] else None,
        "successors": sorted(NAMES[name] for name in told["successors"]),
        "heirs": [NAMES[name] for name in told["heirs"]],
    }
    return {"desc": desc, "known": [{"event": name, "by": by} for name, by in known], **who, "receipts": list(receipts)}


MEANING = [
    case("nothing is known", [], receipt("not made", 2, 3)),
    case("a revocation", [("revocation", T + 9)], receipt("failed", 2, 3), receipt("passed", 2, 3, T - 1),
         receipt("failed", 2, 3, T), receipt("failed", 2, 3, T + 1), since=T),
    case("the earliest counts", [("naming", None), ("revocation", None), ("earlier revocation", None)],
         receipt("failed", 2, 3, T - 1), since=seconds("2026-11-10T00:00:00Z")),
    case("of a stranger's word there is nothing", [("stranger's revocation", T)], receipt("not made", 2, 3)),
    case("a recovery key that nobody named is a stranger's", [("earlier revocation", T)], receipt("not made", 2, 3)),
    case("a succession", [("succession", T)], receipt("passed", 2, 3), receipt("passed", 2, 4), receipt("passed", 1, 2),
         receipt("failed", 2, 3, other=True), receipt("failed", 2, 4, other=True), receipt("failed", 3, 4),
         receipt("failed", 2, 5), receipt("failed", 5, 6, T - 9), receipt("failed", 0, 1, epoch=7), **TO_SUCCESSOR),
    case("two that contradict", [("succession", T), ("thief's succession", T + 9)], receipt("failed", 2, 3, T - 1),
         successors=["successor", "thief"]),
    case("the recovery key's wins", [("naming", T), ("thief's succession", T), ("recovered", None)],
         receipt("not made", 2, 3), recovery="recovery", **TO_SUCCESSOR),
    case("a log whose end is not known", [("naming", T), ("recovered", T + 5)], receipt("passed", 2, 3, T + 4),
         receipt("failed", 2, 3, T + 5), receipt("not made", 2, 3), recovery="recovery", **TO_SUCCESSOR),
    case("a succession before the theft", [("succession", T - 1), ("revocation", None)], receipt("passed", 2, 3, T - 2),
         receipt("failed", 2, 3), since=T, **TO_SUCCESSOR),
    case("a succession that nobody dates before the theft", [("succession", None), ("revocation", None)], since=T),
    case("a succession after the theft", [("thief's succession", T), ("revocation", None)], since=T),
    case("the recovery key after the theft", [("naming", T - 1), ("revocation", T + 1), ("recovered", T + 2)], since=T,
         recovery="recovery", **TO_SUCCESSOR),
    case("a recovery key that nobody dates before the theft",
         [("naming", None), ("revocation", None), ("recovered", T)], since=T),
    case("its own word decides nothing between two", [("succession", T - 1), ("thief's succession", T),
         ("revocation", None)], since=T, successors=["successor", "thief"]),
    case("the recovery key's does", [("naming", T - 2), ("succession", T - 1), ("thief's succession", T),
         ("recovery's revocation", None)], since=T, recovery="recovery", **TO_SUCCESSOR),
    case("the first one named counts", [("thief's naming", T), ("naming", T - 1)], recovery="recovery"),
    case("of two that nobody dates neither counts", [("thief's naming", None), ("naming", None)]),
    case("one that the first one signed takes its place", [("replacement", None), ("naming", None)], recovery="spare"),
    case("the one before speaks no more", [("replacement", T), ("naming", T), ("recovered", T)], recovery="spare"),
    case("a chain", [("succession", T), ("spare naming", T), ("second succession", T)], successors=["successor"],
         heirs=["device", "successor", "second"]),
]  # fmt: skip


def main() -> None:
    vectors = {
        "seeds": SEEDS,
        "keys": NAMES,
        "canonical": jcs(REVOKING).decode(),
        "reading": [{"desc": desc, "signed": signed, "error": error} for desc, signed, error in READING],
        "events": EVENTS,
        "key": NAMES["device"],
        "meaning": MEANING,
    }
    (Path(sys.argv[1]) / "keys.json").write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
