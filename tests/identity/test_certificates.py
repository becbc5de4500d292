"""Chains of certificates from an endorsement key to a root that a registrar names."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from authorities import Authority, authority, ecc_area, ek_certificate
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import load_der_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import FormatError, SignatureError
from verity.identity.tpm.certificates import check_chain, read_certificate, read_certificates, says_simulator
from verity.statements.tpm.public import Public, endorsement_key

EK_KEY = ec.generate_private_key(ec.SECP256R1())
EK: Public = endorsement_key(ecc_area(EK_KEY))
ROOT = authority("Example TPM Root")
CERTIFICATE = ek_certificate(ROOT, EK_KEY.public_key())
SIGNED = load_der_x509_certificate(CERTIFICATE).tbs_certificate_bytes
BETWEEN = authority("Example TPM Issuing 1", ROOT, path_length=0)


def chain(between: list[Authority], roots: list[Authority], above: Authority, **options: Any) -> Any:
    leaf = read_certificate(ek_certificate(above, EK_KEY.public_key(), **options), EK)
    return check_chain(leaf, [a.certificate for a in between], [a.certificate for a in roots])


def test_chains_that_hold() -> None:
    assert chain([], [ROOT], ROOT) == ROOT.certificate
    assert chain([BETWEEN], [authority("Other"), ROOT], BETWEEN) == ROOT.certificate
    assert chain([], [BETWEEN], BETWEEN) == BETWEEN.certificate


@pytest.mark.parametrize(
    ("between", "roots", "above", "options"),
    [
        ([], [authority("Example TPM Root")], ROOT, {}),  # the same name, another key
        ([], [ROOT], BETWEEN, {}),
        ([BETWEEN], [], BETWEEN, {}),
        ([], [ROOT], ROOT, {"use": "1.3.6.1.5.5.7.3.1"}),
        ([], [ROOT], ROOT, {"ca": True}),
        ([], [ROOT], ROOT, {"days": -1}),
        ([], [ROOT], ROOT, {"critical": "1.2.3.4"}),
    ],
    ids=["another root", "a gap", "no root", "for a web server", "an authority's", "expired", "critical and unknown"],
)
def test_chains_that_do_not(
    between: list[Authority], roots: list[Authority], above: Authority, options: dict[str, Any]
) -> None:
    with pytest.raises(SignatureError) as caught:
        chain(between, roots, above, **options)
    assert caught.value.hint


def test_authorities_that_are_none() -> None:
    for wrong in (authority("A", ROOT, ca=False), authority("B", ROOT, sign=False)):
        with pytest.raises(SignatureError, match="not one of an authority"):
            chain([wrong], [ROOT], wrong)
    below = authority("Below", BETWEEN)
    with pytest.raises(SignatureError, match="longer than one of them allows"):
        chain([BETWEEN, below], [ROOT], below)


def test_a_chain_ends() -> None:
    line = [ROOT]
    for number in range(6):
        line.append(authority(f"Number {number}", line[-1]))
    with pytest.raises(SignatureError, match="does not chain"):
        chain(line[1:], [ROOT], line[-1])


def test_a_certificate_is_for_one_key() -> None:
    other = ek_certificate(ROOT, ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(FormatError, match="another endorsement key"):
        read_certificate(other, EK)


@pytest.mark.parametrize(("model", "simulator"), [("swtpm", True), ("SWTPM 2", True), ("VX-2000", False)])
def test_a_simulator_that_says_so(model: str, simulator: bool) -> None:
    leaf = load_der_x509_certificate(ek_certificate(ROOT, EK_KEY.public_key(), model=model))
    assert says_simulator(leaf) == simulator
    assert not says_simulator(ROOT.certificate)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_one_class_of_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_certificate(data, EK)
    with pytest.raises(FormatError):
        read_certificates(data)


@given(st.data())
def test_an_edited_certificate_is_refused_or_leads_nowhere(data: st.DataObject) -> None:
    der = bytearray(CERTIFICATE)
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))
    try:
        certificate = read_certificate(bytes(der), EK)
        check_chain(certificate, [], [ROOT.certificate])
    except (FormatError, SignatureError):
        return
    assert certificate.tbs_certificate_bytes == SIGNED  # the signature has bits that do not count


def test_a_certificate_that_is_odd_is_read_in_silence() -> None:
    """Vendors number from 0 and write long countries; what the library has to say of that is not the user's."""
    at = CERTIFICATE.index(b"\xa0\3\2\1\2\2") + 7  # behind the version, tag and length of the serial number
    odd = CERTIFICATE[:at] + b"\x80" + CERTIFICATE[at + 1 :]
    with pytest.warns(CryptographyDeprecationWarning):
        load_der_x509_certificate(odd)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_certificate(odd, EK).issuer == ROOT.certificate.subject


def test_a_file_of_several() -> None:
    assert read_certificates(ROOT.pem + BETWEEN.pem) == [ROOT.certificate, BETWEEN.certificate]
