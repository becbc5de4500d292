"""The releases that a device keeps, the publishers whose keys it has, and the revocations, which are kept for ever.

What stands here was signed, checked and hashed when it was added (importing.py). Whether a publisher is trusted is not
here: that is the owner's word (config.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from verity.errors import ReleaseNotFound, UsageError
from verity.statements.manifests import File
from verity.statements.publishers import PublisherKey, read_der
from verity.statements.release import Known, Revoked
from verity.statements.revocation import Revocation
from verity.store.clock import now
from verity.store.database import Database
from verity.store.names import PREFIX

_RELEASES = """
SELECT releases.root, releases.publisher, name, kind, version, base, reason, revoked_at
FROM releases LEFT JOIN revocations ON revocations.root = releases.root AND revocations.publisher = releases.publisher
"""
_FILES = "SELECT path, sha256 FROM release_files WHERE root = ? AND publisher = ? ORDER BY rowid"


class Publisher(NamedTuple):
    """A publisher whose key this device has: the key's id, and the name that it has here."""

    id: str
    name: str
    key: PublisherKey


class Kept(NamedTuple):
    """The bytes of a release that were signed, and where its files are: pairs of path and BLAKE3."""

    metadata: bytes | None
    signature: bytes
    added_at: str
    blobs: list[tuple[str, str]]


class Releases:
    """Of one device. Raises StoreError, for every method, when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Known]:
        """By name, the latest first."""
        return self._select("ORDER BY name, releases.added_at DESC, releases.root")

    def holding(self, sha256: str, publishers: Sequence[str]) -> list[Known]:
        """Those of these publishers that a file of this SHA-256 is in, without their other files."""
        query = "SELECT DISTINCT root, publisher FROM release_files WHERE sha256 = ?"
        with self._database.snapshot() as connection:
            found = [key for key in connection.execute(query, (sha256,)).fetchall() if key[1] in publishers]
            where = _RELEASES + "WHERE releases.root = ? AND releases.publisher = ?"
            rows = [connection.execute(where, key).fetchone() for key in found]
        return [_known(row, [File("", sha256)]) for row in rows]

    def by(self, publishers: Sequence[str]) -> list[Known]:
        """All of these publishers."""
        return [release for release in self.all() if release.publisher in publishers]

    def find(self, root: str, publisher: str) -> Known:
        """The one of this root by this publisher. Raises ReleaseNotFound."""
        found = self._select("WHERE releases.root = ? AND releases.publisher = ?", root, publisher)
        if not found:
            raise ReleaseNotFound(f"the release {root[:16]}… is not on this device", "`verity release list` lists all")
        return found[0]

    def resolve(self, wanted: str) -> Known:
        """The one of this name, NAME@VERSION, root, or beginning of a root (8 hex digits or more).

        Raises ReleaseNotFound, and UsageError when it is several.
        """
        name, _, version = wanted.lower().partition("@")
        found = [r for r in self.all() if r.name == name and version in ("", r.version.lower())]
        if not found and PREFIX.fullmatch(wanted.lower()):
            found = [release for release in self.all() if release.root.startswith(wanted.lower())]
        if not found:
            hint = "`verity release list` lists what is here, `verity release add FOLDER` adds one"
            raise ReleaseNotFound(f"there is no release {wanted[:200]!r} on this device", hint)
        if len(found) > 1:
            named = ", ".join(f"{r.name}@{r.version} ({r.root[:12]})" for r in found[:5])
            raise UsageError(f"{wanted!r} is several releases: {named}", "give NAME@VERSION, or the root's digits")
        return found[0]

    def kept(self, release: Known) -> Kept:
        """What is needed to hand it out again. Raises ReleaseNotFound."""
        where = release.root, release.publisher
        with self._database.snapshot() as connection:
            query = "SELECT metadata, signature, added_at FROM releases WHERE root = ? AND publisher = ?"
            row = connection.execute(query, where).fetchone()
            query = "SELECT path, blake3 FROM release_files WHERE root = ? AND publisher = ? ORDER BY path"
            blobs = connection.execute(query, where).fetchall()
        if row is None:
            raise ReleaseNotFound(f"the release {release.name} is no longer on this device")
        metadata, signature, added_at = row
        return Kept(metadata, signature, added_at, blobs)

    # --- publishers and revocations -----------------------------------------------------------------------------------

    def publishers(self) -> list[Publisher]:
        """By name."""
        with self._database.snapshot() as connection:
            rows = connection.execute("SELECT id, name, key FROM publishers ORDER BY name, id").fetchall()
        return [Publisher(number, name, read_der(der)) for number, name, der in rows]

    def keep_publisher(self, key: PublisherKey, name: str | None = None) -> Publisher:
        """Know this key from now on, under this name, or under the one that it has. Returns what is known."""
        with self._database.transaction() as connection:
            write_publisher(connection, key, name)
            row = connection.execute("SELECT name FROM publishers WHERE id = ?", (key.id,)).fetchone()
        return Publisher(key.id, row[0], key)

    def keep_revocation(self, revocation: Revocation, key: PublisherKey, envelope: bytes) -> Revoked:
        """Keep it for ever, whether or not the release is here. The first one of a release stays."""
        revoked, where = revocation.revoked, (revocation.root, key.id)
        with self._database.transaction() as connection:
            write_publisher(connection, key)
            connection.execute(
                "INSERT INTO revocations VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (*where, revoked.reason, revoked.at, envelope, now()),
            )
            query = "SELECT reason, revoked_at FROM revocations WHERE root = ? AND publisher = ?"
            return Revoked(*connection.execute(query, where).fetchone())

    def _select(self, where: str, *values: str) -> list[Known]:
        with self._database.snapshot() as connection:
            rows = connection.execute(_RELEASES + where, values).fetchall()
            files = [[File(*f) for f in connection.execute(_FILES, row[:2])] for row in rows]
        return [_known(row, its) for row, its in zip(rows, files, strict=True)]


def write_publisher(connection: sqlite3.Connection, key: PublisherKey, name: str | None = None) -> None:
    """In a transaction. A name that is given replaces the one before."""
    connection.execute(
        "INSERT INTO publishers VALUES (?1, coalesce(?2, substr(?1, 1, 12)), ?3, ?4) "
        "ON CONFLICT (id) DO UPDATE SET name = coalesce(?2, name)",
        (key.id, name, key.der, now()),
    )


def write_release(
    connection: sqlite3.Connection, known: Known, metadata: bytes | None, signature: bytes, blobs: dict[str, str]
) -> None:
    """In a transaction that adds it as a whole; ``blobs`` are the BLAKE3 digests by path. Once more: the same again."""
    where = known.root, known.publisher
    row = (*where, known.name, known.kind, known.version, known.base, metadata, signature, now())
    connection.execute("DELETE FROM releases WHERE root = ? AND publisher = ?", where)
    connection.execute("INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    files = [(*where, file.path, file.sha256, blobs[file.path]) for file in known.files]
    connection.executemany("INSERT INTO release_files VALUES (?, ?, ?, ?, ?)", files)


def _known(row: tuple[Any, ...], files: list[File]) -> Known:
    root, publisher, name, kind, version, base, reason, at = row
    revoked = Revoked(reason, at) if reason is not None else None
    return Known(root, publisher, name, kind, version, base, tuple(files), revoked)
