"""The TPM itself, through tpm2-pytss (the extra ``tpm``): an attestation key, its quotes, and challenges opened.

    with Tpm("device:/dev/tpmrm0") as tpm:
        key = tpm.create_key()
        quoted = tpm.quote(key, extra)

Nothing stays in the TPM: parents are made again from their templates (the TPM derives them from its seeds), and every
key and session is flushed. The owner hierarchy's authorization is taken to be empty, as it is unless somebody set one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from verity.errors import FormatError, HardwareError
from verity.statements.tpm.public import (
    ADMIN_WITH_POLICY,
    DECRYPT,
    FIXED_PARENT,
    FIXED_TPM,
    NO_DA,
    POLICY_A,
    RESTRICTED,
    SENSITIVE_DATA_ORIGIN,
    SIGN,
    USER_WITH_AUTH,
)
from verity.statements.tpm.quote import BOOT_PCRS, parse_attest

if TYPE_CHECKING:
    from tpm2_pytss import ESAPI

DEFAULT_TCTI = "device:/dev/tpmrm0"
VARIABLE = "VERITY_TCTI"
EK_KINDS = ("rsa", "ecc")
_CERTIFICATES = {"rsa": 0x01C00002, "ecc": 0x01C0000A}  # EK Credential Profile 2.5, 2.2.1.4: L-1 and L-2
_OWN = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN
_STORES = _OWN | USER_WITH_AUTH | NO_DA | RESTRICTED | DECRYPT
_SIGNS = _OWN | USER_WITH_AUTH | NO_DA | RESTRICTED | SIGN
_ENDORSES = _OWN | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT
_FIRMWARE = 0x10B  # TPM_PT_FIRMWARE_VERSION_1, Part 2, 6.13
_TRIES = 3
_HINT = "name the TPM with --tcti or $VERITY_TCTI; a group (often `tss`) may own the device; see docs/hardware.md"


class Key(NamedTuple):
    """An attestation key: a TPM2B_PUBLIC, and a TPM2B_PRIVATE that only the TPM which made it can load."""

    public: bytes
    private: bytes


class Quoted(NamedTuple):
    """A TPMS_ATTEST, its TPMT_SIGNATURE, and the PCRs that it is about: index and SHA-256 value (hex), in order."""

    attest: bytes
    signature: bytes
    pcrs: list[tuple[int, str]]


class Endorsement(NamedTuple):
    """An endorsement key: which kind, its TPM2B_PUBLIC, and the certificate (DER) that its TPM carries, if any."""

    kind: str
    public: bytes
    certificate: bytes | None


def tcti(named: str | None = None) -> str:
    """How the TPM is reached: as named, or ``$VERITY_TCTI``, or the kernel's resource manager."""
    return named or os.environ.get(VARIABLE) or DEFAULT_TCTI


