"""Signed notes, read strictly: C2SP signed-note (https://c2sp.org/signed-note); specified in spec/log.md.

A note is a text, an empty line, and lines of signatures over the text::

    — example.org/device aIYKy0PIKzaVqV1xoAHMl4xazZ561oxYhcGj6xjeZ6xVCkZSF1j8v0mBBQqJsItN3LJHZWnQrH89UrCg+2nXy/sKkQw=

A line names its key and carries, in base64, four bytes that tell keys of one name apart, then the signature. A key is
told to others as one word, ``name+key id+base64(type ‖ public key)``. Here the lines are split, not judged. Whatever
would not be written back byte for byte is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from verity.errors import FormatError
from verity.statements.keys import parse_key as check_sound

MAX_BYTES = 64 * 1024
MAX_SIGNATURES = 16
MAX_KEY = 1024
"""Characters of a key as one word."""

ED25519 = 1  # signed-note, "Signature types"
COSIGNATURE = 4  # https://c2sp.org/tlog-cosignature

_DASH = "\N{EM DASH} "
_PLAIN_NAME = re.compile(r"[!-*,-~]+", re.ASCII)
_KEY_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)


class Line(NamedTuple):
    """A signature line: the key's name, the 4 bytes of its id, and what its kind of signature says."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


class Note(NamedTuple):
    """``body`` is what the lines sign, its last newline included."""

    body: str
    lines: list[Line]

    def __str__(self) -> str:
        return f"{self.body}\n{''.join(map(str, self.lines))}"


class VerifierKey(msgspec.Struct, frozen=True, order=True):
    """A key that signs notes: its name, the kind of its signatures (ED25519, COSIGNATURE), its 32 public bytes."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        return key_id(self.name, self.kind, self.public)

    def __str__(self) -> str:
        material = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{material}"

    def made(self, line: Line) -> bool:
        """Whether the line says that it is of this key; its signature is not checked."""
        return (line.name, line.key_id) == (self.name, self.id)


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The 4 bytes by which a signature line points at a key (signed-note, "Signatures")."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def parse_key(text: str) -> VerifierKey:
    """Read a key from its word (signed-note, "Verifier keys"): an Ed25519 key of a log or of a witness.

    Raises FormatError for any other.
    """
    parts = text.split("+", 2)  # a name has no plus sign, and base64 may
    if len(text) > MAX_KEY or len(parts) != 3 or not _KEY_ID.fullmatch(parts[1]):
        raise FormatError(
            "this is not the key of a log or a witness", "it reads NAME+8 hexadecimal digits+BASE64, in one word"
        )
    name, said, encoded = parts
    check_name(name, "the key's name")
    material = unbase64(encoded, "the key")
    if len(material) != 33 or material[0] not in (ED25519, COSIGNATURE):
        raise FormatError("the key is of a kind that is not known here", "Ed25519 keys of kinds 1 and 4 are")
    check_sound(material[1:].hex())
    key = VerifierKey(name, material[0], material[1:])
    if key.id.hex() != said:
        raise FormatError("the key's id does not follow from its name and bytes", "copy the whole word again")
    return key


def parse(text: str | bytes, what: str = "checkpoint") -> Note:
    """Split a note; ``what`` names it in the FormatError raised. The text ends at the last empty line."""
    head, empty, tail = _decode(text, what).rpartition("\n\n")
    if not empty or not tail.endswith("\n"):
        raise FormatError(f"the {what} is not a signed note: a body, an empty line, then lines of signatures")
    return Note(head + "\n", parse_lines(tail, what))


def parse_lines(text: str, what: str = "checkpoint") -> list[Line]:
    """Read 1 to 16 signature lines, each with its newline. Raises FormatError."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"the {what} has {len(lines)} signature lines; {MAX_SIGNATURES} are allowed")
    parsed = [_parse_line(line, what) for line in lines]
    if len({(line.name, line.key_id) for line in parsed}) < len(parsed):
        raise FormatError(f"the {what} has two signature lines of one key")
    return parsed


def with_lines(note: Note, lines: Sequence[Line]) -> Note:
    """The note with these lines after its own; one of a key that has a line already takes its place."""
    keys = {(line.name, line.key_id) for line in lines}
    return Note(note.body, [*(line for line in note.lines if (line.name, line.key_id) not in keys), *lines])


def check_name(name: str, what: str) -> None:
    """Raise FormatError for what is no name of a key."""
    # signed-note: "non-empty, and MUST NOT contain any Unicode spaces or plus (U+002B) characters"; and no controls
    if _PLAIN_NAME.fullmatch(name):  # as nearly all are
        return
    if not name or "+" in name or any(map(_is_barred, name)):
        raise FormatError(f"{what} is empty or has a space, a plus sign or a control character")


def unbase64(text: str, what: str) -> bytes:
    """Read base64 in its one canonical form. Raises FormatError."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeError, binascii.Error) as error:
        raise FormatError(f"{what} is not base64") from error
    if base64.b64encode(data).decode() != text:  # unused bits set: two texts for one value
        raise FormatError(f"{what} is not base64 in its one canonical form")
    return data


def _decode(text: str | bytes, what: str) -> str:
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > MAX_BYTES:
            raise FormatError(f"the {what} has {len(data)} bytes; {MAX_BYTES} are allowed")
        return data.decode()
    except UnicodeError as error:
        raise FormatError(f"the {what} is not UTF-8 text") from error


def _parse_line(line: str, what: str) -> Line:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise FormatError(f"a signature line of the {what} does not read “— name signature”")
    check_name(name, "the key name of a signature line")
    data = unbase64(encoded, f"a signature of the {what}")
    if len(data) < 5:
        raise FormatError(f"a signature of the {what} is shorter than its key id and one byte")
    return Line(name, data[:4], data[4:])


def _is_barred(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) in ("Cc", "Cs")  # Cs: half a surrogate pair, not UTF-8
