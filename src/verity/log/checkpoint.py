"""A log's signed head: C2SP tlog-checkpoint in a C2SP signed note, read strictly.

Example (specified in spec/log.md; https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note; the key is the one of
RFC 8032, section 7.1, TEST 1; a device's log has the origin ``verity/<device key>/<epoch>``)::

    example.org/device
    8
    XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=

    — example.org/device aIYKy0PIKzaVqV1xoAHMl4xazZ561oxYhcGj6xjeZ6xVCkZSF1j8v0mBBQqJsItN3LJHZWnQrH89UrCg+2nXy/sKkQw=

The first three lines are the body: the log's origin, the number of entries, the Merkle root in base64. The lines that
start with an em dash are signatures over the body: the log's own, and those of others, which are carried and not judged
here. Whatever would not be written back byte for byte is refused. Extension lines, which C2SP allows, are refused in a
device's log and read in those of others, for a witness.
"""

from __future__ import annotations

import base64
import re

import msgspec

from verity.errors import FormatError, SignatureError
from verity.log import note
from verity.log.note import ED25519, MAX_BYTES, Line, Note, VerifierKey
from verity.log.tree import HASH_SIZE, SIZE_LIMIT
from verity.statements.keys import Signer, check_signature

__all__ = ["MAX_BYTES", "Checkpoint", "body_of", "open_checkpoint", "parse_body", "parse_note", "sign", "split"]

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MAX_EXTENSIONS = 16


class Checkpoint(msgspec.Struct, frozen=True):
    """``origin`` names the log, ``size`` counts its entries, ``root`` (32 bytes) is their Merkle root; ``extensions``
    are further lines that the log signed and nobody else vouches for."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def sign(checkpoint: Checkpoint, signer: Signer) -> str:
    """The note: body, empty line, and the log's signature under the origin as key name. FormatError on bad fields."""
    body, key = body_of(checkpoint), VerifierKey(checkpoint.origin, ED25519, signer.public)
    return str(Note(body, [Line(key.name, key.id, signer.sign(body.encode()))]))


def open_checkpoint(text: str | bytes, public: bytes) -> Checkpoint:
    """Read a note and check the log's own signature, by the Ed25519 key ``public`` (32 bytes).

    The caller compares ``origin`` with the one it expects: any log of this key would open here. Raises FormatError for
    a note that is not in the one form this module writes, SignatureError when the log's signature is missing or wrong.
    """
    checkpoint, said = split(text)
    key = VerifierKey(checkpoint.origin, ED25519, public)
    for line in said.lines:
        if key.made(line):
            check_signature(public, said.body.encode(), line.signature)
            return checkpoint
    raise SignatureError(f"the checkpoint of {checkpoint.origin} is not signed by device key {public.hex()[:16]}…")


def parse_note(text: str | bytes) -> Checkpoint:
    """What a note says; that it has the form of one is checked, no signature is. Raises FormatError."""
    return split(text)[0]


def split(text: str | bytes, *, extensions: bool = False) -> tuple[Checkpoint, Note]:
    """What a note says, and the note with its lines, for who judges them. Raises FormatError."""
    said = note.parse(text)
    return parse_body(said.body, extensions=extensions), said


def parse_body(body: str, *, extensions: bool = False) -> Checkpoint:
    """Read the lines, each ended by a newline, that a checkpoint's signatures cover. Raises FormatError."""
    lines = body.split("\n")
    extended = lines[3:-1]
    if len(lines) < 4 or lines[-1] or (extended and not extensions):
        raise FormatError("a checkpoint's body has three lines: origin, size and root")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size):
        raise FormatError("the checkpoint's size is not a plain decimal number")
    checkpoint = Checkpoint(origin, int(size), note.unbase64(root, "the checkpoint's root"), tuple(extended))
    if body_of(checkpoint) != body:
        raise FormatError("the checkpoint would not be written back as it was read")
    return checkpoint


def body_of(checkpoint: Checkpoint) -> str:
    """The text that is signed. Raises FormatError for fields that no reader would accept."""
    note.check_name(checkpoint.origin, "the checkpoint's origin")
    if "://" in checkpoint.origin:  # tlog-checkpoint: "a schema-less URL"
        raise FormatError("the checkpoint's origin has a scheme, which it must not have")
    if not 0 <= checkpoint.size < SIZE_LIMIT:
        raise FormatError("the checkpoint's size is outside 0 to 2^63 - 1")
    if len(checkpoint.root) != HASH_SIZE:
        raise FormatError(f"the checkpoint's root has {len(checkpoint.root)} bytes where SHA-256 has {HASH_SIZE}")
    extended = checkpoint.extensions
    if len(extended) > _MAX_EXTENSIONS or any(not line or re.search(r"[\x00-\x1f]", line) for line in extended):
        raise FormatError("the checkpoint has too many extension lines, or an empty one, or control characters in one")
    root = base64.b64encode(checkpoint.root).decode()
    return "".join(f"{line}\n" for line in (checkpoint.origin, checkpoint.size, root, *extended))
