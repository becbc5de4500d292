"""MakeCredential against the specification's other side, done here in software; a TPM opens them in test_chip.py."""

from __future__ import annotations

import hashlib
import hmac
import warnings
from typing import Any

import pytest
from authorities import ecc_area, rsa_area
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.hashes import SHA256

from verity.errors import FormatError
from verity.identity.tpm.credential import kdf_a, kdf_e, make_credential
from verity.statements.tpm.public import endorsement_key

NAME = b"\0\x0b" + hashlib.sha256(b"a key").digest()


def parts(data: bytes) -> list[bytes]:
    """TPM2Bs one after the other."""
    found = []
    while data:
        size = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


def cfb(key: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cryptography.hazmat.primitives.ciphers import modes

        return Cipher(AES(key), modes.CFB(bytes(16))).decryptor()


def opened(seed: bytes, blob: bytes, name: bytes) -> bytes:
    """Part 1, 24.5, from the side of the TPM."""
    (inner,) = parts(blob)
    integrity, encrypted = inner[2:34], inner[34:]
    key = hmac.digest(seed, b"\0\0\0\1INTEGRITY\0" + (256).to_bytes(4, "big"), "sha256")
    if not hmac.compare_digest(hmac.digest(key, encrypted + name, "sha256"), integrity):
        raise ValueError("not for this key")
    symmetric = hmac.digest(seed, b"\0\0\0\1STORAGE\0" + name + (128).to_bytes(4, "big"), "sha256")[:16]
    (secret,) = parts(cfb(symmetric).update(encrypted))
    return secret


@pytest.mark.parametrize("secret", [b"s" * 32, b"s" * 14, b"s" * 15, b""])
def test_the_holder_of_an_rsa_key_opens_it(secret: bytes) -> None:
    private = rsa.generate_private_key(65537, 2048)
    credential = make_credential(endorsement_key(rsa_area(private)), NAME, secret)
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), b"IDENTITY\0")
    (encrypted,) = parts(credential.seed)
    seed = private.decrypt(encrypted, oaep)
    assert opened(seed, credential.blob, NAME) == secret
    with pytest.raises(ValueError, match="not for this key"):
        opened(seed, credential.blob, NAME[:-1] + b"\0")


def test_the_holder_of_an_ecc_key_opens_it() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    ek = endorsement_key(ecc_area(private))
    credential = make_credential(ek, NAME, b"s" * 32)
    (point,) = parts(credential.seed)
    x, y = parts(point)
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + x + y)
    z = private.exchange(ec.ECDH(), ephemeral)
    seed = hashlib.sha256(b"\0\0\0\1" + z + b"IDENTITY\0" + x + ek.unique[:32]).digest()
    assert opened(seed, credential.blob, NAME) == b"s" * 32
    for at in range(4, len(credential.blob)):
        edited = credential.blob[:at] + bytes([credential.blob[at] ^ 1]) + credential.blob[at + 1 :]
        with pytest.raises((ValueError, IndexError)):
            opened(seed, edited, NAME)


def test_no_two_are_alike() -> None:
    ek = endorsement_key(ecc_area(ec.generate_private_key(ec.SECP256R1())))
    assert make_credential(ek, NAME, b"s") != make_credential(ek, NAME, b"s")


def test_key_derivation_is_counted_labelled_and_cut() -> None:
    whole = kdf_a(b"k", b"L", b"u", b"v", 256)
    assert whole == hmac.digest(b"k", b"\0\0\0\1L\0uv\0\0\1\0", "sha256")
    assert len(kdf_a(b"k", b"L", b"u", b"v", 128)) == 16
    assert kdf_e(b"z", b"L\0", b"u", b"v") == hashlib.sha256(b"\0\0\0\1zL\0uv").digest()


def test_an_rsa_key_of_another_size_or_exponent_is_refused() -> None:
    area = rsa_area(rsa.generate_private_key(65537, 2048))
    assert endorsement_key(area[:-262] + b"\0\1\0\1" + area[-258:]).kind == "rsa"
    for edited in (area[:-1] + b"\0", area[:-262] + b"\0\0\0\3" + area[-258:]):
        with pytest.raises(FormatError):
            endorsement_key(edited)
