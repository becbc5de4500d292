"""Write the request's test vectors: `python tests/statements/make_request_vectors.py spec/vectors`.

It shares no code with verity: spec/request.md, once more, from hashes, JSON, base64 and Ed25519.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"  # RFC 8032, section 7.1, TEST 1
KEY = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED))
PUBLIC = KEY.public_key().public_bytes_raw()
TYPE = "application/vnd.in-toto+json"
ID = bytes(range(0xB0, 0xC0))
SALT = bytes(range(0xC0, 0xD0))
NONCE = bytes(range(0x40, 0x60))
INTENT = {"id": bytes(range(0xA0, 0xB0)).hex(), "sha256": hashlib.sha256(b"an intent").hexdigest()}
REQUEST: dict[str, Any] = {
    "adapters": [],
    "choices": 1,
    "clock": "2026-11-24T12:00:00Z",
    "context_size": 4096,
    "grammar": None,
    "max_tokens": 256,
    "messages": [
        {"type": "text", "role": "system", "content": "Answer briefly."},
        {"type": "text", "role": "user", "content": "Why is the sky blue? 🌞"},
    ],
    "model": "5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3",
    "sampling": {
        "frequency_penalty": 0,
        "min_p": 0,
        "presence_penalty": 0,
        "repetition_penalty": 1,
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.95,
    },
    "stops": ["\n"],
    "tools": [],
}


def jcs(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(request: Any, request_id: bytes = ID) -> str:
    return hashlib.sha256(b"verity/request/v1\x00" + PUBLIC + request_id + SALT + jcs(request)).hexdigest()


def statement(request: Any = REQUEST, **more: Any) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {"id": ID.hex(), "salt": SALT.hex(), "request": request, **more},
        "predicateType": "verity:request/v1",
        "subject": [{"name": f"verity:request:{ID.hex()}", "digest": {"sha256": digest(request)}}],
    }


def sealed(said: Any) -> dict[str, Any]:
    payload = jcs(said)
    pae = b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload)
    signature = {"keyid": PUBLIC.hex(), "sig": base64.b64encode(KEY.sign(pae)).decode()}
    return {"payload": base64.b64encode(payload).decode(), "payloadType": TYPE, "signatures": [signature]}


def changed(edit: Callable[[Any], None], **more: Any) -> Any:
    """A request that asks for something else, its subject made to fit."""
    request = copy.deepcopy(REQUEST)
    edit(request)
    return sealed(statement(request, **more))


def broken(edit: Callable[[Any], None], **more: Any) -> Any:
    """A statement that is edited after its subject was made, and signed all the same."""
    said = copy.deepcopy(statement(**more))
    edit(said)
    return sealed(said)


def cases() -> list[dict[str, Any]]:
    nonce = NONCE.hex()
    good = {
        "with its nonce": sealed(statement(nonce=nonce)),
        "without a nonce": sealed(statement()),
        "with its nonce, for one intent": sealed(statement(nonce=nonce, intent=INTENT)),
        "16 bytes of nonce": sealed(statement(nonce="ab" * 16)),
        "64 bytes of nonce": sealed(statement(nonce="ab" * 64)),
    }
    bad = {
        "an intent and no nonce": sealed(statement(intent=INTENT)),
        "15 bytes of nonce": sealed(statement(nonce="ab" * 15)),
        "a nonce in capitals": sealed(statement(nonce="AB" * 16)),
        "an intent without its digest": sealed(statement(nonce=nonce, intent={"id": INTENT["id"]})),
        "an intent's digest cut short": sealed(statement(nonce=nonce, intent={**INTENT, "sha256": "ab"})),
        "another subject": broken(lambda s: s["subject"][0]["digest"].update(sha256="ab" * 32)),
        "no salt": broken(lambda s: s["predicate"].pop("salt")),
        "a salt of 15 bytes": broken(lambda s: s["predicate"].update(salt="ab" * 15)),
        "another salt": broken(lambda s: s["predicate"].update(salt="ab" * 16)),
        "a date that there is not": changed(lambda r: r.update(clock="2026-13-45T12:00:00Z")),
        "two subjects": broken(lambda s: s["subject"].append(s["subject"][0])),
        "a subject of another name": broken(lambda s: s["subject"][0].update(name="verity:request:" + "00" * 16)),
        "another type of statement": broken(lambda s: s.update(predicateType="verity:intent/v1")),
        "another type of in-toto": broken(lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
        "a member too many": broken(lambda s: s["predicate"].update(note="hello")),
        "a parameter missing": changed(lambda r: r["sampling"].pop("min_p")),
        "a parameter too many": changed(lambda r: r["sampling"].update(typical_p=1)),
        "a parameter as text": changed(lambda r: r["sampling"].update(top_k="40")),
        "no messages": changed(lambda r: r.update(messages=[])),
        "a message of an unknown role": changed(lambda r: r["messages"][0].update(role="root")),
        "a message of an unknown type": changed(lambda r: r["messages"][0].update(type="tensor")),
        "an adapter": changed(lambda r: r.update(adapters=["ab" * 32])),
        "a tool": changed(lambda r: r.update(tools=["rm"])),
        "a grammar": changed(lambda r: r.update(grammar="root ::= .*")),
        "two choices": changed(lambda r: r.update(choices=2)),
        "no tokens": changed(lambda r: r.update(max_tokens=0)),
        "no context": changed(lambda r: r.update(context_size=0)),
        "a clock without a zone": changed(lambda r: r.update(clock="2026-11-24T12:00:00")),
        "a model's digest in capitals": changed(lambda r: r.update(model="AB" * 32)),
        "a member of the request missing": changed(lambda r: r.pop("stops")),
    }
    listed = [{"desc": desc, "envelope": envelope, "error": None} for desc, envelope in good.items()]
    listed += [{"desc": desc, "envelope": envelope, "error": "FormatError"} for desc, envelope in bad.items()]
    other = sealed(statement(nonce=nonce))
    other["signatures"][0]["sig"] = base64.b64encode(KEY.sign(b"something else")).decode()
    stolen = sealed(statement(nonce=nonce))
    stolen["signatures"][0]["keyid"] = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"  # TEST 2
    for desc, envelope in (("a signature of something else", other), ("another's key", stolen)):
        listed.append({"desc": desc, "envelope": envelope, "error": "SignatureError"})
    return listed


def main() -> None:
    said = {
        "seed": SEED,
        "public": PUBLIC.hex(),
        "id": ID.hex(),
        "salt": SALT.hex(),
        "nonce": NONCE.hex(),
        "intent": INTENT,
        "request": REQUEST,
        "canonical": jcs(REQUEST).decode(),
        "digest": digest(REQUEST),
        "cases": cases(),
    }
    path = Path(sys.argv[1]) / "request.json"
    path.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
