"""What a TPM, a firmware, a vendor and a registrar write: keys, quotes, event logs, certificates, messages, records."""

from __future__ import annotations

import functools
import json

from fuzz.target import Target, dump, vectors
from verity.errors import FormatError, LogError, SignatureError
from verity.identity.device_key import DeviceKey
from verity.identity.tpm.certificates import check_chain, read_certificate, says_simulator
from verity.statements.enrolment import (
    Answer,
    Challenge,
    Enrolment,
    decode_message,
    read_answer,
    read_challenge,
    read_enrolment,
    sign_message,
)
from verity.statements.hardware import decode_proof
from verity.statements.strict import encode_base64
from verity.statements.tpm.event_log import SHOWN, parse_event_log
from verity.statements.tpm.octets import sized
from verity.statements.tpm.public import attestation_key, endorsement_key, parse_public
from verity.statements.tpm.quote import check_quote, parse_attest
from verity.verify.hardware import check_proof, check_record


def _part(name: str) -> bytes:
    return bytes.fromhex(vectors("tpm")["quote"][name])


def _public(data: bytes) -> None:
    key = parse_public(data)
    assert sized(key.area) == data, "a key was read that is written otherwise"
    assert len(key.name) == 34


def _attest(data: bytes) -> None:
    said = parse_attest(data)
    assert len(said.pcr_digest) == 32
    assert all(0 <= index < 32 for index in said.selected)


def _quote(data: bytes) -> None:
    """The attestation, and what is left of it is the signature."""
    attest = _part("attest")
    pcrs = [(index, value) for index, value in vectors("tpm")["quote"]["pcrs"]]
    said, signature = data[: len(attest)], data[len(attest) :]
    check_quote(attestation_key(_part("ak")), said, signature, pcrs)
    assert said == attest, "a quote was forged"


def _event_log(data: bytes) -> None:
    log = parse_event_log(data)
    assert all(len(event.text) <= SHOWN and event.text.isprintable() for event in log.events)
    assert all(0 <= index < 24 and len(value) == 64 for index, value in log.pcrs.items())


@functools.cache
def _keys() -> tuple[bytes, bytes]:
    """A vendor's root and a certificate by it (DER), for the key of the vectors."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    root, now = generate_private_key(SECP256R1()), datetime.datetime.now(datetime.UTC)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example TPM Root")])

    def made(public: object, *, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(issuer if ca else x509.Name([]))
            .issuer_name(issuer)
            .public_key(public)  # type: ignore[arg-type]
            .serial_number(7)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        return builder.sign(root, SHA256()).public_bytes(Encoding.DER)

    return made(root.public_key(), ca=True), made(endorsement_key(_part("ek_ecc")).ecc_key(), ca=False)


def _certificate(data: bytes) -> None:
    from cryptography.x509 import load_der_x509_certificate

    root, _ = map(load_der_x509_certificate, _keys())
    certificate = read_certificate(data, endorsement_key(_part("ek_ecc")))
    assert not says_simulator(certificate) or b"swtpm" in data.lower()
    check_chain(certificate, [], [root])
    assert certificate.tbs_certificate_bytes == load_der_x509_certificate(_keys()[1]).tbs_certificate_bytes, "forged"


@functools.cache
def _signer() -> DeviceKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return DeviceKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))


def _message(data: bytes) -> None:
    envelope = decode_message(data)
    for read in (read_enrolment, read_challenge, read_answer):
        try:
            read(envelope)
        except FormatError:
            continue
        signed = {json.loads(seed)["payload"] for seed in _messages()}
        assert envelope.payload in signed or envelope.device() != _signer().id, "a message was forged"
        return
    raise FormatError("none of the three")


def _messages() -> list[bytes]:
    ak = attestation_key(_part("ak"))
    keys = {name: encode_base64(_part(name)) for name in ("ak", "ek_ecc", "ek_rsa")}
    said = (
        Enrolment(ak=keys["ak"], ek=keys["ek_ecc"], certificate=encode_base64(_keys()[1])),
        Enrolment(ak=keys["ak"], ek=keys["ek_rsa"]),
        Challenge(blob="AAA=", device=vectors("tpm")["device"], ek="0" * 64, id="0" * 32, seed="AAA="),
        Answer(id="0" * 32, mac="0" * 64, registrar=vectors("tpm")["registrar"]),
    )
    return [sign_message(each, ak.name, _signer()).encode() for each in said]


def _proof(data: bytes) -> None:
    proof = decode_proof(data)
    assert decode_proof(proof.encode()) == proof
    record = check_record(proof.record, vectors("tpm")["registrar"])
    assert record.device == vectors("tpm")["device"], "a record was forged"
    check_proof(proof, record, record.device, vectors("receipt")["bundle"]["log"]["checkpoint"])
    assert proof.attest == vectors("tpm")["proof"]["attest"], "a quote was forged"


_ALL = (FormatError, SignatureError, LogError)
TARGETS = [
    Target("tpm-key", "public keys of a TPM", _public, lambda: [_part(n) for n in ("ak", "ek_rsa", "ek_ecc")],
           (FormatError,), max_bytes=600),
    Target("attest", "what a TPM attests", _attest, lambda: [_part("attest")], (FormatError,), max_bytes=600),
    Target("quote", "quotes with their signatures", _quote, lambda: [_part("attest") + _part("signature")],
           (FormatError, SignatureError), max_bytes=600),
    Target("event-log", "event logs of a boot", _event_log, lambda: [bytes.fromhex(vectors("tpm")["event_log"]["log"])],
           (FormatError,)),
    Target("ek-certificate", "certificates of endorsement keys", _certificate, lambda: [_keys()[1]],
           (FormatError, SignatureError), max_bytes=2048),
    Target("enrolment", "enrolments, challenges and answers", _message, _messages, (FormatError, SignatureError),
           structured=True),
    Target("hardware-proof", "quotes with a registrar's record", _proof, lambda: [dump(vectors("tpm")["proof"])], _ALL,
           structured=True),
]  # fmt: skip
