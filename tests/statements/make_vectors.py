"""Write the receipt's test vectors: `python tests/statements/make_vectors.py spec/vectors`.

It shares no code with verity: spec/receipt.md, once more, from hashes, HMAC, JSON, base64 and Ed25519. Keys sort and
numbers print here as RFC 8785 wants because all keys are ASCII and all numbers are small.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
PUBLIC = KEY.public_key().public_bytes_raw()
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
ORIGIN = f"verity/{PUBLIC.hex()}/0"
ID = bytes(range(0xA0, 0xB0))
SECRET = bytes(range(32))
NONCE = bytes(range(0x40, 0x60))
ENTRY_SALTS = {"intent": bytes(range(0x10, 0x20)), "result": bytes(range(0x20, 0x30))}
FIRST_ENTRY = hashlib.sha256(b"an entry before the intent").digest()
TYPE = "application/vnd.in-toto+json"
FORM, SIGNED = "FormatError", "SignatureError"


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def made_up(name: str) -> str:
    """A digest that stands for a file's."""
    return sha256(name.encode()).hex()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def jcs(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# --- what is committed ------------------------------------------------------------------------------------------------

# "\u202f" is three bytes in UTF-8, and two tokens share it.
PIECES = [b"Blue", b" light", b" (", b"450", b"\xe2\x80", b"\xafnm", b")", b" scatters", b" most", b".", b"\n"]
TOKENS = [(17000 + 13 * index, piece) for index, piece in enumerate(PIECES)]

INTENT: dict[str, Any] = {
    "adapters": [],
    "batch": None,
    "choice": {"index": 0, "of": 1},
    "context": {"size": 4096, "flash_attention": True, "kv_cache": "q8_0", "rope": "as in the model"},
    "engine": {"name": "llama.cpp", "version": "llama-cpp-python 0.3.36", "library": made_up("library")},
    "grammar": None,
    "inputs/0000": {"type": "text", "role": "system", "content": "Answer in one sentence."},
    "inputs/0001": {"type": "text", "role": "user", "content": "Why is the sky blue?"},
    "limits/max_tokens": 256,
    "limits/stops": ["\n"],
    "model": {"name": "example", "blake3": made_up("model, BLAKE3"), "sha256": made_up("model"), "size": 98362432},
    "nonce": {"hex": NONCE.hex(), "chosen_by": "caller"},
    "normalisation": None,
    "numerics": {"exact": True, "fingerprint": made_up("numerics")},
    "pooling": None,
    "previous_turn": None,
    "prompt_tokens": [1, 9690, 198, 2683, 314, 253, 2, 198],
    "request": None,
    "retention": None,
    "sampling/frequency_penalty": 0,
    "sampling/min_p": 0.05,
    "sampling/presence_penalty": 0,
    "sampling/repetition_penalty": 1.1,
    "sampling/temperature": 0.8,
    "sampling/top_k": 40,
    "sampling/top_p": 0.95,
    "seed": hmac.digest(NONCE, b"verity/seed/v1" + bytes(4), "sha256").hex(),
    "template": {"sha256": made_up("template"), "add_generation_prompt": True, "clock": None},
    "time/started": "2026-01-02T03:04:05Z",
    "tokenizer": {"sha256": made_up("tokenizer")},
    "tools": [],
}
SHOWN = ["limits/max_tokens", "model"]


def result_fields() -> dict[str, Any]:
    return {
        "output/finish": "stop",
        "output/segments": None,
        "output/text": b"".join(PIECES).partition(b"\n")[0].decode(),
        "output/tokens": {"count": len(TOKENS), "root": root(token_leaves()).hex()},
        "output/tool_calls": [],
        "time/finished": "2026-01-02T03:04:06Z",
    }


# --- salts and commitments --------------------------------------------------------------------------------------------


def name(field: str) -> bytes:
    return len(field.encode()).to_bytes(2, "big") + field.encode()


def salt(field: str, index: int | None = None) -> bytes:
    place = b"" if index is None else index.to_bytes(8, "big")
    return hmac.digest(SECRET, b"verity/salt/v1\0" + name(field) + place, "sha256")[:16]


def commitment(field: str, value: Any) -> bytes:
    return sha256(b"verity/commitment/v1\0", ID, name(field), salt(field), jcs(value))


def token_data(index: int, token: int, piece: bytes) -> bytes:
    body = index.to_bytes(8, "big") + token.to_bytes(4, "big") + piece
    return sha256(b"verity/commitment/v1\0", ID, name("output/tokens/leaf"), salt("output/tokens", index), body)


def token_leaves() -> list[bytes]:
    return [leaf(token_data(index, token, piece)) for index, (token, piece) in enumerate(TOKENS)]


def opened(field: str, value: Any) -> dict[str, Any]:
    return {"field": field, "value": value, "salt": b64(salt(field))}


def withheld(field: str, value: Any) -> dict[str, Any]:
    return {"field": field, "commitment": commitment(field, value).hex()}


def fields_digest(fields: dict[str, Any]) -> str:
    names = sorted(fields, key=str.encode)
    lines = [name(field) + commitment(field, fields[field]) for field in names]
    return sha256(b"verity/fields/v1\0", ID, *lines).hex()


# --- the tree of RFC 9162, sections 2.1.1 and 2.1.3.1 -----------------------------------------------------------------


def leaf(data: bytes) -> bytes:
    return sha256(b"\0", data)


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    k = split(len(leaves))
    return sha256(b"\1", root(leaves[:k]), root(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), root(leaves[k:])]
    return [*path(m - k, leaves[k:]), root(leaves[:k])]


# --- statements, envelopes, log ---------------------------------------------------------------------------------------


def statement(part: str, fields: dict[str, Any], index: int, previous: bytes, **more: Any) -> dict[str, Any]:
    predicate = {
        "id": ID.hex(),
        "kind": "generation",
        "log": {"origin": ORIGIN, "index": index, "previous": previous.hex()},
        **more,
    }
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": f"verity:{part}/v1",
        "predicate": predicate,
        "subject": [{"name": f"verity:fields:{ID.hex()}", "digest": {"sha256": fields_digest(fields)}}],
    }


