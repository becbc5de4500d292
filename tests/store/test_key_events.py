"""What a device knows about keys, read by whoever only verifies: nothing is written, and nothing passed over."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import msgspec
import pytest

from verity.errors import LogError, StoreError
from verity.statements.key_events import SignedEvent
from verity.store.database import DATABASE_FILE, Database
from verity.store.key_events import KeyEventStore, events_in
from verity.store.schema import MIGRATIONS

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/keys.json").read_text())
KEY = VECTORS["key"]
NAMING = msgspec.convert(VECTORS["events"]["naming"], SignedEvent)
BARE = msgspec.structs.replace(NAMING, log=msgspec.UNSET)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    assert events_in(tmp_path / "none") == []
    with Database.open(tmp_path) as database:
        assert KeyEventStore(database).keep("d", KEY, NAMING) is True
        (open_now,) = events_in(tmp_path)  # with a journal beside it
    before = sorted(path.name for path in tmp_path.iterdir())
    (kept,) = events_in(tmp_path)
    assert kept == open_now
    assert (kept.digest, kept.key, kept.signed, kept.epoch) == ("d", KEY, NAMING, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_database_from_before(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / DATABASE_FILE) as connection:
        connection.executescript(MIGRATIONS[0])
    connection.close()
    assert events_in(tmp_path) == []


def test_what_cannot_be_read_is_not_nothing(tmp_path: Path) -> None:
    with Database.open(tmp_path) as database:
        KeyEventStore(database).keep("d", KEY, NAMING)
        with database.transaction() as connection:
            connection.execute("UPDATE key_events SET signed = x'7b7d'")
    with pytest.raises(LogError, match="damaged"):
        events_in(tmp_path)
    (tmp_path / DATABASE_FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="cannot be read"):
        events_in(tmp_path)


def test_no_copy_takes_the_place_of_another(tmp_path: Path) -> None:
    """Whoever hands on an event can write lines under its head that nobody signed, or leave a signature out."""
    spoilt = msgspec.json.decode(msgspec.json.encode(NAMING).replace(b"\\n\\n", b"\\n\\n\xe2\x80\x94 w AAAAAAAA\\n"))
    with Database.open(tmp_path) as database:
        store = KeyEventStore(database)
        assert store.keep("d", KEY, NAMING) is True
        (first,) = store.all()
        assert store.keep("d", KEY, msgspec.convert(spoilt, SignedEvent)) is False
        assert store.keep("d", KEY, BARE) is False
        assert store.keep("d", KEY, NAMING) is False
        assert first in store.all()
        assert [kept.digest for kept in store.all()] == ["d"] * 3
        assert store.keep("dd", KEY, BARE, (3, 7)) is True  # this device's own log names it
        assert store.all()[3][4:] == (3, 7)
