"""Heads of anybody's log: which key a log's name tells, and whether the log itself signed (spec/witness.md).

A device's log is named ``verity/<device key>/<epoch>`` and so names the key that signs it. Of other logs one is told
the key, as a word (``note.VerifierKey``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from verity.errors import SignatureError
from verity.log.note import ED25519, Line, Note, VerifierKey
from verity.statements.keys import check_signature
from verity.statements.keys import parse_key as parse_device

_DEVICE_LOG = re.compile(r"verity/([0-9a-f]{64})/(?:0|[1-9][0-9]{0,14})", re.ASCII)


def device_of(origin: str) -> str | None:
    """The key (64 hex digits) of the device whose log has this origin, if it is a device's."""
    match = _DEVICE_LOG.fullmatch(origin)
    return match[1] if match else None


def key_of(origin: str) -> VerifierKey | None:
    """The key that signs the log, if its origin names it. Raises FormatError for a device key that is not sound."""
    device = device_of(origin)
    return VerifierKey(origin, ED25519, parse_device(device)) if device is not None else None


def signed_by(said: Note, keys: Iterable[VerifierKey]) -> list[Line]:
    """The lines by which the log signed, under its known ``keys``; there is at least one. Lines of others are ignored.

    Raises SignatureError when there is none, and when one of a known key does not hold: then somebody tampered.
    """
    found = []
    for key in keys:
        for line in said.lines:
            if key.kind == ED25519 and key.made(line):
                check_signature(key.public, said.body.encode(), line.signature)
                found.append(line)
    if not found:
        raise SignatureError("the checkpoint is not signed by a known key of its log")
    return found
