"""Signed manifests of files: OpenSSF Model Signing v1.0, as model_signing 1.1 writes it. See spec/release.md.

    model.sig   a Sigstore bundle v0.3 in JSON, signed with a key:
    {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
     "verificationMaterial": {"publicKey": {"hint": SHA-256 of the key's PEM}, "tlogEntries": []},
     "dsseEnvelope": {"payload": base64, "payloadType": "application/vnd.in-toto+json",
                      "signatures": [{"sig": base64, "keyid": ""}]}}

The payload is an in-toto statement: its subject the root (SHA-256 over the digests of all files, in their order), its
predicate the files' names and digests. What in-toto leaves open is ignored, as it demands; everything that decides
which bytes are meant is strict. Supported is what the tool does by default: whole files, hashed with SHA-256.
"""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from verity.errors import FormatError, SignatureError
from verity.statements.dsse import PAYLOAD_TYPE, pae
from verity.statements.publishers import PublisherKey, PublisherSigner
from verity.statements.strict import canonical, decode_base64, decode_hex, encode_base64, load

SIGNATURE_FILE = "model.sig"
PREDICATE = "https://model_signing/signature/v1.0"
MAX_SIGNATURE = 16 << 20
MAX_FILES = 20_000
MAX_PATH = 1024
"""Bytes."""
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What model_signing leaves out at the top of a folder, and so do we."""

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_OLD_PREDICATE = "https://model_signing/Digests/v0.1"
_ONE_FILE = "."
_MAX_SEGMENT = 255
_MAX_IGNORED = 1000
_SIGN_AGAIN = "ask its publisher to sign it with a key, as whole files with SHA-256 (the default of model_signing)"


class _PublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hint: str | None = None


class _Material(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    publicKey: _PublicKey | None = None  # noqa: N815 - the field's name in the bundle's specification
    certificate: Any = None
    x509CertificateChain: Any = None  # noqa: N815
    tlogEntries: list[Any] = []  # noqa: N815
    timestampVerificationData: Any = None  # noqa: N815


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payloadType: str  # noqa: N815
    signatures: list[_Signature]


class _Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mediaType: str  # noqa: N815
    verificationMaterial: _Material  # noqa: N815
    dsseEnvelope: _Envelope  # noqa: N815


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: dict[str, str]


class _Resource(msgspec.Struct, frozen=True):
    name: str
    algorithm: str
    digest: str


class _Serialization(msgspec.Struct, frozen=True):
    method: str
    hash_type: str
    ignore_paths: list[str] = []


class _Predicate(msgspec.Struct, frozen=True):
    serialization: _Serialization
    resources: list[_Resource]


class _Statement(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="_type")
    subject: list[_Subject]
    predicateType: str  # noqa: N815
    predicate: Any


class File(NamedTuple):
    """A signed file: its path (POSIX, relative, safe to join to a folder) and SHA-256 (lower-case hex)."""

    path: str
    sha256: str


class Manifest(NamedTuple):
    """What was signed: the root (hex), the name that the signer gave it, all files, and what need not be among them."""

    root: str
    name: str
    files: list[File]
    ignored: list[str]

    def ignores(self, path: str) -> bool:
        """Whether a file of this path may be there without being signed."""
        return any(path == each or path.startswith(f"{each}/") for each in self.ignored)


def sign_manifest(name: str, files: Iterable[File], signer: PublisherSigner) -> bytes:
    """The bytes of a signature file over these files. Raises FormatError for paths that may not be."""
    ordered = sorted(files, key=lambda file: file.path.split("/"))  # as PurePosixPath sorts, and so model_signing
    said = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root_of(ordered)}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [*IGNORED, SIGNATURE_FILE],
            },
            "resources": [{"name": f.path, "algorithm": "sha256", "digest": f.sha256} for f in ordered],
        },
    }
    payload = canonical(said)
    _read_payload(payload)
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signer.public.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": encode_base64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": encode_base64(signature), "keyid": ""}],
        },
    }
    data = canonical(bundle)
    if len(data) > MAX_SIGNATURE:
        raise FormatError(f"the signature would be larger than {MAX_SIGNATURE:,} bytes", "pack the files into fewer")
    return data


def read_manifest(data: bytes, key: PublisherKey) -> Manifest:
    """What ``key`` signed in this signature file. Raises FormatError, SignatureError."""
    bundle = _read_bundle(data)
    if _hint(bundle) not in (None, key.hint):
        raise SignatureError(
            f"this was signed with another key than {key.id[:16]}…", "name its publisher's key, as he told you himself"
        )
    envelope = bundle.dsseEnvelope
    payload = decode_base64(envelope.payload, "signature's payload")
    key.check(pae(PAYLOAD_TYPE, payload), decode_base64(envelope.signatures[0].sig, "signature"))
    return _read_payload(payload)


def hint_of(data: bytes) -> str | None:
    """Which key a signature file says made it: nobody vouches for that. Raises FormatError."""
    return _hint(_read_bundle(data))


def _hint(bundle: _Bundle) -> str | None:
    key = bundle.verificationMaterial.publicKey
    return (key.hint or None) if key is not None else None


def root_of(files: Iterable[File]) -> str:
    """SHA-256 over the files' digests, in their order."""
    hasher = hashlib.sha256()
    for file in files:
        hasher.update(bytes.fromhex(file.sha256))
    return hasher.hexdigest()