def pae(payload: bytes) -> bytes:
    return f"DSSEv1 {len(TYPE)} {TYPE} {len(payload)} ".encode() + payload


def signed(payload: bytes, key: Ed25519PrivateKey = KEY) -> dict[str, Any]:
    line = {"keyid": key.public_key().public_bytes_raw().hex(), "sig": b64(key.sign(pae(payload)))}
    return {"payload": b64(payload), "payloadType": TYPE, "signatures": [line]}


def envelope_digest(payload: bytes, envelope: dict[str, Any]) -> bytes:
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    return sha256(b"verity/envelope/v1\0", pae(payload), PUBLIC, signature)


def part(kind: str, fields: dict[str, Any], index: int, previous: bytes, **more: Any) -> dict[str, Any]:
    """Everything on the way from the fields to the leaf of the log."""
    payload = jcs(statement(kind, fields, index, previous, **more))
    envelope = signed(payload)
    digest = envelope_digest(payload, envelope)
    entry = sha256(b"verity/entry/v1\0", ENTRY_SALTS[kind], digest)
    names = sorted(fields, key=str.encode)
    return {
        "fields": [
            {"field": f, "value": fields[f], "salt": salt(f).hex(), "commitment": commitment(f, fields[f]).hex()}
            for f in names
        ],
        "fields_digest": fields_digest(fields),
        "statement": payload.decode(),
        "statement_digest": sha256(payload).hex(),
        "pae": pae(payload).decode(),
        "signature": base64.b64decode(envelope["signatures"][0]["sig"]).hex(),
        "envelope": jcs(envelope).decode(),
        "envelope_digest": digest.hex(),
        "entry_salt": ENTRY_SALTS[kind].hex(),
        "entry": entry.hex(),
        "leaf": leaf(entry).hex(),
    }


def checkpoint(leaves: list[bytes]) -> str:
    body = f"{ORIGIN}\n{len(leaves)}\n{b64(root(leaves))}\n"
    key_id = sha256(ORIGIN.encode(), b"\n\x01", PUBLIC)[:4]
    return f"{body}\n\u2014 {ORIGIN} {b64(key_id + KEY.sign(body.encode()))}\n"


