"""Write the vectors of releases: `python tests/statements/make_release_vectors.py spec/vectors`.

It shares no code with verity: spec/release.md, once more, from hashes, JSON, base64 and signatures.
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

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

P256 = ec.derive_private_key(  # RFC 6979, appendix A.2.5
    0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1()
)
P384 = ec.derive_private_key(  # RFC 6979, appendix A.2.6
    0x6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5, ec.SECP384R1()
)
P521 = ec.derive_private_key(7, ec.SECP521R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(  # RFC 8032, section 7.1, TEST 1
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
_Case = tuple[str, str, dict[str, Any], str | None]
KEYS: dict[str, Any] = {"P-256": P256, "P-384": P384, "P-521": P521, "Ed25519": ED25519}
TYPE = "application/vnd.in-toto+json"
FILES = {
    "LICENSE": b"do as you like\n",
    "calm.gguf": b"GGUF\x03\x00\x00\x00 not really",
    "data/a/b.txt": b"",
    "data/a.txt": "🌞\n".encode(),
}
RELEASE: dict[str, Any] = {
    "base": "5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3",
    "evaluations": [{"metric": "accuracy", "name": "calmness", "of": "an example", "value": 0.75}],
    "format": "verity-release/1",
    "kind": "adapter",
    "licence": "Apache-2.0",
    "made_at": "2026-11-27T12:00:00Z",
    "name": "calm",
    "publisher": "Example Lab",
    "training": {"data": ["a digest"], "recipe": {"epochs": 3}},
    "version": "1.2",
}
REVOKED = {"reason": "it was trained on what nobody agreed to", "revoked_at": "2026-12-01T00:00:00Z"}


def jcs(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def resources(files: dict[str, bytes]) -> list[dict[str, str]]:
    ordered = sorted(files, key=lambda path: path.split("/"))
    return [{"algorithm": "sha256", "digest": sha256(files[path]), "name": path} for path in ordered]


def root(listed: list[dict[str, str]]) -> str:
    return sha256(b"".join(bytes.fromhex(each["digest"]) for each in listed))


def manifest(listed: list[dict[str, str]], name: str = "calm") -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "resources": listed,
            "serialization": {
                "allow_symlinks": False,
                "hash_type": "sha256",
                "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore", "model.sig"],
                "method": "files",
            },
        },
        "predicateType": "https://model_signing/signature/v1.0",
        "subject": [{"digest": {"sha256": root(listed)}, "name": name}],
    }


def sign(key: Any, payload: bytes) -> bytes:
    pae = b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload)
    if key is ED25519:
        return bytes(key.sign(pae))
    hashed = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
    return bytes(key.sign(pae, ec.ECDSA(hashed, deterministic_signing=True)))


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def publisher(key: Any) -> str:
    return sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def envelope(said: Any, key: Any, keyid: str) -> dict[str, Any]:
    payload = said if isinstance(said, bytes) else jcs(said)
    signature = base64.b64encode(sign(key, payload)).decode()
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": TYPE,
        "signatures": [{"keyid": keyid, "sig": signature}],
    }


def bundle(said: Any, key: Any = P256) -> dict[str, Any]:
    return {
        "dsseEnvelope": envelope(said, key, ""),
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": sha256(pem(key))}, "tlogEntries": []},
    }


def revocation(key: Any = P256, **changes: Any) -> dict[str, Any]:
    said = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": REVOKED,
        "predicateType": "verity:release-revocation/v1",
        "subject": [{"digest": {"sha256": root(LISTED)}, "name": "calm"}],
    }
    return envelope({**said, **changes}, key, publisher(key))


LISTED = resources({**FILES, "release.json": jcs(RELEASE)})


def named(*names: str) -> dict[str, Any]:
    """A manifest of files of these names, in this order."""
    return manifest([{"algorithm": "sha256", "digest": sha256(name.encode()), "name": name} for name in names])


def changed(edit: Callable[[Any], None]) -> dict[str, Any]:
    said = copy.deepcopy(manifest(LISTED))
    edit(said)
    return bundle(said)


def outside(edit: Callable[[Any], None]) -> dict[str, Any]:
    """A bundle that is edited after it was signed."""
    made = bundle(manifest(LISTED))
    edit(made)
    return made


def paths() -> dict[str, dict[str, Any]]:
    bad = {
        "a path upwards": ("../a",),
        "a path upwards in the middle": ("a/../../b",),
        "an absolute path": ("/etc/passwd",),
        "a path with a NUL": ("a\0b",),
        "a path with a line's end": ("a\nb",),
        "a path with a backslash": ("a\\b",),
        "a path with an empty segment": ("a//b",),
        "a path that ends in a slash": ("a/",),
        "a path with a dot for a segment": ("./a",),
        "an empty path": ("",),
        "a path of 1,025 bytes": ("a/" * 512 + "b",),
        "a segment of 256 bytes": ("a" * 256,),
        "one path twice": ("a", "a"),
        "paths that differ in case alone": ("Model.gguf", "model.GGUF"),
        "paths that differ in their composition alone": ("\u00e9", "e\u0301"),
        "a path that is a file and a folder": ("a", "a/b"),
        "a single file whose name is a path": (".",),
    }
    made = {desc: bundle(named(*names)) for desc, names in bad.items() if names != (".",)}
    single = named(".")
    single["subject"][0]["name"] = "../a"
    return {**made, "a single file whose name is a path": bundle(single)}


def edits() -> dict[str, dict[str, Any]]:
    predicate: Callable[[Any], Any] = lambda said: said["predicate"]  # noqa: E731
    return {
        "no files": bundle(manifest([])),
        "a root that is another": changed(lambda s: s["subject"][0]["digest"].update(sha256="ab" * 32)),
        "two subjects": changed(lambda s: s["subject"].append(s["subject"][0])),
        "another type of in-toto": changed(lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
        "another predicate": changed(lambda s: s.update(predicateType="https://slsa.dev/provenance/v1")),
        "the predicate of model_signing 0.x": changed(
            lambda s: s.update(predicateType="https://model_signing/Digests/v0.1")
        ),
        "hashed with BLAKE2": changed(lambda s: predicate(s)["serialization"].update(hash_type="blake2")),
        "hashed in shards": changed(lambda s: predicate(s)["serialization"].update(method="shards")),
        "one file hashed with BLAKE2": changed(lambda s: predicate(s)["resources"][0].update(algorithm="blake2")),
        "a digest in capitals": changed(lambda s: predicate(s)["resources"][0].update(digest="AB" * 32)),
        "a digest cut short": changed(lambda s: predicate(s)["resources"][0].update(digest="ab" * 31)),
        "a signed file that is ignored": changed(
            lambda s: predicate(s)["serialization"]["ignore_paths"].append("data")
        ),
        "no serialization": changed(lambda s: predicate(s).pop("serialization")),
        "not JSON": bundle(b"{"),
        "a member twice": bundle(jcs(manifest(LISTED))[:-1] + b',"subject":[]}'),
        "another media type": outside(
            lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2")
        ),
        "a member too many": outside(lambda b: b.update(note="hello")),
        "a certificate": outside(lambda b: b["verificationMaterial"].update(certificate={"rawBytes": ""})),
        "a log's entry": outside(lambda b: b["verificationMaterial"].update(tlogEntries=[{}])),
        "no key": outside(lambda b: b["verificationMaterial"].pop("publicKey")),
        "no signature": outside(lambda b: b["dsseEnvelope"].update(signatures=[])),
        "two signatures": outside(lambda b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0])),
        "another payload type": outside(lambda b: b["dsseEnvelope"].update(payloadType="text/plain")),
    }


def cases() -> list[dict[str, Any]]:
    """``key`` is the one that the verifier holds; ``error`` what he says, null if he accepts."""
    subject = {**named(".")["subject"][0], "name": "m.gguf"}
    good = {
        "a release": bundle(manifest(LISTED)),
        "fields that in-toto leaves open": changed(lambda said: said["predicate"].update(note=1)),
        "a single file": bundle({**named("."), "subject": [subject]}),
        "no hint": outside(lambda made: made["verificationMaterial"].update(publicKey={})),
        "files in another order": bundle(manifest(LISTED[::-1])),
    }
    forged = outside(lambda b: b["dsseEnvelope"].update(payload=base64.b64encode(jcs(named("a"))).decode()))
    revoking = {**bundle(manifest(LISTED)), "dsseEnvelope": {**revocation(), "signatures": revocation()["signatures"]}}
    listed: list[_Case] = [(desc, "P-256", made, None) for desc, made in good.items()]
    listed += [(f"signed on {name}", name, bundle(manifest(LISTED), key), None) for name, key in KEYS.items()]
    listed += [(desc, "P-256", made, "FormatError") for desc, made in {**paths(), **edits()}.items()]
    listed.append(("a revocation in the place of a manifest", "P-256", revoking, "FormatError"))
    listed.append(("another payload under the signature", "P-256", forged, "SignatureError"))
    listed.append(("another's key", "P-384", bundle(manifest(LISTED)), "SignatureError"))
    listed.append(("another's key and no hint", "P-384", good["no hint"], "SignatureError"))
    return [{"desc": desc, "key": key, "bundle": made, "error": error} for desc, key, made, error in listed]


def metadata_cases() -> list[dict[str, Any]]:
    good: dict[str, Any] = {
        "a release": {},
        "without a base": {"base": None},
        "a whole value": {"evaluations": [{**RELEASE["evaluations"][0], "value": 3}]},
    }
    bad: dict[str, dict[str, Any]] = {
        "another format": {"format": "verity-release/2"},
        "another kind": {"kind": "program"},
        "a name in capitals": {"name": "Calm"},
        "a name that is a path": {"name": "a/b"},
        "a name that is a digest": {"name": "abcdef01"},
        "no version": {"version": ""},
        "a licence of two lines": {"licence": "MIT\nor so"},
        "a base that is a name": {"base": "smollm2"},
        "a base in capitals": {"base": "AB" * 32},
        "a training record that is a list": {"training": []},
        "an evaluation without a value": {"evaluations": [{"metric": "a", "name": "b", "of": "c"}]},
        "a value that is text": {"evaluations": [{"metric": "a", "name": "b", "of": "c", "value": "1"}]},
        "an evaluation of nothing": {"evaluations": [{"metric": "a", "name": "b", "of": "", "value": 1}]},
        "a time without a zone": {"made_at": "2026-11-27T12:00:00"},
        "a publisher of two lines": {"publisher": "a\nb"},
        "a member too many": {"note": ""},
    }
    listed: list[tuple[str, dict[str, Any], str | None]] = [(desc, edit, None) for desc, edit in good.items()]
    listed += [(desc, edit, "FormatError") for desc, edit in bad.items()]
    return [{"desc": desc, "json": {**RELEASE, **edit}, "error": error} for desc, edit, error in listed]


def revocation_cases() -> list[dict[str, Any]]:
    two = revocation()
    two["signatures"] *= 2
    forged = {**revocation(), "payload": revocation(predicate={**REVOKED, "reason": "none"})["payload"]}
    digest = {"digest": {"sha256": root(LISTED)}, "name": "calm"}
    bad = {
        "two signatures": two,
        "another statement": revocation(predicateType="https://model_signing/signature/v1.0"),
        "another type of in-toto": revocation(_type="https://in-toto.io/Statement/v0.1"),
        "no reason": revocation(predicate={**REVOKED, "reason": ""}),
        "a reason of two lines": revocation(predicate={**REVOKED, "reason": "a\nb"}),
        "a reason of 2,001 characters": revocation(predicate={**REVOKED, "reason": "a" * 2001}),
        "a time without a zone": revocation(predicate={**REVOKED, "revoked_at": "2026-12-01T00:00:00"}),
        "two subjects": revocation(subject=[digest, digest]),
        "a root cut short": revocation(subject=[{**digest, "digest": {"sha256": "ab"}}]),
        "a member too many": revocation(predicate={**REVOKED, "note": ""}),
    }
    listed: list[_Case] = [(f"signed on {name}", name, revocation(key), None) for name, key in KEYS.items()]
    listed += [(desc, "P-256", made, "FormatError") for desc, made in bad.items()]
    listed.append(("another payload under the signature", "P-256", forged, "SignatureError"))
    listed.append(("another's key", "P-384", revocation(), "SignatureError"))
    return [{"desc": desc, "key": key, "envelope": made, "error": error} for desc, key, made, error in listed]


def main() -> None:
    said = {
        "about": "Cases for spec/release.md. Made by make_release_vectors.py. error: the class of refusal, or null.",
        "keys": {name: {"pem": pem(key).decode(), "publisher": publisher(key)} for name, key in KEYS.items()},
        "files": {path: data.hex() for path, data in FILES.items()},
        "release": RELEASE,
        "release_json": jcs(RELEASE).decode(),
        "resources": LISTED,
        "root": root(LISTED),
        "payload": jcs(manifest(LISTED)).decode(),
        "cases": cases(),
        "metadata_cases": metadata_cases(),
        "revoked": REVOKED,
        "revocation_cases": revocation_cases(),
    }
    path = Path(sys.argv[1]) / "release.json"
    path.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
