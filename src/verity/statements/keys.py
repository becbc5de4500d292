"""Ed25519 (RFC 8032) signatures and the text form of a public key: 64 lower-case hex digits.

The text form is a device's name everywhere: the DSSE key id, the log's origin and, later, its mesh address.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from verity.errors import FormatError, SignatureError, UsageError

_HEX_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)

_P = 2**255 - 19
_ORDER_8 = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
_SMALL_ORDER = frozenset((0, 1, _P - 1, _ORDER_8 & ((1 << 255) - 1), _P - (_ORDER_8 & ((1 << 255) - 1))))
"""The y coordinates of the eight points whose order divides 8 (RFC 8032, section 5.1; RFC 7748, section 6.1)."""


class Signer(Protocol):
    """Something that holds a device's private key."""

    @property
    def public(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message``."""


class RetiredKey(NamedTuple):
    """The public half of a key whose private half is gone: what it signed can be checked, and nothing be added."""

    public: bytes

    def sign(self, message: bytes) -> bytes:  # noqa: ARG002 - as any Signer
        raise UsageError(f"the key {self.public.hex()[:16]}… was retired and signs no more", "use the present one")


def parse_key(text: str) -> bytes:
    """Read a device's name. Returns the 32-byte public key; raises FormatError.

    Keys of small order are refused: under them anybody can make signatures that hold for many messages or for all.
    """
    if not _HEX_KEY.fullmatch(text):
        raise FormatError(
            "a device key is 64 lower-case hexadecimal digits", "the owner's `verity device` prints the one to expect"
        )
    public = bytes.fromhex(text)
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    if y >= _P or y in _SMALL_ORDER:
        raise FormatError("this is not a sound device key: anybody could sign under it", "do not trust whoever gave it")
    return public


def check_signature(public: bytes, message: bytes, signature: bytes) -> None:
    """Raise SignatureError unless ``signature`` (64 bytes) is ``public``'s (32 bytes) over ``message``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(f"the signature does not hold under device key {public.hex()[:16]}…") from error
