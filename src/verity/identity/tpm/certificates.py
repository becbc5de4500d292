"""Who says that an endorsement key lies in a TPM: its certificate, and the chain to a root that a registrar names.

TCG EK Credential Profile for TPM 2.0, 2.5; RFC 5280. Verity ships no roots: vendors publish theirs, a registrar picks.
Whatever a certificate demands and this reader does not know makes it refuse.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from verity.errors import FormatError, SignatureError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from verity.statements.tpm.public import Public

MAX_CHAIN = 5
MAX_ROOTS = 1 << 20
"""Bytes of a file of certificates."""
_EK_USE = "2.23.133.8.1"  # tcg-kp-EKCertificate
_MODEL = "2.23.133.2.2"  # tcg-at-tpmModel
_UNDERSTOOD = {
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.37": "extKeyUsage",
}
_HINT = "ask for a certificate that chains to your roots, or certify without it: `--accept-unverified`"


def read_certificate(data: bytes, ek: Public) -> Certificate:
    """An endorsement key's certificate (DER), which must be for this very key. Raises FormatError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    key = ek.ecc_key() if ek.kind == "ecc" else ek.rsa_key()
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # vendors' certificates are odd, and nothing here depends on how
            certificate = _whole(load_der_x509_certificate(data))
        same = certificate.public_key().public_bytes(*form) == key.public_bytes(*form)
    except Exception as error:  # the library has many for what a stranger's DER may hold
        raise FormatError(f"the endorsement key's certificate cannot be read: {str(error)[:200]}") from error
    if not same:
        raise FormatError("the certificate is for another endorsement key")
    return certificate


def read_certificates(data: bytes) -> list[Certificate]:
    """The certificates of a PEM file. Raises FormatError."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [_whole(certificate) for certificate in load_pem_x509_certificates(data)]
    except Exception as error:
        raise FormatError(f"this is not a file of certificates: {str(error)[:200]}", "give PEM files") from error


def _whole(certificate: Certificate) -> Certificate:
    """The library reads parts when they are asked for: what cannot be read is to be refused at once."""
    _ = certificate.subject, certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _ = [extension.value for extension in certificate.extensions]
    return certificate


def check_chain(leaf: Certificate, between: Sequence[Certificate], roots: Sequence[Certificate]) -> Certificate:
    """The root that the endorsement key's certificate chains to, now. Raises SignatureError when there is none."""
    try:
        _check_leaf(leaf)
        return _climb(leaf, [*between], [*roots], 0)
    except FormatError as error:
        raise SignatureError(str(error), _HINT) from error


def says_simulator(certificate: Certificate) -> bool:
    """Whether the certificate itself names swtpm as the TPM's model: no root makes hardware of that."""
    from cryptography.x509 import DirectoryName, SubjectAlternativeName

    named = [e.value for e in certificate.extensions if isinstance(e.value, SubjectAlternativeName)]
    names = [name for value in named for name in value.get_values_for_type(DirectoryName)]
    attributes = [attribute for name in names for part in name.rdns for attribute in part]
    return any(a.oid.dotted_string == _MODEL and "swtpm" in str(a.value).lower() for a in attributes)


def _climb(
    certificate: Certificate, between: Sequence[Certificate], roots: Sequence[Certificate], below: int
) -> Certificate:
    """``below`` is how many authorities stand between it and the leaf."""
    _check_common(certificate)
    for root in roots:
        if _issued(certificate, root):
            _check_authority(root, below)
            return root
    if below < MAX_CHAIN - 2:
        for issuer in between:
            if _issued(certificate, issuer):
                _check_authority(issuer, below)
                return _climb(issuer, [c for c in between if c != issuer], roots, below + 1)
    raise FormatError("the endorsement key's certificate does not chain to a root that you name")


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    algorithm = certificate.signature_hash_algorithm
    return algorithm is None or algorithm.name not in ("md5", "sha1")


def _check_common(certificate: Certificate) -> None:
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise FormatError("a certificate of the chain is not valid at this time")
    for extension in certificate.extensions:
        if extension.critical and extension.oid.dotted_string not in _UNDERSTOOD:
            raise FormatError(f"a certificate of the chain has a critical extension {extension.oid.dotted_string}")


def _check_leaf(certificate: Certificate) -> None:
    from cryptography.x509 import BasicConstraints, ExtendedKeyUsage

    for extension in certificate.extensions:
        if isinstance(extension.value, BasicConstraints) and extension.value.ca:
            raise FormatError("the endorsement key's certificate is one of an authority")
        if isinstance(extension.value, ExtendedKeyUsage) and _EK_USE not in {u.dotted_string for u in extension.value}:
            raise FormatError("the certificate is not for the endorsement key of a TPM")


def _check_authority(certificate: Certificate, below: int) -> None:
    from cryptography.x509 import BasicConstraints, KeyUsage

    _check_common(certificate)
    values = [extension.value for extension in certificate.extensions]
    constraints = next((v for v in values if isinstance(v, BasicConstraints)), None)
    usage = next((v for v in values if isinstance(v, KeyUsage)), None)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise FormatError("a certificate of the chain is not one of an authority")
    if constraints.path_length is not None and below > constraints.path_length:
        raise FormatError("the chain of certificates is longer than one of them allows")
