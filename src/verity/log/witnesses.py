"""Whom this device asks to cosign its published heads, and which size each is known to have seen of which log."""

from __future__ import annotations

import msgspec

from verity.errors import UsageError
from verity.log import note
from verity.log.note import COSIGNATURE, MAX_SIGNATURES, VerifierKey
from verity.store.clock import now
from verity.store.database import Database
from verity.store.specs import is_loopback

MAX_WITNESSES = MAX_SIGNATURES - 1
"""A note has no more lines than readers must accept, and one is the log's own."""


class Asked(msgspec.Struct, frozen=True):
    """A witness that is asked: the address before ``/add-checkpoint``, and its key."""

    url: str
    key: VerifierKey


class Witnesses:
    """The tables ``witnesses`` and ``witness_sizes``. Raises StoreError when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, url: str, key: VerifierKey) -> Asked:
        """Ask a witness from now on; one of this key that is asked already gets the address. Raises UsageError."""
        if key.kind != COSIGNATURE:
            raise UsageError("this is not the key of a witness", "`verity witness key` prints it at the witness")
        asked = Asked(check_url(url), key)
        with self._database.transaction() as connection:
            (count,) = connection.execute("SELECT count(*) FROM witnesses WHERE vkey != ?", (str(key),)).fetchone()
            if count >= MAX_WITNESSES:
                raise UsageError(f"{MAX_WITNESSES} witnesses are asked already", "`verity log witness remove` one")
            connection.execute("INSERT OR REPLACE INTO witnesses VALUES (?, ?, ?)", (str(key), asked.url, now()))
        return asked

    def remove(self, name: str) -> Asked:
        """Ask no more: ``name`` is the witness's key as one word, its name or its address. Raises UsageError."""
        found = [asked for asked in self.all() if name in (str(asked.key), asked.key.name, asked.url)]
        if len(found) != 1:
            raise UsageError(f"{len(found)} witnesses are asked that {name} names", "see `verity log witness list`")
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM witnesses WHERE vkey = ?", (str(found[0].key),))
        return found[0]

    def all(self) -> list[Asked]:
        """In the order in which they were added."""
        with self._database.snapshot() as connection:
            rows = connection.execute("SELECT url, vkey FROM witnesses ORDER BY rowid").fetchall()
        return [Asked(url, note.parse_key(vkey)) for url, vkey in rows]

    def size(self, key: VerifierKey, origin: str) -> int:
        """The size of the log that this witness cosigned last, as far as is known; else 0."""
        query = "SELECT size FROM witness_sizes WHERE vkey = ? AND origin = ?"
        with self._database.snapshot() as connection:
            row = connection.execute(query, (str(key), origin)).fetchone()
        return int(row[0]) if row is not None else 0

    def saw(self, key: VerifierKey, origin: str, size: int) -> None:
        """Remember that this witness cosigned the head of this size."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO witness_sizes VALUES (?, ?, ?)", (str(key), origin, size))


def check_url(url: str) -> str:
    """An address without its last slash. Raises UsageError unless it is https, or http on this machine."""
    import httpx

    hint = "it reads https://HOST/PREFIX, as the witness's operator tells it"
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url[:200]} is not an address: {error}", hint) from error
    if address.userinfo or address.query or address.fragment or not address.host:
        raise UsageError(f"{url[:200]} is not the address of a witness", hint)
    if address.scheme != "https" and not (address.scheme == "http" and is_loopback(address.host)):
        raise UsageError("a witness is asked over https", "http serves on this machine only")
    return url.rstrip("/")
