"""Salted commitments: what a receipt says in public about fields it does not show. Specified in spec/receipt.md.

A field is committed as SHA-256(domain ‖ receipt id ‖ field name ‖ salt ‖ canonical JSON value). The salt is derived
from one secret per receipt, so that destroying the secret closes every commitment for ever; the receipt id and the
field name bind a commitment to its place. The statement carries one digest over all of them, so that a stranger does
not even learn how many inputs there were.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from verity.errors import FormatError
from verity.statements.strict import canonical, decode_base64, decode_hex, encode_base64

SALT_BYTES = 16
ID_BYTES = 16
SECRET_BYTES = 32
MAX_FIELDS = 4096
MAX_FIELD_NAME = 64

_COMMITMENT = b"verity/commitment/v1\x00"
_SALT = b"verity/salt/v1\x00"
_LIST = b"verity/fields/v1\x00"
TOKEN_FIELD = "output/tokens"  # noqa: S105 - the name of a field
SEGMENT_FIELD = "output/segments"
"""Fields whose value is the root of a tree: their elements are committed one by one."""


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of a disclosure: a field with its value and salt, or only the commitment of a withheld one."""

    field: str
    value: Any = msgspec.UNSET
    salt: str | msgspec.UnsetType = msgspec.UNSET
    commitment: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def opened(self) -> bool:
        return self.commitment is msgspec.UNSET

    def commit(self, receipt_id: bytes) -> bytes:
        """The 32-byte commitment this line stands for. Raises FormatError when the line is neither of the two."""
        if isinstance(self.commitment, str) and self.salt is msgspec.UNSET and self.value is msgspec.UNSET:
            return decode_hex(self.commitment, 32, f"commitment of {self.field!r}")
        if isinstance(self.salt, str) and self.commitment is msgspec.UNSET and self.value is not msgspec.UNSET:
            return commit(receipt_id, self.field, decode_salt(self.salt), self.value)
        raise FormatError(f"field {self.field!r} must have either a value and a salt, or a commitment")


def derive_salt(secret: bytes, field: str, index: int | None = None) -> bytes:
    """The 16-byte salt of ``field``, or of its ``index``-th element, for lists committed element by element. The two
    differ: whoever is shown the field must not learn the salt of an element that is withheld."""
    place = b"" if index is None else struct.pack(">Q", index)
    return hmac.digest(secret, _SALT + _name(field) + place, "sha256")[:SALT_BYTES]


def commit(receipt_id: bytes, field: str, salt: bytes, value: Any) -> bytes:
    """The 32-byte commitment to ``value`` (anything JSON can hold)."""
    return hashlib.sha256(_COMMITMENT + receipt_id + _name(field) + salt + canonical(value)).digest()


def commit_token(receipt_id: bytes, index: int, salt: bytes, token: int, piece: bytes) -> bytes:
    """The leaf data of output token ``index``: its id in the vocabulary and the bytes it stands for."""
    return commit_element(receipt_id, TOKEN_FIELD, salt, struct.pack(">QI", index, token) + piece)


def commit_element(receipt_id: bytes, field: str, salt: bytes, body: bytes) -> bytes:
    """The leaf data of one element of a list that is committed element by element; ``body`` holds its index."""
    return hashlib.sha256(_COMMITMENT + receipt_id + _name(field + "/leaf") + salt + body).digest()


def open_all(secret: bytes, fields: Mapping[str, Any]) -> list[Opening]:
    """Openings of all ``fields``, in the canonical order (by the bytes of the names)."""
    names = sorted(fields, key=str.encode)
    return [Opening(field=name, value=fields[name], salt=encode_base64(derive_salt(secret, name))) for name in names]


def withhold(receipt_id: bytes, opening: Opening) -> Opening:
    """The same line without value and salt."""
    return Opening(field=opening.field, commitment=opening.commit(receipt_id).hex())


def digest_fields(receipt_id: bytes, openings: Iterable[Opening]) -> str:
    """The digest (hex SHA-256) over all commitments, which is the statement's subject. Raises FormatError."""
    hasher = hashlib.sha256(_LIST + receipt_id)
    previous = b""
    for count, opening in enumerate(openings):
        name = _name(opening.field)
        if count >= MAX_FIELDS:
            raise FormatError(f"a receipt has at most {MAX_FIELDS} fields")
        if opening.field.encode() <= previous:
            raise FormatError("the disclosed fields are not in order, or one stands twice")
        previous = opening.field.encode()
        hasher.update(name + opening.commit(receipt_id))
    return hasher.hexdigest()


def decode_salt(text: str) -> bytes:
    salt = decode_base64(text, "salt")
    if len(salt) != SALT_BYTES:
        raise FormatError(f"a salt is {SALT_BYTES} bytes")
    return salt


@functools.lru_cache(1024)
def _name(field: str) -> bytes:
    encoded = field.encode("utf-8")
    if not 0 < len(encoded) <= MAX_FIELD_NAME:
        raise FormatError(f"a field's name has 1 to {MAX_FIELD_NAME} bytes")
    return struct.pack(">H", len(encoded)) + encoded
