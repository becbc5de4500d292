"""``release.json``: what a publisher says of a model, an adapter or a dataset. See spec/release.md.

    {"format": "verity-release/1", "kind": "adapter", "name": "calm", "version": "1.2", "licence": "Apache-2.0",
     "base": BLAKE3 of the model that it was made of, or null, "training": {…},
     "evaluations": [{"name", "metric", "value", "of"}], "made_at": RFC 3339 in UTC, "publisher": "Example Lab"}

It is one of the release's files, so that the signature (manifests.py) is over it too. It is the publisher's word: only
the name, kind and base have an effect.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import msgspec

from verity.errors import FormatError
from verity.statements.manifests import File
from verity.statements.request import TIME
from verity.statements.strict import canonical, decode_hex, load

FORMAT = "verity-release/1"
METADATA_FILE = "release.json"
MAX_METADATA = 1 << 20
Kind = Literal["model", "adapter", "dataset"]
KINDS: tuple[Kind, ...] = ("model", "adapter", "dataset")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_DIGITS = re.compile(r"[0-9a-f]{8,64}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_LICENCE = re.compile(r"[A-Za-z0-9(][A-Za-z0-9.+() -]{0,199}")
_MAX_WORDS = 200
_MAX_EVALUATIONS = 1000


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure: of which measurement, in which metric, measured on what (a dataset's name or digest)."""

    name: str
    metric: str
    value: int | float
    of: str


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """See the module."""

    format: str = FORMAT
    kind: Kind
    name: str
    version: str
    licence: str
    base: str | None
    training: dict[str, Any]
    evaluations: list[Evaluation]
    made_at: str
    publisher: str

    def encode(self) -> bytes:
        """The file's bytes: canonical JSON. Raises FormatError."""
        return canonical(self)


class Revoked(NamedTuple):
    """Why a release must not be used any more, by its publisher's word, and since when (RFC 3339, UTC)."""

    reason: str
    at: str


class Known(NamedTuple):
    """A release that a device keeps: its root and its publisher (hex), what it is, its files, whether it was revoked.

    One that another tool signed has no ``release.json``: its name is given by whoever adds it, it counts as a model,
    and its version is empty.
    """

    root: str
    publisher: str
    name: str
    kind: Kind
    version: str
    base: str | None
    files: tuple[File, ...]
    revoked: Revoked | None

    def holds(self, sha256: str) -> bool:
        return any(file.sha256 == sha256 for file in self.files)


def decode_release(data: bytes) -> Release:
    """Read ``release.json``. Raises FormatError."""
    release = load(data, Release, limit=MAX_METADATA, what=METADATA_FILE)
    check_release(release)
    return release


def check_release(release: Release) -> None:
    """Raise FormatError unless every member is what spec/release.md says."""
    if release.format != FORMAT:
        raise FormatError(f"{METADATA_FILE} is of an unknown format, {release.format[:80]!r}", "update Verity")
    if not _NAME.fullmatch(release.name) or _DIGITS.fullmatch(release.name):
        raise FormatError(
            f"{release.name[:80]!a} cannot be the name of a release",
            "use lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit, and not a hex number",
        )
    if not _VERSION.fullmatch(release.version):
        raise FormatError(f"{release.version[:80]!a} is no version of a release", "give one such as 1.0")
    if not _LICENCE.fullmatch(release.licence):
        raise FormatError(f"{release.licence[:80]!a} is no SPDX licence", "give one such as Apache-2.0")
    if release.base is not None:
        decode_hex(release.base, 32, "base of a release")
    if not TIME.fullmatch(release.made_at):
        raise FormatError("the time of a release is not in UTC (RFC 3339)")
    if len(release.evaluations) > _MAX_EVALUATIONS:
        raise FormatError(f"a release names at most {_MAX_EVALUATIONS:,} evaluations")
    words = [release.publisher, *(w for e in release.evaluations for w in (e.name, e.metric, e.of))]
    if not all(0 < len(word) <= _MAX_WORDS and word.isprintable() for word in words):
        raise FormatError(f"publisher and evaluations are named in 1 to {_MAX_WORDS} printable characters")
