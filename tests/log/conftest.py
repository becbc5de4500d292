from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memory_signer import MemorySigner

from verity.log.device_log import DeviceLog, Draft
from verity.log.rows import Stored
from verity.statements.keys import Signer
from verity.statements.receipt import Place
from verity.store.database import Database


@pytest.fixture(scope="session")
def signer() -> Signer:
    """RFC 8032, section 7.1, TEST 1."""
    return MemorySigner(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))


@pytest.fixture(scope="session")
def stranger() -> Signer:
    return MemorySigner(b"\x01" * 32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path)
    yield opened
    opened.close()


Build = Callable[[Place], Draft]
Inspect = Callable[[Stored, Place], str | None]
Grow = Callable[[DeviceLog, int], DeviceLog]


def _digest(salt: bytes, envelope: bytes) -> bytes:
    return hashlib.sha256(salt + envelope).digest()


def _build(place: Place) -> Draft:
    envelope = f"{place.index} {place.previous}".encode()
    salt = hashlib.sha256(envelope).digest()[:16]
    return Draft(_digest(salt, envelope), salt, envelope)


def _inspect(stored: Stored, place: Place) -> str | None:
    assert stored.salt is not None
    assert stored.envelope is not None
    if _digest(stored.salt, stored.envelope) != stored.entry:
        return f"entry {stored.index} is not made of its envelope"
    if stored.envelope.split()[-2:] != f"{place.index} {place.previous}".encode().split():
        return f"entry {stored.index} names another predecessor"
    return None


def _grow(log: DeviceLog, count: int) -> DeviceLog:
    for _ in range(count):
        log.append(_build)
    return log


@pytest.fixture
def build() -> Build:
    """Make an entry whose envelope says where it stands."""
    return _build


@pytest.fixture
def inspect() -> Inspect:
    """Judge an entry that ``build`` (or append_many.py) made."""
    return _inspect


@pytest.fixture
def grow() -> Grow:
    """Append some entries."""
    return _grow


@pytest.fixture
def log(database: Database, signer: Signer) -> DeviceLog:
    """A log of seven entries."""
    return _grow(DeviceLog(database, signer), 7)
