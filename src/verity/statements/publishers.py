"""Keys of publishers, who sign releases: PEM files, so that other tools make and use them too. See spec/release.md.

ECDSA on P-256, P-384 or P-521, each with the hash of its size, as OpenSSF Model Signing has it; and Ed25519. A
publisher is named by the SHA-256 of the key's SubjectPublicKeyInfo (RFC 5480, RFC 8410) in DER. That is not a device's
name: a device's key is on the device, a publisher's should not be.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from verity.errors import FormatError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

MAX_PEM = 1 << 14
_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_KINDS = "ECDSA on P-256, P-384 or P-521, and Ed25519"


class PublisherKey:
    """A public key. ``id`` names it; ``hint`` is how a signature says which key made it (SHA-256 of the PEM text)."""

    def __init__(self, key: Any) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._key = _supported(key)
        self.der: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.id = hashlib.sha256(self.der).hexdigest()
        self.hint = hashlib.sha256(self.pem).hexdigest()

    def check(self, message: bytes, signature: bytes) -> None:
        """Raise SignatureError unless ``signature`` is this key's over ``message``."""
        from cryptography.exceptions import InvalidSignature

        try:
            if (algorithm := _algorithm(self._key)) is None:
                self._key.verify(signature, message)
            else:
                self._key.verify(signature, message, algorithm)
        except InvalidSignature as error:
            raise SignatureError(
                f"the signature does not hold under the publisher key {self.id[:16]}…",
                "these are not the bytes that the publisher signed: get the release again, and do not use this one",
            ) from error


class PublisherSigner:
    """A private key, with its ``public`` half."""

    def __init__(self, key: Any) -> None:
        self.public = PublisherKey(key.public_key())
        self._key = key

    def sign(self, message: bytes) -> bytes:
        algorithm = _algorithm(self._key.public_key())
        signature: bytes = self._key.sign(message) if algorithm is None else self._key.sign(message, algorithm)
        return signature

    def pem(self) -> bytes:
        """The private key, not encrypted (PKCS #8): for a file of mode 0600."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem: bytes = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem


def new_signer() -> PublisherSigner:
    """A new key, on P-256: the kind that every tool for the format takes."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return PublisherSigner(ec.generate_private_key(ec.SECP256R1()))


def read_public(pem: bytes) -> PublisherKey:
    """A public key from PEM. Raises FormatError."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return PublisherKey(_read(pem, "a public key", load_pem_public_key))


def read_der(der: bytes) -> PublisherKey:
    """A public key from SubjectPublicKeyInfo in DER. Raises FormatError."""
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return PublisherKey(_read(der, "a public key", load_der_public_key))


def read_signer(pem: bytes) -> PublisherSigner:
    """A private key from PEM without a passphrase. Raises FormatError."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = _read(pem, "a private key without a passphrase", lambda data: load_pem_private_key(data, None))
    _supported(key.public_key() if hasattr(key, "public_key") else key)
    return PublisherSigner(key)


def _read(data: bytes, what: str, load: Any) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    hint = f"`verity release key` makes one; kinds: {_KINDS}"
    if len(data) > MAX_PEM:
        raise FormatError(f"a publisher's key is larger than {MAX_PEM:,} bytes", hint)
    try:
        return load(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError(f"this is not {what} of a publisher", hint) from error


def _supported(key: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    curve = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else None
    if not isinstance(key, ed25519.Ed25519PublicKey) and curve not in _CURVES:
        raise FormatError("this kind of key signs no releases", f"kinds: {_KINDS}")
    return key


def _algorithm(key: Any) -> ec.ECDSA | None:
    """What an elliptic curve's signatures are made with; nothing for Ed25519."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(getattr(hashes, _CURVES[key.curve.name])()) if hasattr(key, "curve") else None
