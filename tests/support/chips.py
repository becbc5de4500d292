"""What a TPM writes, by a key in Python: so that tests can quote what they like, as whoever owns such a key could."""

from __future__ import annotations

import hashlib
import struct

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from verity.node import Node
from verity.statements.bundle import Bundle, HardwareProof, SignedRecord
from verity.statements.hardware import HARDWARE, KIND, UNVERIFIED
from verity.statements.strict import encode_base64
from verity.statements.tpm.octets import sized
from verity.statements.tpm.quote import BOOT_PCRS, extra_data

RESTRICTED, UNRESTRICTED = "00050472", "00040472"


class Chip:
    """A key with the public area of an attestation key. ``attributes`` in hex."""

    def __init__(self, attributes: str = RESTRICTED) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        point = self._key.public_key().public_numbers()
        head = bytes.fromhex("0023000b" + attributes + "0000" + "0010" + "0018000b" + "0003" + "0010")
        area = head + sized(point.x.to_bytes(32, "big")) + sized(point.y.to_bytes(32, "big"))
        self.public = sized(area)
        self.name = b"\0\x0b" + hashlib.sha256(area).digest()

    def quote(self, device: bytes, body: str) -> tuple[bytes, bytes, list[tuple[int, str]]]:
        """Attestation, signature and PCRs."""
        pcrs = [(index, bytes(32).hex()) for index in BOOT_PCRS]
        selected = sum(1 << index for index in BOOT_PCRS).to_bytes(3, "little")
        digest = hashlib.sha256(bytes(32 * len(pcrs))).digest()
        attest = (
            b"\xffTCG\x80\x18" + sized(self.name) + sized(extra_data(device, body))
            + struct.pack(">QIIBQ", 7, 1, 0, 1, 0)
            + b"\0\0\0\1\0\x0b\3" + selected + sized(digest)
        )  # fmt: skip
        r, s = decode_dss_signature(self._key.sign(attest, ec.ECDSA(SHA256())))
        return attest, b"\0\x18\0\x0b" + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big")), pcrs


def record(registrar: Node, device: str, chip: Chip, level: str = UNVERIFIED) -> SignedRecord:
    """What a registrar signs, whether or not it is so."""
    fields = {
        "ak": encode_base64(chip.public), "certificate": None, "device": device, "ek": "0" * 64, "issuer": None,
        "level": level, "time/started": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    index = registrar.recorder.declare(HARDWARE, KIND, fields, shown=True)
    return SignedRecord(*registrar.exporter.statement(index))


def proof(signed: SignedRecord, chip: Chip, device: bytes, body: str) -> HardwareProof:
    attest, signature, pcrs = chip.quote(device, body)
    return HardwareProof(signed, encode_base64(attest), encode_base64(signature), pcrs)


def with_proof(bundle: Bundle, shown: HardwareProof) -> Bundle:
    return msgspec.structs.replace(bundle, log=msgspec.structs.replace(bundle.log, hardware=shown))
