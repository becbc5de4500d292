"""A vendor of TPMs: endorsement keys, certificates for them, and authorities above them, as right or wrong as asked."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from verity.statements.tpm.octets import sized
from verity.statements.tpm.public import POLICY_A

EK_USE = "2.23.133.8.1"
MODEL = "2.23.133.2.2"
EK_ATTRIBUTES = bytes.fromhex("000300b2")
_NOW = datetime.datetime.now(datetime.UTC)


class Authority(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def authority(
    name: str, above: Authority | None = None, *, ca: bool = True, path_length: int | None = None, sign: bool = True
) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = above or Authority(Any, key)  # type: ignore[arg-type]
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    builder = (
        _builder(name, above.certificate.subject if above else _name(name), key.public_key())
        .add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=sign, **usage), critical=True)
    )
    return Authority(builder.sign(issuer.key, SHA256()), key)


def ek_certificate(
    above: Authority,
    public: Any,
    *,
    model: str = "VX-2000",
    use: str = EK_USE,
    ca: bool = False,
    days: int = 30,
    critical: str | None = None,
) -> bytes:
    tpm = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(MODEL), model)])
    builder = (
        _builder("", above.certificate.subject, public, days)
        .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(tpm)]), critical=True)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(use)]), critical=False)
    )
    if critical is not None:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(critical), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    return builder.sign(above.key, SHA256()).public_bytes(Encoding.DER)


def _builder(name: str, issuer: x509.Name, public: Any, days: int = 30) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name) if name else x509.Name([]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - datetime.timedelta(days=90))
        .not_valid_after(_NOW + datetime.timedelta(days=days))
    )


def rsa_area(private: rsa.RSAPrivateKey) -> bytes:
    modulus = private.public_key().public_numbers().n.to_bytes(256, "big")
    head = b"\0\x01\0\x0b" + EK_ATTRIBUTES + sized(POLICY_A) + b"\0\x06\0\x80\0\x43\0\x10\x08\0" + bytes(4)
    return sized(head + sized(modulus))


def ecc_area(private: ec.EllipticCurvePrivateKey) -> bytes:
    point = private.public_key().public_numbers()
    head = b"\0\x23\0\x0b" + EK_ATTRIBUTES + sized(POLICY_A) + b"\0\x06\0\x80\0\x43\0\x10\0\x03\0\x10"
    return sized(head + sized(point.x.to_bytes(32, "big")) + sized(point.y.to_bytes(32, "big")))