def bundle(
    intent: dict[str, Any], result: dict[str, Any], intent_fields: dict[str, Any], results: dict[str, Any]
) -> dict[str, Any]:
    parts = {"intent": intent, "result": result}
    leaves = [leaf(FIRST_ENTRY), *(bytes.fromhex(p["leaf"]) for p in parts.values())]
    proofs = {
        kind: {"index": at, "salt": b64(ENTRY_SALTS[kind]), "path": [h.hex() for h in path(at, leaves)]}
        for at, kind in enumerate(parts, start=1)
    }
    tokens = [
        {"id": token, "index": index, "piece": b64(piece), "salt": b64(salt("output/tokens", index))}
        for index, (token, piece) in enumerate(TOKENS)
    ]
    return {
        "receipt": {kind: json.loads(p["envelope"]) for kind, p in parts.items()},
        "log": {"checkpoint": checkpoint(leaves), **proofs},
        "disclosure": {
            "intent": [opened(f, intent_fields[f]) for f in sorted(intent_fields, key=str.encode)],
            "result": [opened(f, results[f]) for f in sorted(results, key=str.encode)],
            "tokens": tokens,
        },
    }


def receipt(intent_fields: dict[str, Any], results: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Intent, result and bundle of a device that signs these fields, whatever they are."""
    shown = [opened(f, intent_fields[f]) for f in SHOWN if f in intent_fields]
    intent = part("intent", intent_fields, 1, leaf(FIRST_ENTRY), shown=shown)
    previous = bytes.fromhex(intent["leaf"])
    result = part("result", results, 2, previous, intent=intent["statement_digest"])
    return intent, result, bundle(intent, result, intent_fields, results)


def redacted(whole: dict[str, Any]) -> dict[str, Any]:
    """The same receipt, disclosing the time, the limits and output tokens 4 and 5."""
    keep = {"limits/max_tokens", "time/started", "output/tokens"}
    every = INTENT | result_fields()
    lines = {
        kind: [
            line if line["field"] in keep else withheld(line["field"], every[line["field"]])
            for line in whole["disclosure"][kind]
        ]
        for kind in ("intent", "result")
    }
    leaves = token_leaves()
    tokens = [
        whole["disclosure"]["tokens"][index] | {"path": [h.hex() for h in path(index, leaves)]} for index in (4, 5)
    ]
    return {**whole, "disclosure": {**lines, "tokens": tokens}}


# --- what must be refused ---------------------------------------------------------------------------------------------


def json_cases() -> list[dict[str, Any]]:
    rows: list[tuple[str, bytes, bool]] = [
        ("an object", b'{"a": [1, -0.5, "\\ud83d\\ude00", true, null]}', True),
        ("white space around", b" \r\n\t[]\n", True),
        ("the largest integer", b"9007199254740991", True),
        ("24 levels", b"[" * 24 + b"]" * 24, True),
        ("brackets in a string", b'"' + b"[" * 99 + b'"', True),
        ("empty", b"", False),
        ("25 levels", b"[" * 25 + b"]" * 25, False),
        ("25 levels after a string with a quote", b'["\\"",' + b"[" * 24 + b"]" * 25, False),
        ("a key that stands twice", b'{"a": 1, "a": 1}', False),
        ("a key that stands twice, written in two ways", b'{"a": 1, "\\u0061": 2}', False),
        ("an integer of 2^53", b"9007199254740992", False),
        ("an integer of -2^53", b"-9007199254740992", False),
        ("a number of 41 digits", b"0." + b"1" * 39, False),
        ("a number beyond float64", b"1e999", False),
        ("NaN", b"NaN", False),
        ("minus infinity", b"[-Infinity]", False),
        ("a leading zero", b"01", False),
        ("a lone surrogate", b'"\\ud800"', False),
        ("a lone surrogate in a key", b'{"\\uDFFF": 1}', False),
        ("surrogates in the wrong order", b'"\\ude00\\ud83d"', False),
        ("an encoded surrogate", b'"\xed\xa0\x80"', False),
        ("an overlong encoding", b'"\xc0\xaf"', False),
        ("UTF-8 that is cut off", b'"\xe2\x80"', False),
        ("UTF-16", '"a"'.encode("utf-16"), False),
        ("a byte order mark", b"\xef\xbb\xbf{}", False),
        ("a control character in a string", b'"\n"', False),
        ("an unknown escape", b'"\\x41"', False),
        ("a string that never ends", b'"' + b'\\"' * 9, False),
        ("a string that ends in a backslash", b'"\\' * 9, False),
        ("a comma too many", b"[1,]", False),
        ("a comment", b"[] // no", False),
        ("single quotes", b"{'a': 1}", False),
        ("two documents", b"{}{}", False),
    ]
    return [{"desc": desc, "json": data.hex(), "error": None if good else FORM} for desc, data, good in rows]


def envelope_cases(good: dict[str, Any]) -> list[dict[str, Any]]:
    line = good["signatures"][0]
    stranger = signed(base64.b64decode(good["payload"]), STRANGER)
    signature = base64.b64decode(line["sig"])
    order = 2**252 + 27742317777372353535851937790883648493
    high = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    unsafe = line["sig"].replace("+", "-").replace("/", "_")
    assert unsafe != line["sig"]  # the case would be void without one of the two characters
    loose = line["sig"][:-3] + chr(ord(line["sig"][-3]) + 1) + "=="

    def resigned(**change: Any) -> dict[str, Any]:
        return {**good, "signatures": [{**line, **change}]}

    rows: list[tuple[str, Any, str | None]] = [
        ("as written", good, None),
        ("no signature", {**good, "signatures": []}, FORM),
        ("the same signature twice", {**good, "signatures": [line, line]}, FORM),
        ("a second signature by another key", {**good, "signatures": [line, *stranger["signatures"]]}, FORM),
        ("signed by another key", stranger, SIGNED),
        ("signed by another key in the device's name", resigned(sig=stranger["signatures"][0]["sig"]), SIGNED),
        ("another payload", {**good, "payload": b64(b"{}")}, SIGNED),
        ("an empty payload", {**good, "payload": ""}, SIGNED),
        ("signed without the pre-authentication encoding", resigned(sig=b64(KEY.sign(b"{}"))), SIGNED),
        ("a signature of zeros", resigned(sig=b64(bytes(64))), SIGNED),
        ("a signature whose scalar is not reduced", resigned(sig=b64(high)), SIGNED),
        ("a signature of 63 bytes", resigned(sig=b64(bytes(63))), FORM),
        ("a signature of 65 bytes", resigned(sig=b64(bytes(65))), FORM),
        ("a signature in the URL alphabet", resigned(sig=unsafe), FORM),
        ("a signature with unused bits set", resigned(sig=loose), FORM),
        ("a payload without padding", {**good, "payload": good["payload"].rstrip("=") + "A"}, FORM),
        ("a line break in the payload", {**good, "payload": good["payload"] + "\n"}, FORM),
        ("another payload type", {**good, "payloadType": "application/json"}, FORM),
        ("a key in upper case", resigned(keyid=line["keyid"].upper()), FORM),
        ("a key of 63 digits", resigned(keyid=line["keyid"][:-1]), FORM),
        ("no key", {**good, "signatures": [{"sig": line["sig"]}]}, FORM),
        ("an unknown member", {**good, "unknown": 1}, FORM),
        ("an unknown member in the signature", resigned(cert="…"), FORM),
        ("no payload type", {k: v for k, v in good.items() if k != "payloadType"}, FORM),
        ("signatures that are no list", {**good, "signatures": line}, FORM),
    ]
    return [{"desc": desc, "envelope": jcs(value).decode(), "error": error} for desc, value, error in rows]


def changed(value: Any, where: str, to: Any = ...) -> Any:
    """A copy of ``value`` with the member at this path ("a/0/b") replaced or, without ``to``, removed."""
    copy = json.loads(json.dumps(value))
    *parents, last = (int(key) if key.isdigit() else key for key in where.split("/"))
    at = copy
    for key in parents:
        at = at[key]
    if to is ...:
        del at[last]
    else:
        at[last] = to
    return copy


def statement_cases(intent: dict[str, Any], result: dict[str, Any]) -> list[dict[str, Any]]:
    first, second = intent["predicate"]["shown"]
    hidden = {"field": first["field"], "commitment": commitment(first["field"], first["value"]).hex()}
    subject = intent["subject"][0]
    at = "predicate/"
    rows: list[tuple[str, str, Any, str | None]] = [
        ("an intent", "intent", intent, None),
        ("a result", "result", result, None),
        ("without shown fields", "intent", changed(intent, at + "shown"), None),
        ("an empty list of critical fields", "intent", changed(intent, at + "critical", []), None),
        ("a critical field", "intent", changed(intent, at + "critical", ["x-example"]), None),
        ("an intent, read as a result", "result", intent, FORM),
        ("a result, read as an intent", "intent", result, FORM),
        ("numerics, read as an intent", "intent", changed(intent, "predicateType", "verity:numerics/v1"), FORM),
        ("another version", "intent", changed(intent, "predicateType", "verity:intent/v2"), FORM),
        ("another type of statement", "intent", changed(intent, "_type", "https://in-toto.io/Statement/v0.1"), FORM),
        ("no type", "intent", changed(intent, "_type"), FORM),
        ("an intent that names an intent", "intent", changed(intent, at + "intent", "0" * 64), FORM),
        ("a result without its intent", "result", changed(result, at + "intent"), FORM),
        ("a result whose intent is null", "result", changed(result, at + "intent", None), FORM),
        ("an intent's digest that is too short", "result", changed(result, at + "intent", "0" * 63), FORM),
        ("an intent's digest in upper case", "result", changed(result, at + "intent", "A" * 64), FORM),
        ("no subject", "intent", changed(intent, "subject", []), FORM),
        ("two subjects", "intent", changed(intent, "subject", [subject, subject]), FORM),
        ("two digests", "intent", changed(intent, "subject/0/digest/sha512", "0" * 128), FORM),
        ("another digest", "intent", changed(intent, "subject/0/digest", {"sha512": "0" * 128}), FORM),
        ("a digest of 31 bytes", "intent", changed(intent, "subject/0/digest/sha256", "0" * 62), FORM),
        ("the subject of another receipt", "intent", changed(intent, "subject/0/name", "verity:fields:00"), FORM),
        ("an id in upper case", "intent", changed(intent, at + "id", ID.hex().upper()), FORM),
        ("an id of 15 bytes", "intent", changed(intent, at + "id", ID.hex()[2:]), FORM),
        ("no kind", "intent", changed(intent, at + "kind"), FORM),
        ("no place in a log", "intent", changed(intent, at + "log"), FORM),
        ("a negative position", "intent", changed(intent, at + "log/index", -1), FORM),
        ("a position that is no integer", "intent", changed(intent, at + "log/index", 1.5), FORM),
        ("a position in a string", "intent", changed(intent, at + "log/index", "1"), FORM),
        ("a position that is true", "intent", changed(intent, at + "log/index", True), FORM),
        ("a previous entry of 31 bytes", "intent", changed(intent, at + "log/previous", "0" * 62), FORM),
        ("no origin", "intent", changed(intent, at + "log/origin"), FORM),
        ("an unknown member", "intent", changed(intent, "unknown", 1), FORM),
        ("an unknown member in the predicate", "intent", changed(intent, at + "unknown", 1), FORM),
        ("an unknown member in the place", "intent", changed(intent, at + "log/unknown", 1), FORM),
        ("critical fields that are no list", "intent", changed(intent, at + "critical", "x-example"), FORM),
        ("shown fields out of order", "intent", changed(intent, at + "shown", [second, first]), FORM),
        ("a field shown twice", "intent", changed(intent, at + "shown", [first, first]), FORM),
        (
            "a field shown with two values",
            "intent",
            changed(intent, at + "shown", [first, {**first, "value": 1}]),
            FORM,
        ),
        ("a shown field without its value", "intent", changed(intent, at + "shown", [hidden]), FORM),
        ("a shown field without its salt", "intent", changed(intent, at + "shown/0/salt"), FORM),
        ("a shown field with value and commitment", "intent", changed(intent, at + "shown", [first | hidden]), FORM),
        ("not an object", "intent", [intent], FORM),
    ]
    return [
        {"desc": desc, "type": f"verity:{kind}/v1", "statement": jcs(value).decode(), "error": error}
        for desc, kind, value, error in rows
    ]


def line_cases() -> list[dict[str, Any]]:
    """Lists of lines against the digest of three fields. "another digest": well formed, and not what was signed."""
    fields = {"a": 1, "b": [], "c": "text"}
    a, b, c = (opened(field, value) for field, value in fields.items())
    hidden = withheld("b", [])
    other = b64(bytes(16))
    differs = "another digest"
    rows: list[tuple[str, list[Any], str | None]] = [
        ("all opened", [a, b, c], None),
        ("one withheld", [a, hidden, c], None),
        ("all withheld", [withheld(field, value) for field, value in fields.items()], None),
        ("a number written in another way", [{**a, "value": 1.0}, b, c], None),
        ("another value", [{**a, "value": 2}, b, c], differs),
        ("true for 1", [{**a, "value": True}, b, c], differs),
        ("a string for a number", [{**a, "value": "1"}, b, c], differs),
        ("null for an empty list", [a, {**b, "value": None}, c], differs),
        ("another salt", [{**a, "salt": other}, b, c], differs),
        ("another commitment", [a, {**hidden, "commitment": "0" * 64}, c], differs),
        ("value and salt moved to another field", [{**b, "field": "a"}, {**a, "field": "b"}, c], differs),
        (
            "commitments exchanged between fields",
            [{**hidden, "field": "a"}, {**withheld("a", 1), "field": "b"}, c],
            differs,
        ),
        ("the last one left out", [a, b], differs),
        ("the first one left out", [b, c], differs),
        ("none", [], differs),
        ("one added", [a, b, c, opened("d", None)], differs),
        ("out of order", [b, a, c], FORM),
        ("one twice", [a, a, b, c], FORM),
        ("one opened and withheld", [a, b, hidden, c], FORM),
        ("neither opened nor withheld", [a, {"field": "b"}, c], FORM),
        ("both opened and withheld", [a, b | hidden, c], FORM),
        ("a value without a salt", [a, {"field": "b", "value": []}, c], FORM),
        ("a salt without a value", [a, {"field": "b", "salt": b["salt"]}, c], FORM),
        ("a salt of 15 bytes", [a, {**b, "salt": b64(bytes(15))}, c], FORM),
        ("a salt of 17 bytes", [a, {**b, "salt": b64(bytes(17))}, c], FORM),
        ("a salt in hexadecimal", [a, {**b, "salt": salt("b").hex()}, c], FORM),
        ("a commitment in upper case", [a, {**hidden, "commitment": hidden["commitment"].upper()}, c], FORM),
        ("a commitment of 31 bytes", [a, {**hidden, "commitment": "0" * 62}, c], FORM),
        ("an empty name", [{**a, "field": ""}, a, b, c], FORM),
        ("a name of 65 bytes", [a, b, c, opened("d" * 65, 1)], FORM),
        ("a salt that is null", [a, {**hidden, "salt": None}, c], FORM),
        ("an unknown member", [a, {**b, "unknown": 1}, c], FORM),
    ]
    return [{"desc": desc, "lines": lines, "error": error} for desc, lines, error in rows]


def bundle_cases(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Changes to the bundle (a path and what stands there, nothing if it is removed) and what refuses it: FormatError
    when it is read, or else the check that fails."""
    lines = {line["field"]: line for kind in ("intent", "result") for line in whole["disclosure"][kind]}
    fields = sorted(INTENT)
    number = {field: f"disclosure/intent/{at}" for at, field in enumerate(fields)}
    results = {field: f"disclosure/result/{at}" for at, field in enumerate(sorted(result_fields()))}
    tokens = whole["disclosure"]["tokens"]
    seed = number["seed"]
    rows: list[tuple[str, str, Any, str | None]] = [
        ("no disclosure", "disclosure", ..., None),
        ("no result", "receipt/result", ..., FORM),
        ("no log", "log", ..., FORM),
        ("a disclosure that is null", "disclosure", None, FORM),
        ("a disclosure without the result", "disclosure/result", ..., FORM),
        ("an unknown member", "unknown", {}, FORM),
        ("an unknown member in a proof", "log/intent/unknown", 1, FORM),
        ("an unknown member in a token", "disclosure/tokens/0/unknown", 1, FORM),
        ("a token's path that is null", "disclosure/tokens/0/path", None, FORM),
        ("a path that is no list", "log/intent/path", "", FORM),
        ("an index that is no integer", "log/intent/index", 1.5, FORM),
        ("intent and result exchanged", "receipt", exchanged(whole["receipt"]), FORM),
        ("another position", "log/intent/index", 0, "logged"),
        ("another salt of the entry", "log/intent/salt", b64(bytes(16)), "logged"),
        ("the path of another entry", "log/result/path", whole["log"]["intent"]["path"], "logged"),
        (
            "a checkpoint of another size",
            "log/checkpoint",
            whole["log"]["checkpoint"].replace("\n3\n", "\n4\n"),
            "logged",
        ),
        ("another prompt", number["inputs/0001"] + "/value/content", "Why is grass green?", "disclosure"),
        ("another role", number["inputs/0001"] + "/value/role", "system", "disclosure"),
        ("another temperature", number["sampling/temperature"] + "/value", 0.81, "disclosure"),
        ("another seed", seed + "/value", "0" * 64, "disclosure"),
        ("a field left out", number["retention"], ..., "disclosure"),
        ("another text", results["output/text"] + "/value", "Blue light scatters least.", "disclosure"),
        ("a result's line among the intent's", number["tools"], lines["output/text"], "disclosure"),
        ("another token", "disclosure/tokens/3/id", 1, "disclosure"),
        ("a token beyond 32 bits", "disclosure/tokens/3/id", 1 << 32, "disclosure"),
        ("a negative token", "disclosure/tokens/3/id", -1, "disclosure"),
        ("other bytes of a token", "disclosure/tokens/3/piece", b64(b"451"), "disclosure"),
        ("bytes moved to the next token", "disclosure/tokens", shifted(tokens), "disclosure"),
        ("two tokens exchanged", "disclosure/tokens", [tokens[1], tokens[0], *tokens[2:]], "disclosure"),
        ("two tokens in each other's place", "disclosure/tokens", replaced(tokens), "disclosure"),
        ("a token twice", "disclosure/tokens", [tokens[0], *tokens], "disclosure"),
        ("the last token left out", "disclosure/tokens/10", ..., "disclosure"),
        ("one more token", "disclosure/tokens", [*tokens, {**tokens[10], "index": 11}], "disclosure"),
        ("the salt of the token next to it", "disclosure/tokens/3/salt", tokens[4]["salt"], "disclosure"),
        ("the salt of the field", "disclosure/tokens/0/salt", b64(salt("output/tokens")), "disclosure"),
        ("the root withheld", results["output/tokens"], withheld_root(), "disclosure"),
    ]
    return [
        {"desc": desc, "path": where, **({} if to is ... else {"value": to}), "fails": fails}
        for desc, where, to, fails in rows
    ]


def exchanged(pair: dict[str, Any]) -> dict[str, Any]:
    return {"intent": pair["result"], "result": pair["intent"]}


def withheld_root() -> dict[str, Any]:
    return withheld("output/tokens", result_fields()["output/tokens"])


def shifted(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**tokens[0], "piece": b64(b"Blu")}, {**tokens[1], "piece": b64(b"e light")}, *tokens[2:]]


