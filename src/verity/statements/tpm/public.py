"""The public area of a TPM's key (TPM 2.0 Library, Part 2, 12.2.4 TPMT_PUBLIC), as TPM2B_PUBLIC, read strictly.

Two kinds of key are known, and no others: RSA with 2,048 bits and ECC on NIST P-256, both named by SHA-256.

    attestation key   signs quotes. Restricted: it signs nothing that could pass for what the TPM itself says
    endorsement key   decrypts challenges. Its template is one of the two defaults of the TCG EK Credential Profile
                      (L-1: RSA 2048, L-2: ECC P-256), so that its attributes are known
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from verity.errors import FormatError
from verity.statements.tpm.octets import Octets, sized

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MAX_PUBLIC = 512
"""Bytes of a TPM2B_PUBLIC."""
NAME_SIZE = 34
"""Bytes of a name: its algorithm and a SHA-256."""

_RSA, _ECC = 0x0001, 0x0023  # TPM_ALG_ID, Part 2, 6.3
SHA256, NULL, ECDSA = 0x000B, 0x0010, 0x0018
_AES, _CFB = 0x0006, 0x0043
_P256 = 0x0003  # TPM_ECC_CURVE, Part 2, 6.4
_DEFAULT_EXPONENT = 65537

# TPMA_OBJECT, Part 2, 8.3
FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN = 1 << 1, 1 << 4, 1 << 5
USER_WITH_AUTH, ADMIN_WITH_POLICY, NO_DA = 1 << 6, 1 << 7, 1 << 10
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18
_ATTESTS = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN
_ENDORSES = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT
_KNOWN = _ATTESTS | _ENDORSES | USER_WITH_AUTH | NO_DA

POLICY_A = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicySecret(TPM_RH_ENDORSEMENT), the policy of both default templates (EK Credential Profile 2.5, B.6.2)."""


class Public(msgspec.Struct, frozen=True):
    """A key that a TPM holds. ``area`` is its TPMT_PUBLIC as written; ``kind`` is ``rsa`` or ``ecc``; ``unique`` the
    modulus, or x and y, 32 bytes each."""

    area: bytes
    kind: str
    attributes: int
    policy: bytes
    symmetric: bool
    scheme: int
    unique: bytes
    exponent: int = _DEFAULT_EXPONENT

    @property
    def name(self) -> bytes:
        """How a TPM names the key: 34 bytes (Part 1, 16)."""
        return SHA256.to_bytes(2, "big") + hashlib.sha256(self.area).digest()

    @property
    def digest(self) -> str:
        """SHA-256 of the TPM2B_PUBLIC (64 hex digits)."""
        return hashlib.sha256(sized(self.area)).hexdigest()

    def ecc_key(self) -> EllipticCurvePublicKey:
        """Raises FormatError when it is no ECC key, or not on the curve."""
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

        if self.kind != "ecc":
            raise FormatError("the TPM's key is not on a curve")
        try:
            return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), b"\x04" + self.unique)
        except ValueError as error:
            raise FormatError("the TPM's public key is not a point of its curve") from error

    def rsa_key(self) -> RSAPublicKey:
        """Raises FormatError when it is no RSA key, or none that could be used."""
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

        if self.kind != "rsa":
            raise FormatError("the TPM's key is not RSA")
        try:
            return RSAPublicNumbers(self.exponent, int.from_bytes(self.unique, "big")).public_key()
        except ValueError as error:
            raise FormatError("the TPM's public key is not an RSA key") from error


def parse_public(data: bytes) -> Public:
    """Read a TPM2B_PUBLIC. Raises FormatError."""
    outer = Octets(data, "TPM's public key")
    area = outer.sized(MAX_PUBLIC - 2)
    outer.end()
    read = Octets(area, "TPM's public key")
    kind = read.number(2)
    read.must(2, SHA256, "a name algorithm")
    attributes, policy = read.number(4), read.sized(32)
    if attributes & ~_KNOWN or len(policy) not in (0, 32):
        raise FormatError("the TPM's public key has attributes that no key here may have")
    symmetric = _symmetric(read)
    if kind == _ECC:
        scheme = _scheme(read)
        read.must(2, _P256, "a curve")
        read.must(2, NULL, "a key derivation scheme")
        public = Public(area, "ecc", attributes, policy, symmetric, scheme, _coordinate(read) + _coordinate(read))
    elif kind == _RSA:
        read.must(2, NULL, "a scheme")
        read.must(2, 2048, "a number of bits")
        exponent, modulus = read.number(4), read.sized(256)
        if exponent not in (0, _DEFAULT_EXPONENT) or len(modulus) != 256 or modulus[0] < 0x80 or not modulus[-1] & 1:
            raise FormatError("the TPM's public key is not an RSA key of 2,048 bits with the usual exponent")
        public = Public(area, "rsa", attributes, policy, symmetric, NULL, modulus)
    else:
        raise FormatError("the TPM's public key is neither RSA nor ECC")
    read.end()
    return public


def _symmetric(read: Octets) -> bool:
    """TPMT_SYM_DEF_OBJECT: none, or AES-128 in CFB mode."""
    algorithm = read.number(2)
    if algorithm == NULL:
        return False
    if algorithm != _AES:
        raise FormatError("the TPM's public key has an unknown symmetric algorithm")
    read.must(2, 128, "a number of bits")
    read.must(2, _CFB, "a mode")
    return True


def _scheme(read: Octets) -> int:
    scheme = read.number(2)
    if scheme == ECDSA:
        read.must(2, SHA256, "a hash")
    elif scheme != NULL:
        raise FormatError("the TPM's public key has an unknown scheme")
    return scheme


def _coordinate(read: Octets) -> bytes:
    value = read.sized(32)
    if len(value) != 32:
        raise FormatError("a coordinate of the TPM's public key has not 32 bytes")
    return value


def attestation_key(data: bytes) -> Public:
    """Read the key that signs quotes, and check that it can sign nothing else and never leaves its TPM. FormatError."""
    key = parse_public(data)
    if key.kind != "ecc" or key.scheme != ECDSA or key.symmetric:
        raise FormatError("the attestation key does not sign with ECDSA on P-256 and SHA-256")
    if key.attributes & (_ATTESTS | DECRYPT) != _ATTESTS:
        raise FormatError("the attestation key is not a restricted signing key that its TPM made and keeps")
    key.ecc_key()
    return key


def endorsement_key(data: bytes) -> Public:
    """Read an endorsement key, and check that it has one of the two default templates. Raises FormatError."""
    key = parse_public(data)
    if key.attributes != _ENDORSES or key.policy != POLICY_A or not key.symmetric or key.scheme != NULL:
        raise FormatError("the endorsement key does not have the default template")
    _ = key.ecc_key() if key.kind == "ecc" else key.rsa_key()
    return key