def _read_bundle(data: bytes) -> _Bundle:
    bundle = load(data, _Bundle, limit=MAX_SIGNATURE, what="signature file")
    if bundle.mediaType != _MEDIA_TYPE:
        raise FormatError(f"the signature file is no Sigstore bundle v0.3: {bundle.mediaType[:80]!r}", _SIGN_AGAIN)
    material, envelope = bundle.verificationMaterial, bundle.dsseEnvelope
    if material.publicKey is None or material.certificate is not None or material.x509CertificateChain is not None:
        raise FormatError("this was signed with a certificate, and Verity checks keys", _SIGN_AGAIN)
    if material.tlogEntries or material.timestampVerificationData is not None:
        raise FormatError("the signature file carries proofs of a log or of a time, which Verity does not check")
    if envelope.payloadType != PAYLOAD_TYPE or len(envelope.signatures) != 1:
        raise FormatError(f"the signature file must hold one signature over {PAYLOAD_TYPE}")
    return bundle


def _read_payload(payload: bytes) -> Manifest:
    statement = load(payload, _Statement, limit=MAX_SIGNATURE, what="signed manifest")
    if statement.type != _STATEMENT or len(statement.subject) != 1:
        raise FormatError("the signed manifest is no in-toto statement v1 with one subject")
    if statement.predicateType == _OLD_PREDICATE:
        raise FormatError("this was signed with model_signing 0.x, whose manifests are another format", _SIGN_AGAIN)
    if statement.predicateType != PREDICATE:
        raise FormatError(f"this is signed, and no manifest of files: {statement.predicateType[:80]!r}")
    try:
        predicate = msgspec.convert(statement.predicate, _Predicate, strict=True)
    except msgspec.ValidationError as error:
        raise FormatError(f"this is not a valid signed manifest: {str(error)[:300]}") from error
    subject, how = statement.subject[0], predicate.serialization
    if (how.method, how.hash_type) != ("files", "sha256"):
        said = f"{how.method[:40]!r} with {how.hash_type[:40]!r}"
        raise FormatError(f"the files were hashed as {said}, which Verity does not check", _SIGN_AGAIN)
    files = _files(predicate.resources, subject.name)
    if subject.digest.get("sha256") != root_of(files):
        raise FormatError("the manifest's root is not that of the files that it lists")
    manifest = Manifest(root_of(files), subject.name[:200], files, _ignored(how.ignore_paths))
    if any(manifest.ignores(file.path) for file in files):
        raise FormatError("the manifest ignores a file that it signs")
    return manifest


def _files(resources: list[_Resource], name: str) -> list[File]:
    if not 0 < len(resources) <= MAX_FILES:
        raise FormatError(f"a release has 1 to {MAX_FILES:,} files, not {len(resources):,}")
    if any(resource.algorithm != "sha256" for resource in resources):
        raise FormatError("a file of the manifest is not hashed with SHA-256", _SIGN_AGAIN)
    for resource in resources:
        decode_hex(resource.digest, 32, "digest of a signed file")
    if len(resources) == 1 and resources[0].name == _ONE_FILE:  # a file was signed by itself: its name is the subject's
        resources = [msgspec.structs.replace(resources[0], name=name)]
        if "/" in name:
            raise FormatError("the name of the signed file is a path")
    files = [File(resource.name, resource.digest) for resource in resources]
    check_paths([file.path for file in files])
    return files


def check_paths(paths: Iterable[str]) -> None:
    """That files of these paths can be side by side in a folder of any system, and lead out of none. Raises
    FormatError."""
    seen: set[str] = set()
    for path in paths:
        if not is_safe(path):
            raise FormatError(f"this path of a signed file is not allowed: {path[:120]!a}")
        plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        if plain in seen:
            raise FormatError(f"two files have one path, or paths that differ in case alone: {path[:120]!a}")
        seen.add(plain)
    # What is below a folder follows it at once. All folders of all paths would be gigabytes, if somebody wanted that.
    for path, after in itertools.pairwise(sorted(f"{each}/".replace("/", "\0") for each in seen)):
        if after.startswith(path):
            both = path.replace("\0", "/")
            raise FormatError(f"a path is both a file and a folder: {both[:120]!a}")


def is_safe(path: str) -> bool:
    """Whether it is relative, leads downward only, and is read alike by everybody."""
    if not 0 < len(path.encode("utf-8", "surrogatepass")) <= MAX_PATH or "\\" in path or not path.isprintable():
        return False
    parts = path.split("/")
    return all(part not in ("", ".", "..") and len(part.encode()) <= _MAX_SEGMENT for part in parts)


def _ignored(paths: list[str]) -> list[str]:
    """Those that can stand in a folder: others, which name places elsewhere, ignore nothing."""
    if len(paths) > _MAX_IGNORED:
        raise FormatError(f"the manifest ignores more than {_MAX_IGNORED:,} paths")
    return [path for path in paths if is_safe(path)]