def replaced(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**tokens[1], "index": 0}, {**tokens[0], "index": 1}, *tokens[2:]]


def liar_cases() -> list[dict[str, Any]]:
    """Receipts that the device itself signed wrongly; every hash and signature in them holds."""
    results = result_fields()
    other_prompt = {"type": "text", "role": "user", "content": "Why is grass green?"}
    seeds = {field: INTENT[field] for field in ("nonce", "seed")}
    late = {field: value for field, value in INTENT.items() if field not in seeds}
    rows: list[tuple[str, dict[str, Any], dict[str, Any], str | None]] = [
        ("the nonce came after the intent", late, results | seeds, None),
        ("an extension field", INTENT | {"x-example": 1}, results, None),
        ("no nonce", late, results, "disclosure"),
        ("nonce and seed in both", INTENT, results | seeds, "disclosure"),
        ("a field of the intent again in the result", INTENT, results | {"sampling/temperature": 0.1}, "disclosure"),
        ("an input in the result", INTENT, results | {"inputs/0002": other_prompt}, "disclosure"),
        ("a field of the result in the intent", INTENT | {"output/text": "Grass."}, results, "disclosure"),
        ("an extension field in both", INTENT | {"x-example": 1}, results | {"x-example": 2}, "disclosure"),
        ("nonce and seed apart", late | {"nonce": INTENT["nonce"]}, results | {"seed": INTENT["seed"]}, "disclosure"),
        ("inputs with a gap", INTENT | {"inputs/0003": other_prompt}, results, "disclosure"),
        ("no model", {f: v for f, v in INTENT.items() if f != "model"}, results, "disclosure"),
        ("a text that is not that of the tokens", INTENT, results | {"output/text": "Blue."}, "output"),
        ("a text that is not cut", INTENT, results | {"output/text": b"".join(PIECES).decode()}, "output"),
        ("a stop string that is not there", INTENT | {"limits/stops": ["#"]}, results, "output"),
        ("more tokens than allowed", INTENT | {"limits/max_tokens": 10}, results, "output"),
        ("fewer tokens than its length", INTENT, whole_text(results) | {"output/finish": "length"}, "output"),
        ("an unknown finish", INTENT, whole_text(results) | {"output/finish": "done"}, "output"),
        ("a seed that does not follow", INTENT | {"seed": "0" * 64}, results, "nonce"),
    ]
    return [{"desc": desc, "bundle": receipt(a, b)[2], "fails": fails} for desc, a, b, fails in rows]


