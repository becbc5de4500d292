"""Chunks that only a receipt's secret opens (ChaCha20-Poly1305, RFC 8439): who forgets the secret forgets them.

Each is a random nonce and what is sealed under it. What a receipt keeps may be made a second time and come out in other
bytes (packed by another zlib, say): under a nonce that was used again, the two would tell each other.
"""

from __future__ import annotations

import hmac
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_NONCE_BYTES = 12
OVERHEAD = _NONCE_BYTES + 16
"""Bytes by which a sealed chunk is longer."""


class Broken(Exception):
    """A chunk is not the one that was sealed in this place."""


class Seal:
    """The key is for one receipt and purpose (``domain``)."""

    def __init__(self, secret: bytes, domain: bytes, receipt_id: str) -> None:
        self._cipher = ChaCha20Poly1305(hmac.digest(secret, domain + receipt_id.encode(), "sha256"))

    def close(self, number: int, chunk: bytes) -> bytes:
        """The chunk, sealed for the place of this number."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, chunk, _place(number))

    def open(self, number: int, sealed: bytes) -> bytes:
        """What was sealed for this place. Raises Broken."""
        if len(sealed) < OVERHEAD:
            raise Broken
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _place(number))
        except InvalidTag as error:
            raise Broken from error


def _place(number: int) -> bytes:
    return struct.pack(">Q", number)
