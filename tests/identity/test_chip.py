"""A TPM at work (swtpm): keys, quotes, challenges; what another TPM makes of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulators import needs_swtpm, simulator

from verity.errors import FormatError, HardwareError
from verity.identity.tpm.certificates import check_chain, read_certificate, read_certificates, says_simulator
from verity.identity.tpm.chip import DEFAULT_TCTI, Key, Tpm, tcti, without_padding
from verity.identity.tpm.credential import make_credential
from verity.statements.tpm.public import attestation_key, endorsement_key
from verity.statements.tpm.quote import BOOT_PCRS, check_quote


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tpm")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with simulator(folder, certified=True) as found:
        yield found


@pytest.fixture
def tpm(address: str) -> Iterator[Tpm]:
    with Tpm(address) as chip:
        yield chip


def _loaded(tpm: Tpm) -> list[int]:
    from tpm2_pytss.constants import TPM2_CAP

    found = []
    for first in (0x80000000, 0x02000000, 0x03000000):  # transient objects, loaded sessions, saved ones
        capability = tpm._open.get_capability(TPM2_CAP.HANDLES, first, 16)[1]  # kept: what is in it is freed with it
        found += [int(handle) for handle in capability.data.handles if int(handle) >> 24 == first >> 24]
    return found


@needs_swtpm
def test_a_quote(tpm: Tpm) -> None:
    key = tpm.create_key()
    quoted = tpm.quote(key, b"x" * 32)
    said = check_quote(attestation_key(key.public), quoted.attest, quoted.signature, quoted.pcrs)
    assert (said.extra, said.selected) == (b"x" * 32, BOOT_PCRS)
    assert _loaded(tpm) == []


@needs_swtpm
@pytest.mark.parametrize("kind", ["rsa", "ecc"])
def test_a_challenge_is_opened_by_this_tpm_and_for_this_key_alone(kind: str, tpm: Tpm, tmp_path: Path) -> None:
    key, ek = tpm.create_key(), endorsement_key(tpm.endorsement(kind).public)
    name = attestation_key(key.public).name
    challenge = make_credential(ek, name, b"s" * 32)
    assert tpm.activate(key, kind, *challenge) == b"s" * 32
    with pytest.raises(HardwareError, match="open the challenge"):
        tpm.activate(tpm.create_key(), kind, *challenge)
    with pytest.raises(FormatError):
        tpm.activate(key, kind, challenge.blob + b"\0", challenge.seed)
    with simulator(tmp_path / "other") as elsewhere, Tpm(elsewhere) as other:
        theirs = other.create_key()
        with pytest.raises(HardwareError, match="open the challenge"):
            other.activate(theirs, kind, *make_credential(ek, attestation_key(theirs.public).name, b"s"))
        with pytest.raises(HardwareError):
            other.quote(key, b"")  # a key that another TPM wrapped
    assert _loaded(tpm) == []


@needs_swtpm
def test_keys_outlive_a_restart_of_the_tpm(tmp_path: Path) -> None:
    with simulator(tmp_path) as address, Tpm(address) as tpm:
        key, before = tpm.create_key(), tpm.endorsement("ecc")
    with simulator(tmp_path) as address, Tpm(address) as tpm:
        assert tpm.quote(key, b"again").attest
        assert tpm.endorsement("ecc") == before


@needs_swtpm
def test_the_certificate_that_the_tpm_carries(tpm: Tpm, folder: Path) -> None:
    found = tpm.endorsement()
    assert found.kind == "rsa"
    assert found.certificate is not None
    certificate = read_certificate(found.certificate, endorsement_key(found.public))
    assert says_simulator(certificate)
    root = read_certificates((folder / "swtpm-localca-rootca-cert.pem").read_bytes())
    between = read_certificates((folder / "issuercert.pem").read_bytes())
    assert check_chain(certificate, between, root) == root[0]
    assert tpm.endorsement("ecc").certificate is None


@needs_swtpm
def test_what_the_tpm_states_of_itself(tpm: Tpm) -> None:
    assert tpm.describe()["manufacturer"] == "IBM"


@needs_swtpm
@pytest.mark.parametrize("named", ["swtpm:path=/nowhere/tpm.sock", "device:/dev/null", "no-such-tcti:x"])
def test_a_tpm_that_is_not_there(named: str) -> None:
    with pytest.raises(HardwareError) as caught, Tpm(named):
        pass
    assert "--tcti" in caught.value.hint


@needs_swtpm
def test_a_key_that_is_damaged(tpm: Tpm) -> None:
    key = tpm.create_key()
    with pytest.raises(HardwareError):
        tpm.quote(Key(key.public, key.private[:-1] + bytes([key.private[-1] ^ 1])), b"")
    with pytest.raises(FormatError):
        tpm.quote(Key(key.public, b"?"), b"")
    assert _loaded(tpm) == []


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)
    with pytest.raises(HardwareError) as caught, Tpm():
        pass
    assert "verity-ai[tpm]" in caught.value.hint


def test_where_the_tpm_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERITY_TCTI", raising=False)
    assert tcti() == DEFAULT_TCTI
    monkeypatch.setenv("VERITY_TCTI", "swtpm:")
    assert tcti() == "swtpm:"
    assert tcti("device:/dev/tpm0") == "device:/dev/tpm0"


def test_what_follows_a_certificate_in_the_tpms_memory_is_cut() -> None:
    assert without_padding(b"\x30\x82\0\3abc" + b"\xff" * 9) == b"\x30\x82\0\3abc"
    assert without_padding(b"\xff" * 9) is None
    assert without_padding(b"\x30\x82\0\4abc") is None
