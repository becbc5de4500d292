"""A TPM's quote (TPM 2.0 Library, Part 2, 10.12.12 TPMS_ATTEST and 11.3.4 TPMT_SIGNATURE), read and checked.

The TPM signs what it says, with a restricted key, so that nobody else can have made it. A quote says the digest of some
PCRs and repeats 32 bytes that the asker chose: here those that bind a device's key and a checkpoint of its log.
"""

from __future__ import annotations

import hashlib

import msgspec

from verity.errors import FormatError, SignatureError
from verity.statements.strict import decode_hex
from verity.statements.tpm.octets import Octets
from verity.statements.tpm.public import ECDSA, NAME_SIZE, SHA256, Public

MAX_ATTEST = 512
MAX_SIGNATURE = 80
BOOT_PCRS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14)
"""What a boot is measured into; the rest belongs to whoever runs later."""

_MAGIC = 0xFF544347  # TPM_GENERATED_VALUE, Part 2, 6.2
_QUOTE = 0x8018  # TPM_ST_ATTEST_QUOTE, Part 2, 6.9
_DOMAIN = b"verity/quote/v1\x00"


class Attest(msgspec.Struct, frozen=True):
    """What a quote says. ``clock`` is in milliseconds since the TPM was made or cleared, ``resets`` counts boots."""

    extra: bytes
    clock: int
    resets: int
    restarts: int
    safe: bool
    firmware: int
    selected: tuple[int, ...]
    pcr_digest: bytes


def extra_data(device: bytes, checkpoint_body: str) -> bytes:
    """The 32 bytes that a quote must repeat: they bind a device's public key (32 bytes) and a checkpoint's body."""
    body = hashlib.sha256(checkpoint_body.encode()).digest()
    return hashlib.sha256(_DOMAIN + device + body).digest()


def parse_attest(data: bytes) -> Attest:
    """Read a TPMS_ATTEST that is a quote over PCRs of the SHA-256 bank. Raises FormatError."""
    if len(data) > MAX_ATTEST:
        raise FormatError(f"a quote has at most {MAX_ATTEST} bytes")
    read = Octets(data, "quote")
    read.must(4, _MAGIC, "a magic number")
    read.must(2, _QUOTE, "a type")
    signer = read.sized(NAME_SIZE)
    if len(signer) != NAME_SIZE or int.from_bytes(signer[:2], "big") != SHA256:
        raise FormatError("the quote's signer is not named by SHA-256")
    extra = read.sized(64)
    clock, resets, restarts, safe = read.number(8), read.number(4), read.number(4), read.number(1)
    if safe > 1:
        raise FormatError("the quote's clock is neither safe nor not")
    firmware = read.number(8)
    selected = _selection(read)
    digest = read.sized(32)
    read.end()
    if len(digest) != 32:
        raise FormatError("the quote's digest of PCRs is not a SHA-256")
    return Attest(extra, clock, resets, restarts, bool(safe), firmware, selected, digest)


def _selection(read: Octets) -> tuple[int, ...]:
    """TPML_PCR_SELECTION of one bank, SHA-256."""
    read.must(4, 1, "a number of PCR banks")
    read.must(2, SHA256, "a PCR bank")
    size = read.number(1)
    if size > 4:
        raise FormatError("the quote selects among more than 32 PCRs")
    bits = int.from_bytes(read.take(size), "little")
    return tuple(index for index in range(8 * size) if bits >> index & 1)


def parse_signature(data: bytes) -> tuple[int, int]:
    """Read a TPMT_SIGNATURE by ECDSA with SHA-256 on P-256: r and s. Raises FormatError."""
    if len(data) > MAX_SIGNATURE:
        raise FormatError(f"a quote's signature has at most {MAX_SIGNATURE} bytes")
    read = Octets(data, "quote's signature")
    read.must(2, ECDSA, "an algorithm")
    read.must(2, SHA256, "a hash")
    r, s = read.sized(32), read.sized(32)
    read.end()
    return int.from_bytes(r, "big"), int.from_bytes(s, "big")


def pcr_digest(values: list[tuple[int, str]]) -> bytes:
    """The digest that a quote has of these PCRs: index and value (64 hex digits), in order. Raises FormatError."""
    if [index for index, _ in values] != sorted({index for index, _ in values}):
        raise FormatError("the PCRs are not in order")
    return hashlib.sha256(b"".join(decode_hex(value, 32, "value of a PCR") for _, value in values)).digest()


def check_quote(key: Public, attest: bytes, signature: bytes, pcrs: list[tuple[int, str]]) -> Attest:
    """What the TPM of this attestation key signed, about PCRs that have these values. FormatError, SignatureError."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA as SIGNED_BY
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256 as HASH

    said = parse_attest(attest)
    signed = encode_dss_signature(*parse_signature(signature))
    try:
        key.ecc_key().verify(signed, attest, SIGNED_BY(HASH()))
    except InvalidSignature as error:
        raise SignatureError("the quote is not signed by the attestation key") from error
    if tuple(index for index, _ in pcrs) != said.selected or pcr_digest(pcrs) != said.pcr_digest:
        raise FormatError("the PCRs are not those that the TPM signed")
    return said