def whole_text(results: dict[str, Any]) -> dict[str, Any]:
    return results | {"output/text": b"".join(PIECES).decode()}


def vectors() -> dict[str, Any]:
    intent, result, whole = receipt(INTENT, result_fields())
    leaves = token_leaves()
    return {
        "about": "Cases for spec/receipt.md. Made by tests/statements/make_vectors.py. Bytes are in hexadecimal, but "
        "inside JSON of the format. Digests of model, library and the like are made up.",
        "seed": KEY.private_bytes_raw().hex(),
        "public": PUBLIC.hex(),
        "receipt_id": ID.hex(),
        "secret": SECRET.hex(),
        "intent": intent,
        "result": result,
        "tokens": [
            {
                "index": index,
                "id": token,
                "piece": piece.hex(),
                "salt": salt("output/tokens", index).hex(),
                "data": token_data(index, token, piece).hex(),
                "leaf": leaves[index].hex(),
                "path": [h.hex() for h in path(index, leaves)],
            }
            for index, (token, piece) in enumerate(TOKENS)
        ],
        "token_root": root(leaves).hex(),
        "bundle": whole,
        "redacted": redacted(whole),
        "json_cases": json_cases(),
        "envelope_cases": envelope_cases(whole["receipt"]["intent"]),
        "statement_cases": statement_cases(json.loads(intent["statement"]), json.loads(result["statement"])),
        "lines_digest": fields_digest({"a": 1, "b": [], "c": "text"}),
        "line_cases": line_cases(),
        "bundle_cases": bundle_cases(whole),
        "liar_cases": liar_cases(),
    }


def encode() -> str:
    return json.dumps(vectors(), indent=1) + "\n"


def main() -> None:
    (Path(sys.argv[1]) / "receipt.json").write_text(encode())


if __name__ == "__main__":
    main()
