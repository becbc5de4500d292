"""Which logs of one device lie in a folder or on a server: ``index.json``, one line for each epoch of its log.

    {"logs": [{"origin": "verity/…/0", "epoch": 0, "size": 70000, "vkey": "verity/…/0+…+…"}]}

It says where to look and nothing else: every checkpoint is checked under the key that the reader was told.
"""

from __future__ import annotations

import re

import msgspec

from verity.errors import FormatError, UsageError
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.note import ED25519, VerifierKey, parse_key
from verity.statements.strict import load

MAX_BYTES = 1 << 20
MAX_LOGS = 1000

_DEVICE = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One log: its origin, its epoch, how many entries its published head counts, its key in one word."""

    origin: str
    epoch: int
    size: int
    vkey: str


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    logs: list[Listed]

    def encode(self) -> bytes:
        return msgspec.json.encode(self) + b"\n"


def decode_index(data: bytes) -> Index:
    """Read an index. Raises FormatError, also for an epoch that stands twice or cannot be one."""
    index = load(data, Index, limit=MAX_BYTES, what="index of logs")
    epochs = {listed.epoch for listed in index.logs}
    if len(index.logs) > MAX_LOGS or len(epochs) < len(index.logs) or any(not 0 <= e < 10**15 for e in epochs):
        raise FormatError(f"the index lists more than {MAX_LOGS} logs, or one twice, or an epoch that cannot be")
    return index


def listed(epoch: int, head: Checkpoint, public: bytes) -> Listed:
    """The line for a log of a device."""
    return Listed(head.origin, epoch, head.size, str(VerifierKey(head.origin, ED25519, public)))


def key_of(device: str, epoch: int) -> VerifierKey:
    """The key of a device's log: its device key, under the name of the log."""
    return VerifierKey(f"verity/{device}/{epoch}", ED25519, bytes.fromhex(device))


def parse_trusted(text: str) -> str | VerifierKey:
    """What a reader names as trusted: a device (64 hexadecimal digits), or the key of one log. Raises UsageError."""
    if _DEVICE.fullmatch(text.lower()):
        return text.lower()
    try:
        key = parse_key(text)
    except FormatError as error:
        raise UsageError(
            f"{text[:80]!r} is neither a device nor the key of a log: {error}",
            "give the 64 hexadecimal digits of `verity device`, or NAME+KEYID+BASE64",
        ) from error
    if key.kind != ED25519:
        raise UsageError("this is the key of a witness, not of a log", "a log's key has kind 1")
    return key


def open_head(text: bytes | str, key: VerifierKey) -> Checkpoint:
    """A checkpoint of the log with this key. Raises FormatError, SignatureError, also for one of another log."""
    head = open_checkpoint(text, key.public)
    if head.origin != key.name:
        raise FormatError(
            f"the checkpoint is of the log {head.origin[:120]}, not of {key.name[:120]}",
            "check the address and the key",
        )
    return head
