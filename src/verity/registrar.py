"""Vouches for other devices' TPMs: challenges them, and signs what it found; the record stands in this device's log.

What is known of an enrolment, its two keys, its certificate and the secret that binds them, is one row from the
challenge to the record, used once. (Keylime's CVE-2022-1053 came of keeping the pair in two places.)
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from verity.errors import SignatureError, UsageError
from verity.exporter import Exporter
from verity.identity.device_key import DeviceKey
from verity.identity.tpm.certificates import check_chain, read_certificate, says_simulator
from verity.identity.tpm.credential import make_credential
from verity.recorder import Recorder
from verity.statements.bundle import SignedRecord
from verity.statements.commitments import ID_BYTES
from verity.statements.dsse import Envelope
from verity.statements.enrolment import (
    SECRET_BYTES,
    Challenge,
    Enrolled,
    answer_mac,
    decode_message,
    read_answer,
    read_enrolment,
    sign_message,
)
from verity.statements.hardware import HARDWARE, KIND, MAX_ISSUER, SWTPM, UNVERIFIED, VENDOR, Record
from verity.statements.strict import encode_base64
from verity.statements.tpm.octets import sized
from verity.store.clock import now
from verity.store.database import Database
from verity.verify.hardware import check_record

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

LIFETIME = datetime.timedelta(hours=24)
"""From a challenge to its answer."""
_AGAIN = "make a new one: `verity tpm challenge` with the device's enrolment"
_UNVERIFIED_HINT = "name the vendor's roots with --roots, or vouch at a lower level with --accept-unverified"


class Trusted(NamedTuple):
    """Whose certificates this registrar believes: vendors' ``roots``, and authorities ``between`` them and a TPM.
    ``unverified``: he knows by other means that there is a TPM, and says so."""

    roots: Sequence[Certificate] = ()
    between: Sequence[Certificate] = ()
    unverified: bool = False


class Registrar:
    """This device, as one whom others believe about TPMs."""

    def __init__(self, database: Database, key: DeviceKey, recorder: Recorder, exporter: Exporter) -> None:
        self._database = database
        self._key = key
        self._recorder = recorder
        self._exporter = exporter

    def challenge(self, enrolment: Envelope) -> Envelope:
        """A challenge that only the TPM of this enrolment can answer, if both keys are in it.

        Raises FormatError for keys or a certificate that nothing could be said of, SignatureError, StoreError.
        """
        enrolled = read_enrolment(enrolment)
        if enrolled.certificate is not None:
            read_certificate(enrolled.certificate, enrolled.ek)
        challenge_id, secret = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
        credential = make_credential(enrolled.ek, enrolled.ak.name, secret)
        said = Challenge(
            blob=encode_base64(credential.blob),
            device=enrolled.device,
            ek=enrolled.ek.digest,
            id=challenge_id.hex(),
            seed=encode_base64(credential.seed),
        )
        with self._database.transaction() as connection:
            row = said.id, enrolment.encode(), secret, now()
            connection.execute("INSERT INTO hardware_challenges VALUES (?, ?, ?, ?, NULL)", row)
        return sign_message(said, enrolled.ak.name, self._key)

    def certify(self, answer: Envelope, trusted: Trusted) -> tuple[Record, SignedRecord]:
        """Sign and log that the TPM holds the device's attestation key, once for each challenge.

        Raises UsageError for a challenge that is not open, SignatureError for a wrong answer or a certificate that
        leads to no root, FormatError, StoreError.
        """
        said, ak_digest = read_answer(answer)
        if said.registrar != self._key.id:
            raise UsageError(f"the answer is for registrar {said.registrar[:16]}…, not for this device")
        enrolled, secret = self._open(said.id)
        keys = bytes.fromhex(self._key.id), bytes.fromhex(enrolled.device)
        expected = answer_mac(secret, bytes.fromhex(said.id), *keys)
        same = answer.device() == enrolled.device and ak_digest == enrolled.ak.name[2:].hex()
        if not same or not hmac.compare_digest(expected, bytes.fromhex(said.mac)):
            raise SignatureError("the answer does not come from the TPM that was challenged", "vouch for nothing")
        fields = self._fields(enrolled, trusted)

        def use(connection: sqlite3.Connection, _: int) -> None:
            update = "UPDATE hardware_challenges SET used_at = ?, secret = x'' WHERE id = ? AND used_at IS NULL"
            if connection.execute(update, (fields["time/started"], said.id)).rowcount != 1:
                raise UsageError("the challenge was answered already", _AGAIN)

        index = self._recorder.declare(HARDWARE, KIND, fields, use, shown=True)
        signed = SignedRecord(*self._exporter.statement(index))
        return check_record(signed, self._key.id), signed

    def _open(self, challenge_id: str) -> tuple[Enrolled, bytes]:
        query = "SELECT enrolment, secret, issued_at, used_at FROM hardware_challenges WHERE id = ?"
        with self._database.snapshot() as connection:
            row = connection.execute(query, (challenge_id,)).fetchone()
        if row is None:
            raise UsageError("this device made no such challenge", "use the home of the registrar who made it")
        enrolment, secret, issued_at, used_at = row
        if used_at is not None:
            raise UsageError("the challenge was answered already", _AGAIN)
        age = datetime.datetime.fromisoformat(now()) - datetime.datetime.fromisoformat(issued_at)
        if abs(age) > LIFETIME:
            raise UsageError(f"the challenge is of {issued_at} and was to be answered within 24 hours", _AGAIN)
        return read_enrolment(decode_message(enrolment)), secret

    def _fields(self, enrolled: Enrolled, trusted: Trusted) -> dict[str, str | None]:
        level, issuer = level_of(enrolled, trusted)
        certificate = enrolled.certificate
        return {
            "ak": encode_base64(sized(enrolled.ak.area)),
            "certificate": None if certificate is None else hashlib.sha256(certificate).hexdigest(),
            "device": enrolled.device,
            "ek": enrolled.ek.digest,
            "issuer": issuer,
            "level": level,
            "time/started": now(),
        }


def level_of(enrolled: Enrolled, trusted: Trusted) -> tuple[str, str | None]:
    """What may be said of the TPM, and who certified it. Without a chain nobody tells hardware from a simulator: then
    it is the registrar's own word, or `swtpm`. Raises SignatureError when roots are named and it leads to none."""
    certificate = None if enrolled.certificate is None else read_certificate(enrolled.certificate, enrolled.ek)
    if certificate is not None and says_simulator(certificate):
        return SWTPM, None
    if trusted.roots and certificate is not None:
        try:
            root = check_chain(certificate, trusted.between, trusted.roots)
            return VENDOR, root.subject.rfc4514_string()[:MAX_ISSUER]
        except SignatureError:
            if not trusted.unverified:
                raise
    elif trusted.roots and not trusted.unverified:
        raise SignatureError("the TPM shows no certificate for its endorsement key", _UNVERIFIED_HINT)
    return (UNVERIFIED if trusted.unverified else SWTPM), None
