"""A release as a folder: its files, ``release.json`` among them, and ``model.sig`` over all of them. See
spec/release.md.

Nothing here follows a symbolic link, and a folder holds what was signed and nothing else (but what the signer chose to
ignore). Whole folders appear and vanish: they are built aside and moved into place at once.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from verity.errors import FormatError, UsageError
from verity.statements.manifests import (
    IGNORED,
    MAX_FILES,
    MAX_SIGNATURE,
    SIGNATURE_FILE,
    File,
    Manifest,
    check_paths,
    read_manifest,
    sign_manifest,
)
from verity.statements.publishers import PublisherKey, PublisherSigner
from verity.statements.release import MAX_METADATA, METADATA_FILE, Release, check_release, decode_release
from verity.store.home import guarded, sync_folder, write_atomically
from verity.store.reading import Progress, copy_file, measure
from verity.store.staging import staging

LINKED = 16 << 20
"""Files of so many bytes are linked to (hard) rather than copied where the file system can."""


class Opened(NamedTuple):
    """A release whose signature holds: what was signed, what the publisher says of it (None if another tool signed it),
    the bytes of both, and files that are there without being signed. ``folder`` holds the files."""

    manifest: Manifest
    release: Release | None
    metadata: bytes | None
    signature: bytes
    unsigned: list[str]
    folder: Path


class Summed:
    """Progress over many files as one."""

    def __init__(self, progress: Progress | None, total: int, label: str) -> None:
        self._progress = progress
        self._total = total
        self._label = label
        self._before = 0
        self._last = 0

    def __call__(self, done: int, total: int | None, label: str) -> None:  # noqa: ARG002 - as Progress
        if done < self._last:
            self._before += self._last
        self._last = done
        if self._progress is not None:
            self._progress(min(self._before + done, self._total), self._total, self._label)


def open_release(place: Path, key: PublisherKey, signature: Path | None = None) -> Opened:
    """The release at ``place`` (its folder, or its signature file), once its signature holds under ``key`` and its
    folder lists what was signed; no other file than ``release.json`` was read yet.

    Raises FormatError, SignatureError.
    """
    folder, where = place_of(place, signature)
    data = read_bounded(where, MAX_SIGNATURE, "signature file")
    manifest = read_manifest(data, key)
    paths = {file.path for file in manifest.files}
    alone = not place.is_dir() and len(paths) == 1 and "/" not in min(paths)  # its folder may hold anything
    found = paths if alone else set(listed(folder, where))
    if missing := sorted(paths - found):
        raise FormatError(f"a file of the release is missing: {missing[0]!a}", "get the release again")
    unsigned = sorted(found - paths)
    for path in unsigned:
        if not manifest.ignores(path):
            raise FormatError(f"a file is there that was not signed: {path[:200]!a}", "do not use this folder")
    metadata = _metadata(manifest, folder)
    release = decode_release(metadata) if metadata is not None else None
    return Opened(manifest, release, metadata, data, unsigned, folder)


def check_files(opened: Opened, progress: Progress | None = None) -> None:
    """Read every file of it. Raises FormatError for one that is not as it was signed."""
    files = opened.manifest.files
    summed = Summed(progress, sum(size_of(opened.folder / file.path) for file in files), "hash")
    for file in files:
        with _readable(file.path):
            sha256 = measure(opened.folder / file.path, summed).sha256
        if sha256 != file.sha256:
            raise not_as_signed(file)


def not_as_signed(file: File) -> FormatError:
    return FormatError(f"{file.path!a} is not the file that was signed", "get the release again")


def sign_release(
    release: Release, sources: Sequence[Path], out: Path, signer: PublisherSigner, progress: Progress | None = None
) -> Manifest:
    """Make the folder ``out``, which must not be there yet, of these files and the content of these folders.

    Raises UsageError for files that cannot be in a release, FormatError for what is said of it, StoreError.
    """
    check_release(release)
    found = _gathered(sources)
    total = sum(size_of(path) for path in found.values())
    with folder_aside(out) as stage:
        summed = Summed(progress, total, "sign")
        for path, source in found.items():
            target = stage / path
            target.parent.mkdir(parents=True, exist_ok=True)
            put(source, target)
        write_atomically(stage / METADATA_FILE, release.encode(), 0o644)
        files = [File(path, measure(stage / path, summed, sync=True).sha256) for path in (*found, METADATA_FILE)]
        signature = sign_manifest(release.name, files, signer)
        write_atomically(stage / SIGNATURE_FILE, signature, 0o644)
    return read_manifest(signature, signer.public)


@contextlib.contextmanager
def folder_aside(out: Path) -> Iterator[Path]:
    """A folder to fill; when the block ends it is ``out``, or it never was. Raises UsageError, StoreError."""
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already", "choose another folder: a release is never written over")
    parent = out.absolute().parent
    with guarded(parent):
        parent.mkdir(parents=True, exist_ok=True)
        with staging(parent, ".release-") as stage:
            yield stage
            for folder, _, _ in os.walk(stage):
                sync_folder(Path(folder))
            stage.chmod(0o755)
            os.rename(stage, out)  # over an empty folder at most, should one have appeared
            sync_folder(parent)


def put(source: Path, target: Path) -> None:
    """A copy, or for a large file a hard link where that is possible. Raises UsageError, OSError."""
    if size_of(source) >= LINKED:
        with contextlib.suppress(OSError):
            os.link(source, target, follow_symlinks=False)
            return
    copy_file(source, target, "copy")


def place_of(place: Path, signature: Path | None = None) -> tuple[Path, Path]:
    """The folder and the signature file that ``place`` means. Raises FormatError."""
    if place.is_dir():
        return place, signature or place / SIGNATURE_FILE
    if signature is not None:
        return place.parent, signature
    return place.parent, place


def listed(folder: Path, signature: Path) -> Iterator[str]:
    """The paths of all files in it but the signature. Raises FormatError for links and whatever else is no file."""
    waiting, count = [folder], 0
    while waiting:
        with _readable(str(waiting[-1])), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                name = path.relative_to(folder).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif not entry.is_file(follow_symlinks=False):
                    raise FormatError(f"{name[:200]!a} is a link, or no file", "a release holds files alone")
                elif os.path.abspath(path) != os.path.abspath(signature):
                    count += 1
                    if count > MAX_FILES:
                        raise FormatError(f"the folder holds more than {MAX_FILES:,} files", "pack them into fewer")
                    yield name


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """A small file. Raises FormatError."""
    with _readable(str(path)):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FormatError(f"{path} is no file", f"give the path of a {what}")
            data = file.read(limit + 1)
    if len(data) > limit:
        raise FormatError(f"this {what} is larger than {limit:,} bytes", "a real one is far smaller; ask for it again")
    return data


def size_of(path: Path) -> int:
    with _readable(str(path)):
        return path.lstat().st_size


def _metadata(manifest: Manifest, folder: Path) -> bytes | None:
    signed = next((file for file in manifest.files if file.path == METADATA_FILE), None)
    if signed is None:
        return None
    from hashlib import sha256

    data = read_bounded(folder / METADATA_FILE, MAX_METADATA, METADATA_FILE)
    if sha256(data).hexdigest() != signed.sha256:
        raise not_as_signed(signed)
    return data


def _gathered(sources: Sequence[Path]) -> dict[str, Path]:
    """By the path that each file gets: those of folders as they stand in them, the others at the top."""
    found: dict[str, Path] = {}
    try:
        for source in sources:
            names = listed(source, source / SIGNATURE_FILE) if source.is_dir() else [source.name]
            for name in names:
                if source.is_dir() and name.split("/")[0] in IGNORED:
                    continue
                if name in found:
                    raise UsageError(f"two files would be {name} in the release", "rename one of them")
                found[name] = source / name if source.is_dir() else source
        if reserved := {METADATA_FILE, SIGNATURE_FILE, *IGNORED} & {name.split("/")[0] for name in found}:
            raise UsageError(f"a release cannot hold a file {min(reserved)} of your own", "leave it out, or rename it")
        check_paths(found)
    except FormatError as error:
        raise UsageError(str(error), error.hint) from error
    if not found:
        raise UsageError("there are no files to release", "name files, or folders that hold some")
    return dict(sorted(found.items()))


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"{path[:200]} cannot be read: {reason}", "check the path") from error
