"""Bundles, requests, key events and the like as files: read with a size limit, written whole or not at all (0600)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from verity.errors import FormatError
from verity.statements.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_INTENT_BYTES,
    SUFFIX,
    Bundle,
    SignedIntent,
    SignedRecord,
    decode_bundle,
    decode_signed_intent,
)
from verity.statements.dsse import Envelope
from verity.statements.enrolment import MAX_MESSAGE_BYTES, decode_message
from verity.statements.hardware import MAX_RECORD_BYTES, decode_record
from verity.statements.key_events import MAX_FILE_BYTES, SignedEvent, decode_key_events
from verity.statements.request import MAX_REQUEST_BYTES, Issued
from verity.statements.request import read_request as decode_request
from verity.statements.verdict import MAX_VERDICT_BYTES, SignedVerdict, decode_verdict
from verity.store.home import guarded, write_atomically

PathLike = str | os.PathLike[str]
_BUNDLE_HINT = f"give the path of a *{SUFFIX} file, as `verity ask --save FILE` writes it"
_REQUEST_HINT = "give the path of a *.request.json file, as `verity nonce --save FILE` writes it"
_INTENT_HINT = "give the path of a *.intent.json file, as `verity ask --request REQUEST --save FILE` writes it"
_MESSAGE_HINT = "give the path of the file that `verity tpm enrol`, `challenge` or `answer` wrote"
_RECORD_HINT = "give the path of a *.hardware.json file, as `verity tpm certify --out FILE` writes it"
_VERDICT_HINT = "give the path of a *.verdict.json file, as `verity dispute A B --save FILE` writes it"


class _Encodes(Protocol):
    def encode(self) -> bytes: ...


_EVENTS_HINT = "give the path of a *.key-event.json file, as `verity device events --out FILE` writes it"


def save(what: _Encodes, path: PathLike) -> Path:
    """Write a bundle, a request's envelope or a signed intent, readable by its owner alone (0600). StoreError."""
    target = Path(path)
    with guarded(target):
        write_atomically(target, what.encode())
    return target


def read_bundle(source: Bundle | bytes | PathLike) -> Bundle:
    """Take a bundle as it is, from bytes, or from a file. Raises FormatError."""
    if isinstance(source, Bundle):
        return source
    return decode_bundle(source if isinstance(source, bytes) else _read(source, MAX_BUNDLE_BYTES, _BUNDLE_HINT))


def read_request(source: Issued | bytes | PathLike) -> Issued:
    """Take a request as it is, from bytes, or from a file. Raises FormatError, SignatureError."""
    if isinstance(source, Issued):
        return source
    return decode_request(source if isinstance(source, bytes) else _read(source, 2 * MAX_REQUEST_BYTES, _REQUEST_HINT))


def read_signed_intent(path: PathLike) -> SignedIntent:
    """Read a signed intent from its file. Raises FormatError."""
    return decode_signed_intent(_read(path, MAX_INTENT_BYTES, _INTENT_HINT))


def read_signed_verdict(path: PathLike) -> SignedVerdict:
    """Read a referee's verdict from its file. Raises FormatError."""
    return decode_verdict(_read(path, MAX_VERDICT_BYTES, _VERDICT_HINT))


def read_key_events(path: PathLike) -> list[SignedEvent]:
    """Read what somebody says about keys from its file. Raises FormatError."""
    return decode_key_events(_read(path, MAX_FILE_BYTES, _EVENTS_HINT))


def read_message(path: PathLike) -> Envelope:
    """Read an enrolment, a challenge or an answer from its file. Raises FormatError."""
    return decode_message(_read(path, 2 * MAX_MESSAGE_BYTES, _MESSAGE_HINT))


def read_hardware_record(path: PathLike) -> SignedRecord:
    """Read a registrar's record from its file. Raises FormatError."""
    return decode_record(_read(path, MAX_RECORD_BYTES, _RECORD_HINT))


def _read(source: PathLike, limit: int, hint: str) -> bytes:
    """At most one byte more than ``limit``: the decoders refuse what is too large."""
    path = Path(source)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", hint) from error
    if not data.strip():
        raise FormatError(f"{path} is empty", hint)
    return data
