"""``verity release add`` and ``export``: a release becomes blobs and rows of this device, and a folder again.

All files are adopted under the digests that were signed, whatever the folder holds by then. The release, its files and
the name of its model or adapter become known in one transaction: before it nothing is named, and `verity models gc`
removes what was adopted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from verity.errors import FormatError, ModelNotFound, SignatureError, UsageError
from verity.statements.manifests import MAX_SIGNATURE, SIGNATURE_FILE, File, hint_of
from verity.statements.publishers import PublisherKey
from verity.statements.release import Known
from verity.statements.revocation import Revocation, publisher_of, read_revocation
from verity.store import catalogue
from verity.store.adapters import agreed_base, base_in, write_adapter
from verity.store.blobs import Blob, Blobs, write_name
from verity.store.home import guarded, write_atomically
from verity.store.names import normal_name
from verity.store.pull import is_model
from verity.store.reading import Progress, copy_file
from verity.store.release_folders import (
    Opened,
    Summed,
    folder_aside,
    not_as_signed,
    open_release,
    place_of,
    read_bounded,
    size_of,
)
from verity.store.releases import Releases, write_publisher, write_release
from verity.store.specs import model_name

_TRUST = "name its key: --key publisher.pub.pem; or trust its publisher: verity release trust publisher.pub.pem"


def add_release(
    blobs: Blobs,
    place: Path,
    key: PublisherKey | None = None,
    *,
    signature: Path | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Known:
    """Keep the release at ``place`` (a folder, or its signature file), signed with ``key``, or by a publisher whose key
    is here already. ``name`` is what its model or adapter is called here.

    Raises FormatError, SignatureError, UsageError, DigestMismatch, StoreError. To add it again changes nothing.
    """
    where = place_of(place, signature)[1]
    key = key or _key_for(blobs, hint_of(read_bounded(where, MAX_SIGNATURE, "signature file")))
    opened = open_release(place, key, signature)
    known = _described(opened, key, name)
    if any(file.path.lower() == SIGNATURE_FILE for file in known.files):
        raise FormatError(f"the release holds a file {SIGNATURE_FILE} of its own", "ask its publisher for one without")
    with blobs.temporary() as temporary:
        files = _copied(opened, temporary.parent / "new-files", progress)
        mains = [file for file in known.files if _is_main(known, files[file.path])]
        base = _base(known, [files[file.path] for file in mains])
        with blobs.storing():
            adopted = {path: blobs.adopt(copy) for path, copy in files.items()}
            for file in known.files:
                if adopted[file.path].sha256 != file.sha256:
                    raise not_as_signed(file)
            names = _names(known, mains, name)
            _free(blobs, names, adopted, key)
            with blobs.database.transaction() as connection:
                write_publisher(connection, key)
                digests = {path: blob.blake3 for path, blob in adopted.items()}
                write_release(connection, known, opened.metadata, opened.signature, digests)
                for path, target in names.items():
                    _write_name(connection, known, target, adopted[path], base)
    return Releases(blobs.database).find(known.root, known.publisher)


def add_revocation(blobs: Blobs, data: bytes, key: PublisherKey | None = None) -> Revocation:
    """Keep a revocation, signed with ``key`` or by a publisher whose key is here. Raises FormatError,
    SignatureError."""
    releases, publisher = Releases(blobs.database), publisher_of(data)
    key = key or next((known.key for known in releases.publishers() if known.id == publisher), None)
    if key is None:
        raise SignatureError(f"the revocation is by a publisher unknown here, {publisher[:16]}…", _TRUST)
    revocation = read_revocation(data, key)
    kept = releases.keep_revocation(revocation, key, data)
    return revocation._replace(revoked=kept)


def export_release(blobs: Blobs, known: Known, out: Path, progress: Progress | None = None) -> None:
    """Make the folder ``out``, which must not be there yet, of a release that is here, as it was signed.

    The files are copies: whoever edits them must not change the blobs of this device. Raises UsageError, ModelNotFound,
    DigestMismatch, StoreError.
    """
    kept = Releases(blobs.database).kept(known)
    try:
        found = {path: blobs.open(digest) for path, digest in kept.blobs}
    except ModelNotFound as error:
        raise ModelNotFound("a file of the release is no longer here", "add its folder again") from error
    summed = Summed(progress, sum(blob.size for blob in found.values()), "copy")
    with folder_aside(out) as stage:
        for path, blob in found.items():
            target = stage / path
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_file(blob.path, target, "copy", summed)
        write_atomically(stage / SIGNATURE_FILE, kept.signature, 0o644)


def _key_for(blobs: Blobs, hint: str | None) -> PublisherKey:
    """The publisher whose key a signature file says made it, if that key is here."""
    found = [known.key for known in Releases(blobs.database).publishers() if known.key.hint == hint]
    if not found:
        raise SignatureError("the release is signed by a publisher whose key is not here", _TRUST)
    return found[0]


def _described(opened: Opened, key: PublisherKey, name: str | None) -> Known:
    """What is kept of it. Without ``release.json`` it counts as a model, under the name given or the one it was signed
    under."""
    manifest, release = opened.manifest, opened.release
    files = tuple(manifest.files)
    if release is None:
        return Known(
            manifest.root, key.id, normal_name(name or model_name(manifest.name)), "model", "", None, files, None
        )
    return Known(manifest.root, key.id, release.name, release.kind, release.version, release.base, files, None)


def _copied(opened: Opened, folder: Path, progress: Progress | None) -> dict[str, Path]:
    """Copies of all files, on the store's file system, by path."""
    files = opened.manifest.files
    summed = Summed(progress, sum(size_of(opened.folder / file.path) for file in files), "copy")
    copies = {}
    with guarded(folder):
        folder.mkdir(mode=0o700)
        for number, file in enumerate(files):
            copies[file.path] = folder / str(number)
            copy_file(opened.folder / file.path, copies[file.path], "copy", summed)
    return copies


