"""Adapters: small files (LoRA, in GGUF) that change what a model writes, kept as blobs under names of their own.

Low-rank changes to one set of weights mean nothing for another, and llama.cpp applies them to whatever has the same
shapes. So an adapter fits exactly one model, its **base**, named by BLAKE3 digest: by the file itself (``BASE_KEY``),
or by whoever adds it, and never by both differently.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from pathlib import Path
from typing import NamedTuple

from verity.errors import AdapterNotFound, FormatError, UsageError
from verity.store import catalogue
from verity.store.blobs import Blobs
from verity.store.clock import now
from verity.store.gguf_header import read_metadata
from verity.store.home import guarded
from verity.store.names import PREFIX, normal_name
from verity.store.reading import Progress, copy_file
from verity.store.specs import model_name

BASE_KEY = "verity.base.blake3"
"""Key of the file: the BLAKE3 digest (64 lower-case hex digits) of the model that it was trained on."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = "an adapter"
_ALORA = "adapter.alora.invocation_tokens"
_ADAPTERS = """
SELECT adapters.name, blobs.blake3, blobs.sha256, blobs.size, adapters.base, adapters.source, adapters.added_at
FROM adapters JOIN blobs ON blobs.blake3 = adapters.blake3
"""


class Adapter(NamedTuple):
    """A named adapter; digests in lower-case hex, ``base`` the BLAKE3 of its model, size in bytes."""

    name: str
    blake3: str
    sha256: str
    size: int
    base: str
    source: str
    added_at: str


class Adapters:
    """The adapters of one device. Raises StoreError, for every method, when folder or database cannot be used."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def add(
        self, path: Path, *, name: str | None = None, base: str | None = None, progress: Progress | None = None
    ) -> Adapter:
        """Copy the file at ``path`` into the store. ``base`` is a model's name or digest; needed if the file says none.

        A name that meant other bytes means these afterwards. Raises UsageError for what cannot be read, or fits another
        base than said, and FormatError when it is no LoRA adapter in GGUF.
        """
        target = normal_name(name or model_name(path.name), _NAME)
        said = self.digest_of(base) if base is not None else None
        with self._blobs.temporary() as temporary:
            with guarded(temporary):
                copy_file(path, temporary, "copy", progress)
            fits = agreed_base(base_in(temporary), said)
            with self._blobs.storing():
                blob = self._blobs.adopt(temporary, progress=progress)
                self._write(target, blob.blake3, fits, str(path.absolute()))
                return self.resolve(target)

    def all(self) -> list[Adapter]:
        """By name. Their files are not looked at."""
        with self._blobs.database.snapshot() as connection:
            return [Adapter(*row) for row in connection.execute(_ADAPTERS + "ORDER BY adapters.name")]

    def resolve(self, name_or_digest: str) -> Adapter:
        """What a name, a digest (BLAKE3 or SHA-256) or a prefix of one (8 hex digits or more) means here.

        The file is not looked at: ``Blobs.open`` does that. Raises AdapterNotFound, and UsageError when a prefix fits
        several.
        """
        wanted = name_or_digest.lower()
        known = self.all()
        found = [adapter for adapter in known if adapter.name == wanted]
        if not found and PREFIX.fullmatch(wanted):
            found = [adapter for adapter in known if wanted in _beginnings(adapter, len(wanted))]
        if not found:
            hint = "`verity adapters` lists what is here, `verity adapters add FILE` adds one"
            raise AdapterNotFound(f"there is no adapter {name_or_digest[:200]!r} on this device", hint)
        if len({adapter.blake3 for adapter in found}) > 1:
            raise UsageError(f"{name_or_digest!r} begins several digests", "give more digits, or the adapter's name")
        return found[0]

    def knows(self, digest: str) -> bool:
        """Whether the adapter of this BLAKE3 digest was added here."""
        return any(adapter.blake3 == digest for adapter in self.all())

    def _write(self, name: str, digest: str, base: str, source: str) -> None:
        with self._blobs.database.transaction() as connection:
            write_adapter(connection, name, digest, base, source)

    def digest_of(self, model: str) -> str:
        """The BLAKE3 digest of a model. One that is not here may be named by that, whole. Raises ModelNotFound."""
        known = catalogue.find(model)
        if known is not None:
            return known.blake3
        if _DIGEST.fullmatch(model.lower()) and not any(model.lower() == m.sha256 for m in self._blobs.models()):
            return model.lower()
        return self._blobs.resolve(model)[1].blake3


def write_adapter(connection: sqlite3.Connection, name: str, digest: str, base: str, source: str) -> None:
    """In a transaction: let ``name`` mean the adapter of this digest, for this base. Raises UsageError."""
    query = "SELECT name, base FROM adapters WHERE blake3 = ? AND base != ? AND name != ?"
    other = connection.execute(query, (digest, base, name)).fetchone()
    if other is not None:
        hint = f"remove that first if it is wrong: verity adapters remove {other[0]}"
        raise UsageError(f"the same file is here as {other[0]}, for the base {other[1]}", hint)
    connection.execute(
        "INSERT INTO adapters VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "blake3 = excluded.blake3, base = excluded.base, source = excluded.source, added_at = excluded.added_at",
        (name, digest, base, source, now()),
    )


def base_in(path: Path) -> str | None:
    """The base that an adapter's file names, if any. Raises FormatError when the file is no LoRA adapter in GGUF."""
    metadata = read_metadata(path)
    kinds = metadata.get("general.type"), metadata.get("adapter.type")
    if kinds != ("adapter", "lora"):
        said = " and ".join(repr(kind)[:80] for kind in kinds)
        raise FormatError(f"this is not a LoRA adapter: its types are {said}", "convert one, see docs/adapters.md")
    if not isinstance(metadata.get("general.architecture"), str):
        raise FormatError("the adapter does not say for which architecture it is", "convert it anew")
    if _ALORA in metadata:
        raise FormatError("this adapter works only after certain tokens (aLoRA), which Verity does not do")
    if BASE_KEY not in metadata:
        return None
    base = metadata[BASE_KEY]
    if not isinstance(base, str) or not _DIGEST.fullmatch(base):
        raise FormatError(f"the adapter's {BASE_KEY} is not a BLAKE3 digest of 64 lower-case hex digits")
    return base


def add_command(digest: str, base: str, name: str = "FILE") -> str:
    """What to run where the adapter of this digest is missing."""
    return f"verity adapters add {shlex.quote(name)} --base {base}   (blake3 {digest})"


def agreed_base(in_file: str | None, said: str | None) -> str:
    """The one base that an adapter fits, by its file and by whoever adds it. Raises UsageError."""
    if in_file is None and said is None:
        raise UsageError(
            "the adapter does not say which model it fits", "name the one that it was trained on: --base M"
        )
    if in_file is not None and said is not None and in_file != said:
        raise UsageError(f"the adapter says that it fits the model {in_file}, not {said}", "leave --base out")
    return in_file or said or ""


def _beginnings(adapter: Adapter, length: int) -> tuple[str, str]:
    return adapter.blake3[:length], adapter.sha256[:length]
