"""A log's signed head: C2SP tlog-checkpoint in a C2SP signed note, read strictly.

Example (specified in spec/log.md; https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note; the key is the one of
RFC 8032, section 7.1, TEST 1; a device's log has the origin ``verity/<device key>/<epoch>``)::

    example.org/device
    8
    XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=

    — example.org/device aIYKy0PIKzaVqV1xoAHMl4xazZ561oxYhcGj6xjeZ6xVCkZSF1j8v0mBBQqJsItN3LJHZWnQrH89UrCg+2nXy/sKkQw=

The first three lines are the body: the log's origin, the number of entries, the Merkle root in base64. The lines that
start with an em dash are signatures over the body: the log's own, and those of others, which are carried and not judged
here. Whatever would not be written back byte for byte is refused; extension lines, which C2SP allows, are too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from typing import NamedTuple

import msgspec

from verity.errors import FormatError, SignatureError
from verity.log.tree import HASH_SIZE, SIZE_LIMIT
from verity.statements.keys import Signer, check_signature

MAX_BYTES = 64 * 1024
MAX_SIGNATURES = 16

_ED25519 = b"\x01"  # signed-note, "Signature types"
_DASH = "\N{EM DASH} "
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Checkpoint(msgspec.Struct, frozen=True):
    """``origin`` names the log, ``size`` counts its entries, ``root`` (32 bytes) is their Merkle root."""

    origin: str
    size: int
    root: bytes


class _Line(NamedTuple):
    name: str
    key_id: bytes
    signature: bytes


def key_id(name: str, public: bytes) -> bytes:
    """The 4 bytes by which a signature line points at an Ed25519 key (signed-note, "Signatures")."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def sign(checkpoint: Checkpoint, signer: Signer) -> str:
    """The note: body, empty line, and the log's signature under the origin as key name. FormatError on bad fields."""
    body = _body(checkpoint)
    signed = key_id(checkpoint.origin, signer.public) + signer.sign(body.encode())
    return f"{body}\n{_DASH}{checkpoint.origin} {base64.b64encode(signed).decode()}\n"


def open_checkpoint(text: str | bytes, public: bytes) -> Checkpoint:
    """Read a note and check the log's own signature, by the Ed25519 key ``public`` (32 bytes).

    The caller compares ``origin`` with the one it expects: any log of this key would open here. Raises FormatError for
    a note that is not in the one form this module writes, SignatureError when the log's signature is missing or wrong.
    """
    body, lines = _split(_decode(text))
    checkpoint = parse_body(body)
    expected = (checkpoint.origin, key_id(checkpoint.origin, public))
    for line in lines:
        if (line.name, line.key_id) == expected:
            check_signature(public, body.encode(), line.signature)
            return checkpoint
    raise SignatureError(f"the checkpoint of {checkpoint.origin} is not signed by device key {public.hex()[:16]}…")


def parse_note(text: str | bytes) -> Checkpoint:
    """What a note says; that it has the form of one is checked, no signature is. Raises FormatError."""
    return parse_body(_split(_decode(text))[0])


def body_of(text: str | bytes) -> str:
    """The three lines of a note that its signatures cover; its form is checked, no signature is. Raises FormatError."""
    body = _split(_decode(text))[0]
    parse_body(body)
    return body


def parse_body(body: str) -> Checkpoint:
    """Read the three lines, each ended by a newline, that a checkpoint's signatures cover. Raises FormatError."""
    lines = body.split("\n")
    if len(lines) != 4 or lines[3]:
        raise FormatError("a checkpoint's body has three lines: origin, size and root")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size):
        raise FormatError("the checkpoint's size is not a plain decimal number")
    checkpoint = Checkpoint(origin, int(size), _unbase64(root, "the checkpoint's root"))
    if _body(checkpoint) != body:
        raise FormatError("the checkpoint would not be written back as it was read")
    return checkpoint


def _body(checkpoint: Checkpoint) -> str:
    _check_name(checkpoint.origin, "the checkpoint's origin")
    if "://" in checkpoint.origin:  # tlog-checkpoint: "a schema-less URL"
        raise FormatError("the checkpoint's origin has a scheme, which it must not have")
    if not 0 <= checkpoint.size < SIZE_LIMIT:
        raise FormatError("the checkpoint's size is outside 0 to 2^63 - 1")
    if len(checkpoint.root) != HASH_SIZE:
        raise FormatError(f"the checkpoint's root has {len(checkpoint.root)} bytes where SHA-256 has {HASH_SIZE}")
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"


def _decode(text: str | bytes) -> str:
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > MAX_BYTES:
            raise FormatError(f"the checkpoint has {len(data)} bytes; {MAX_BYTES} are allowed")
        return data.decode()
    except UnicodeError as error:
        raise FormatError("the checkpoint is not UTF-8 text") from error


def _split(text: str) -> tuple[str, list[_Line]]:
    """The body and the signature lines. The body ends at the last empty line (signed-note, "Format")."""
    head, empty, tail = text.rpartition("\n\n")
    if not empty or not tail.endswith("\n"):
        raise FormatError("the checkpoint is not a signed note: a body, an empty line, then lines of signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"the checkpoint has {len(lines)} signature lines; {MAX_SIGNATURES} are allowed")
    parsed = [_parse_line(line) for line in lines]
    if len({(line.name, line.key_id) for line in parsed}) < len(parsed):
        raise FormatError("the checkpoint has two signature lines of one key")
    return head + "\n", parsed


def _parse_line(line: str) -> _Line:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise FormatError("a signature line of the checkpoint does not read “— name signature”")
    _check_name(name, "the key name of a signature line")
    data = _unbase64(encoded, "a signature of the checkpoint")
    if len(data) < 5:
        raise FormatError("a signature of the checkpoint is shorter than its key id and one byte")
    return _Line(name, data[:4], data[4:])


def _check_name(name: str, what: str) -> None:
    # signed-note: "non-empty, and MUST NOT contain any Unicode spaces or plus (U+002B) characters"; and no controls
    if not name or "+" in name or any(map(_is_barred, name)):
        raise FormatError(f"{what} is empty or has a space, a plus sign or a control character")


def _is_barred(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) in ("Cc", "Cs")  # Cs: half a surrogate pair, not UTF-8


def _unbase64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeError, binascii.Error) as error:
        raise FormatError(f"{what} is not base64") from error
    if base64.b64encode(data).decode() != text:  # unused bits set: two texts for one value
        raise FormatError(f"{what} is not base64 in its one canonical form")
    return data