def _is_main(known: Known, copy: Path) -> bool:
    """Whether the file is what the release is of, and not a page beside it."""
    if known.kind == "dataset":
        return False
    if not is_model(copy):
        return False
    return known.kind == "model" or _is_adapter(copy)


def _is_adapter(copy: Path) -> bool:
    try:
        base_in(copy)
    except FormatError:
        return False
    return True


def _base(known: Known, copies: Sequence[Path]) -> str | None:
    """The model that a released adapter fits: as the release says, or its file. Raises FormatError, UsageError."""
    if known.kind != "adapter":
        return None
    bases = {agreed_base(base_in(copy), known.base) for copy in copies}
    if len(bases) != 1:
        raise FormatError("a release of an adapter holds one LoRA adapter in GGUF, or several for one model")
    return bases.pop()


def _names(known: Known, mains: Sequence[File], name: str | None) -> dict[str, str]:
    """What each of them is called here, by path: one as the release is, several as their files are."""
    what = "an adapter" if known.kind == "adapter" else "a model"
    if len(mains) == 1:
        return {mains[0].path: normal_name(name or known.name, what)}
    return {
        file.path: normal_name(f"{name or known.name}-{model_name(Path(file.path).name)}"[:100], what) for file in mains
    }


def _free(blobs: Blobs, names: dict[str, str], adopted: dict[str, Blob], key: PublisherKey) -> None:
    """A stranger's release takes no name that means something else: only its own publisher's earlier one. Raises
    UsageError."""
    releases = Releases(blobs.database)
    with blobs.database.snapshot() as connection:
        rows = connection.execute(
            "SELECT name, blobs.blake3, sha256 FROM (SELECT name, blake3 FROM models UNION ALL "
            "SELECT name, blake3 FROM adapters) AS named JOIN blobs ON blobs.blake3 = named.blake3"
        ).fetchall()
    for path, target in names.items():
        entry = catalogue.find(target)
        reserved = entry is not None and entry.sha256 != adopted[path].sha256
        taken = any(
            taken_name == target and digest != adopted[path].blake3 and not releases.holding(sha256, [key.id])
            for taken_name, digest, sha256 in rows
        )
        if reserved or taken:
            raise UsageError(f"the name {target} means something else here", "choose another name with --name")


def _write_name(connection: sqlite3.Connection, known: Known, name: str, blob: Blob, base: str | None) -> None:
    source = f"release {known.name} {known.version}".rstrip()
    if known.kind == "adapter":
        write_adapter(connection, name, blob.blake3, base or "", source)
    else:
        write_name(connection, name, blob.blake3, source)
