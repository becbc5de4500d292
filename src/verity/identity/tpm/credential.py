"""MakeCredential (TPM 2.0 Library, Part 1, 24; Part 3, 12.6) without a TPM: what only one TPM can open.

A secret is encrypted to an endorsement key so that the TPM gives it out only if it also holds the key of that *name*,
and the name is the digest of the key's public area, attributes included. So whoever returns the secret has a TPM in
which both keys lie together.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from typing import NamedTuple

from verity.statements.tpm.octets import sized
from verity.statements.tpm.public import Public

_SEED_BYTES = 32  # of the name algorithm's digest, for the default templates
_KEY_BITS = 128
_LABEL = b"IDENTITY\x00"  # Part 1, 24.4: the label that tells a credential from an import
_BLOCK = 16


class Credential(NamedTuple):
    """``blob`` is a TPM2B_ID_OBJECT, ``seed`` a TPM2B_ENCRYPTED_SECRET: what TPM2_ActivateCredential takes."""

    blob: bytes
    seed: bytes


def make_credential(ek: Public, name: bytes, secret: bytes) -> Credential:
    """Encrypt ``secret`` (at most 32 bytes) for the TPM of ``ek``, provided that it holds the key of this name."""
    seed, encrypted_seed = _rsa_seed(ek) if ek.kind == "rsa" else _ecc_seed(ek)
    key = kdf_a(seed, b"STORAGE", name, b"", _KEY_BITS)
    identity = _cfb(key, sized(secret))
    integrity = hmac.digest(kdf_a(seed, b"INTEGRITY", b"", b"", 256), identity + name, "sha256")
    return Credential(sized(sized(integrity) + identity), sized(encrypted_seed))


def kdf_a(key: bytes, label: bytes, u: bytes, v: bytes, bits: int) -> bytes:
    """KDFa (Part 1, 11.4.10.2; SP 800-108 in counter mode) with HMAC-SHA-256, up to 256 bits."""
    return hmac.digest(key, struct.pack(">I", 1) + label + b"\x00" + u + v + struct.pack(">I", bits), "sha256")[
        : bits // 8
    ]


def kdf_e(z: bytes, label: bytes, u: bytes, v: bytes) -> bytes:
    """KDFe (Part 1, 11.4.10.3; SP 800-56A) with SHA-256, 256 bits. ``label`` ends in its zero byte."""
    return hashlib.sha256(struct.pack(">I", 1) + z + label + u + v).digest()


def _rsa_seed(ek: Public) -> tuple[bytes, bytes]:
    """Part 1, B.10.4: a random seed under OAEP with SHA-256 and the label."""
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA256

    seed = os.urandom(_SEED_BYTES)
    return seed, ek.rsa_key().encrypt(seed, OAEP(MGF1(SHA256()), SHA256(), _LABEL))


def _ecc_seed(ek: Public) -> tuple[bytes, bytes]:
    """Part 1, C.6.4: the seed comes of one-pass Diffie-Hellman; what is sent is the ephemeral point."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDH, SECP256R1, generate_private_key

    ephemeral = generate_private_key(SECP256R1())
    z = ephemeral.exchange(ECDH(), ek.ecc_key())
    point = ephemeral.public_key().public_numbers()
    x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
    return kdf_e(z, _LABEL, x, ek.unique[:32]), sized(x) + sized(y)


def _cfb(key: bytes, data: bytes) -> bytes:
    """AES in CFB mode (SP 800-38A, 6.3) from a zero IV; ``cryptography`` moves its own from release to release."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    encrypt = Cipher(AES(key), ECB()).encryptor()  # noqa: S305 - single blocks: CFB is made of them
    last, out = bytes(_BLOCK), b""
    for start in range(0, len(data), _BLOCK):
        stream = encrypt.update(last)
        last = bytes(a ^ b for a, b in zip(stream, data[start : start + _BLOCK], strict=False))
        out += last
    return out