class Tpm:
    """One TPM, for the length of a ``with`` block. Everything raises HardwareError when it cannot be reached or
    refuses."""

    def __init__(self, named: str | None = None) -> None:
        self._tcti = tcti(named)
        self._esys: ESAPI | None = None

    def __enter__(self) -> Tpm:
        os.environ.setdefault("TSS2_LOG", "all+NONE")  # what fails is raised, not written to stderr
        try:
            from tpm2_pytss import ESAPI
        except ImportError as error:
            raise HardwareError("tpm2-pytss is not installed", "pip install 'verity-ai[tpm]'") from error
        with self._guarded("reached"):
            self._esys = ESAPI(self._tcti)
        return self

    def __exit__(self, *_: object) -> None:
        if self._esys is not None:
            self._esys.close()
            self._esys = None

    def create_key(self) -> Key:
        """A new attestation key: ECDSA on P-256, restricted, under a storage key of the owner hierarchy."""
        with self._guarded("asked for a key"), self._storage() as parent:
            private, public, _, _, _ = self._open.create(parent, _sensitive(), _template(_SIGNS, scheme="ecdsa"))
            return Key(bytes(public.marshal()), bytes(private.marshal()))

    def endorsement(self, kind: str | None = None) -> Endorsement:
        """The endorsement key of this kind (of EK_KINDS), or else of the one that the TPM carries a certificate for."""
        with self._guarded("asked for its endorsement key"):
            found = {each: self._certificate(each) for each in ([kind] if kind else EK_KINDS)}
            chosen = next((each for each, certificate in found.items() if certificate), kind or "ecc")
            with self._endorsement(chosen) as (_, public):
                return Endorsement(chosen, public, found[chosen])

    def activate(self, key: Key, kind: str, blob: bytes, seed: bytes) -> bytes:
        """The secret of a challenge (TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET), if it is for this TPM and key."""
        from tpm2_pytss import ESYS_TR, TPM2_SE, TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT, TPMT_SYM_DEF
        from tpm2_pytss.constants import TPM2_ALG

        named = _unmarshal(TPM2B_ID_OBJECT, blob), _unmarshal(TPM2B_ENCRYPTED_SECRET, seed)
        with self._guarded("asked to open the challenge"), self._loaded(key) as ak, self._endorsement(kind) as (ek, _):
            none = TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL)
            session = self._open.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, none, TPM2_ALG.SHA256)
            with self._flushed(session):
                self._open.policy_secret(ESYS_TR.ENDORSEMENT, session, expiration=0)
                secret = self._open.activate_credential(ak, ek, *named, session1=ESYS_TR.PASSWORD, session2=session)
                return bytes(secret)

    def quote(self, key: Key, extra: bytes) -> Quoted:
        """What the TPM says of the PCRs of a boot, repeating ``extra`` (at most 64 bytes), signed by ``key``."""
        from tpm2_pytss import TPM2B_DATA, TPML_PCR_SELECTION, TPMT_SIG_SCHEME
        from tpm2_pytss.constants import TPM2_ALG

        wanted = "sha256:" + ",".join(map(str, BOOT_PCRS))
        with self._guarded("asked for a quote"), self._loaded(key) as handle:
            for _ in range(_TRIES):  # somebody may extend a PCR between the quote and the reading
                scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
                attest, signature = self._open.quote(
                    handle, TPML_PCR_SELECTION.parse(wanted), TPM2B_DATA(extra), scheme
                )
                pcrs = self._pcrs()
                said = parse_attest(bytes(attest))
                if said.pcr_digest == hashlib.sha256(b"".join(bytes.fromhex(v) for _, v in pcrs)).digest():
                    return Quoted(bytes(attest), bytes(signature.marshal()), pcrs)
        raise HardwareError("the TPM's PCRs change while they are read", "try again when the computer has started")

    def describe(self) -> dict[str, str]:
        """Manufacturer and firmware as the TPM states them; nobody vouches for that."""
        from tpm2_pytss.constants import TPM2_CAP, TPM2_PT

        with self._guarded("asked for its properties"):
            _, capability = self._open.get_capability(TPM2_CAP.TPM_PROPERTIES, TPM2_PT.FIXED, 64)
            found = {int(p.property): int(p.value) for p in capability.data.tpmProperties}
        maker = found.get(int(TPM2_PT.MANUFACTURER), 0).to_bytes(4, "big").strip(b"\x00 ")
        firmware = found.get(_FIRMWARE, 0)
        return {"manufacturer": maker.decode("ascii", "replace"), "firmware": f"{firmware >> 16}.{firmware & 0xFFFF}"}

    # --- with parents made again, and flushed -------------------------------------------------------------------------

    @property
    def _open(self) -> ESAPI:
        assert self._esys is not None, "a Tpm is used in a with block"
        return self._esys

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        from tpm2_pytss import TSS2_Exception

        try:
            yield
        except TSS2_Exception as error:
            raise HardwareError(f"the TPM at {self._tcti} cannot be {what}: {str(error)[:200]}", _HINT) from error
        except RuntimeError as error:  # an address that the library cannot read
            raise HardwareError(f"there is no TPM at {self._tcti}: {str(error)[:200]}", _HINT) from error

    @contextlib.contextmanager
    def _flushed(self, handle: Any) -> Iterator[Any]:
        try:
            yield handle
        finally:
            self._open.flush_context(handle)

    @contextlib.contextmanager
    def _storage(self) -> Iterator[Any]:
        """The storage key, ECC P-256 (TCG TPM v2.0 Provisioning Guidance, 7.5.1), of the owner hierarchy."""
        from tpm2_pytss import ESYS_TR

        handle = self._open.create_primary(_sensitive(), _template(_STORES, symmetric=True), ESYS_TR.OWNER)[0]
        with self._flushed(handle):
            yield handle

    @contextlib.contextmanager
    def _loaded(self, key: Key) -> Iterator[Any]:
        from tpm2_pytss import TPM2B_PRIVATE, TPM2B_PUBLIC

        with self._storage() as parent:
            handle = self._open.load(
                parent, _unmarshal(TPM2B_PRIVATE, key.private), _unmarshal(TPM2B_PUBLIC, key.public)
            )
        with self._flushed(handle):
            yield handle

    @contextlib.contextmanager
    def _endorsement(self, kind: str) -> Iterator[tuple[Any, bytes]]:
        from tpm2_pytss import ESYS_TR

        template = _template(_ENDORSES, kind=kind, symmetric=True, policy=POLICY_A)
        handle, public, _, _, _ = self._open.create_primary(_sensitive(), template, ESYS_TR.ENDORSEMENT)
        with self._flushed(handle):
            yield handle, bytes(public.marshal())

    def _certificate(self, kind: str) -> bytes | None:
        from tpm2_pytss import ESYS_TR, TSS2_Exception

        try:
            handle = self._open.tr_from_tpmpublic(_CERTIFICATES[kind])
        except TSS2_Exception:
            return None  # the usual answer of a TPM that carries none
        try:
            public, _ = self._open.nv_read_public(handle)
            size, data = int(public.nvPublic.dataSize), b""
            while len(data) < size:
                part = self._open.nv_read(handle, min(512, size - len(data)), len(data), auth_handle=ESYS_TR.OWNER)
                data += bytes(part)
        finally:
            self._open.tr_close(handle)
        return without_padding(data)

    def _pcrs(self) -> list[tuple[int, str]]:
        from tpm2_pytss import TPML_PCR_SELECTION

        values: list[tuple[int, str]] = []
        for start in range(0, len(BOOT_PCRS), 8):  # a TPM reads at most eight at once
            part = BOOT_PCRS[start : start + 8]
            wanted = TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, part)))
            _, _, digests = self._open.pcr_read(wanted)
            values += [(index, bytes(digests[at]).hex()) for at, index in enumerate(part)]
        return values


