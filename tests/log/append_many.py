"""Run as a program: append entries to the log in a folder. `append_many.py HOME COUNT LABEL`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verity.log.device_log import DeviceLog, Draft
from verity.statements.receipt import Place
from verity.store.database import Database


class MemorySigner:
    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes(32))

    @property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def build(place: Place, label: str) -> Draft:
    envelope = f"{label} {place.index} {place.previous}".encode()
    salt = hashlib.sha256(envelope).digest()[:16]
    return Draft(hashlib.sha256(salt + envelope).digest(), salt, envelope)


def main() -> None:
    home, count, label = sys.argv[1:]
    database = Database.open(Path(home))
    log = DeviceLog(database, MemorySigner())
    print("ready", flush=True)
    sys.stdin.readline()
    print(*(log.append(lambda place: build(place, label)) for _ in range(int(count))))
    database.close()


if __name__ == "__main__":
    main()
