"""Releases of strangers: their signature files, what their publishers say, their revocations, and their keys."""

from __future__ import annotations

import functools
from typing import Any

from fuzz.target import Target, dump, vectors
from verity.errors import FormatError, SignatureError
from verity.statements.dsse import PAYLOAD_TYPE, pae
from verity.statements.manifests import check_paths, read_manifest, root_of
from verity.statements.publishers import PublisherKey, PublisherSigner, new_signer, read_der, read_public
from verity.statements.release import decode_release
from verity.statements.revocation import publisher_of, read_revocation
from verity.statements.strict import encode_base64


def _published() -> Any:
    return vectors("release")


@functools.cache
def _key() -> PublisherKey:
    return read_public(_published()["keys"]["P-256"]["pem"].encode())


@functools.cache
def _manifests() -> frozenset[Any]:
    """All that the key of the seeds ever signed."""
    return frozenset(_said(read_manifest(seed, _key())) for seed in _bundles())


def _said(manifest: Any) -> Any:
    return manifest.root, manifest.name, tuple(manifest.files), tuple(manifest.ignored)


def _manifest(data: bytes) -> None:
    manifest = read_manifest(data, _key())
    assert _said(manifest) in _manifests(), "a manifest was forged"
    assert manifest.root == root_of(manifest.files)


@functools.cache
def _liar() -> PublisherSigner:
    return new_signer()


def _lie(data: bytes) -> None:
    """Whatever a publisher may sign."""
    key = _liar().public
    signature = {"sig": encode_base64(_liar().sign(pae(PAYLOAD_TYPE, data))), "keyid": ""}
    envelope = {"payload": encode_base64(data), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
    bundle = {**_published()["cases"][0]["bundle"], "dsseEnvelope": envelope}
    manifest = read_manifest(dump({**bundle, "verificationMaterial": {"publicKey": {"hint": key.hint}}}), key)
    assert manifest.root == root_of(manifest.files)
    assert not any(manifest.ignores(file.path) for file in manifest.files)
    _paths("\0".join(file.path for file in manifest.files).encode())


def _paths(data: bytes) -> None:
    paths = data.decode("utf-8", "replace").split("\0")
    check_paths(paths)
    for path in paths:
        assert not {"", ".", ".."} & {*path.split("/")}, "a path leads elsewhere"
    assert len({path.casefold() for path in paths}) == len(paths)


def _release(data: bytes) -> None:
    release = decode_release(data)
    assert decode_release(release.encode()) == release


def _revocation(data: bytes) -> None:
    revocation = read_revocation(data, _key())
    assert (revocation.root, *revocation.revoked) == (_published()["root"], *_published()["revoked"].values())
    assert publisher_of(data) == _key().id


def _publisher(data: bytes) -> None:
    key = read_public(data)
    assert read_der(key.der).id == key.id


def _bundles() -> list[bytes]:
    cases = _published()["cases"]
    return [dump(case["bundle"]) for case in cases if case["error"] is None and case["key"] == "P-256"]


def _payloads() -> list[bytes]:
    return [_published()["payload"].encode()]


def _path_seeds() -> list[bytes]:
    return ["\0".join(each["name"] for each in _published()["resources"]).encode(), b"a\0../b", "é\0e".encode()]


def _releases() -> list[bytes]:
    return [dump(case["json"]) for case in _published()["metadata_cases"][:3]]


def _revocations() -> list[bytes]:
    cases = _published()["revocation_cases"]
    return [dump(case["envelope"]) for case in cases if case["error"] is None and case["key"] == "P-256"]


def _publishers() -> list[bytes]:
    return [key["pem"].encode() for key in _published()["keys"].values()]


TARGETS = [
    Target("manifest", "signature files of releases", _manifest, _bundles, (FormatError, SignatureError), True),
    Target("lie", "the same, soundly signed over edited content", _lie, _payloads, (FormatError,), structured=True),
    Target("paths", "paths of signed files", _paths, _path_seeds, (FormatError,)),
    Target("release", "what publishers say", _release, _releases, (FormatError,), structured=True),
    Target("revocation", "revocations", _revocation, _revocations, (FormatError, SignatureError), True),
    Target("publisher", "keys of publishers", _publisher, _publishers, (FormatError,)),
]
