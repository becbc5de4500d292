"""Chunks that only a receipt's secret opens (ChaCha20-Poly1305, RFC 8439): who forgets the secret forgets them."""

from __future__ import annotations

import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

TAG_BYTES = 16


class Broken(Exception):
    """A chunk is not the one that was sealed."""


class Seal:
    """The key is used for one receipt and purpose (``domain``) only, so that a chunk's number is its nonce. No number
    may be used for two chunks."""

    def __init__(self, secret: bytes, domain: bytes, receipt_id: str) -> None:
        self._cipher = ChaCha20Poly1305(hmac.digest(secret, domain + receipt_id.encode(), "sha256"))

    def close(self, number: int, chunk: bytes) -> bytes:
        """The chunk, sealed: TAG_BYTES longer."""
        return self._cipher.encrypt(_nonce(number), chunk, None)

    def open(self, number: int, sealed: bytes) -> bytes:
        """What was sealed under this number. Raises Broken."""
        try:
            return self._cipher.decrypt(_nonce(number), sealed, None)
        except InvalidTag as error:
            raise Broken from error


def _nonce(number: int) -> bytes:
    return struct.pack(">4xQ", number)