def without_padding(data: bytes) -> bytes | None:
    """A certificate (DER) without what may follow it in the TPM's memory; None when it is none."""
    if len(data) < 4 or data[:2] != b"\x30\x82":
        return None
    size = 4 + int.from_bytes(data[2:4], "big")
    return data[:size] if size <= len(data) else None


def _sensitive() -> Any:
    from tpm2_pytss import TPM2B_SENSITIVE_CREATE

    return TPM2B_SENSITIVE_CREATE()


def _template(
    attributes: int, *, kind: str = "ecc", symmetric: bool = False, scheme: str = "null", policy: bytes = b""
) -> Any:
    """A TPM2B_PUBLIC to make a key by, with an empty (zero) unique part of the key's size, as the profile has it."""
    from tpm2_pytss import TPM2B_PUBLIC, TPMT_PUBLIC

    name = f"ecc256:{'ecdsa-sha256' if scheme == 'ecdsa' else 'null'}" if kind == "ecc" else "rsa2048:null"
    public = TPMT_PUBLIC.parse(
        f"{name}:{'aes128cfb' if symmetric else 'null'}",
        objectAttributes=attributes,
        nameAlg="sha256",
        authPolicy=policy,
    )
    if kind == "rsa":
        public.unique.rsa = bytes(256)
    elif scheme == "null":
        public.unique.ecc.x, public.unique.ecc.y = bytes(32), bytes(32)
    return TPM2B_PUBLIC(publicArea=public)


def _unmarshal(form: Callable[..., Any], data: bytes) -> Any:
    """A TPM2B as the library has it. Raises FormatError."""
    try:
        value, used = form.unmarshal(data)  # type: ignore[attr-defined]
    except Exception as error:
        raise FormatError("what is meant for the TPM is not of its form") from error
    if used != len(data):
        raise FormatError("what is meant for the TPM is too long")
    return value
