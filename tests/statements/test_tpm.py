"""Public areas, quotes and event logs, as a TPM and a firmware write them (spec/vectors/tpm.json)."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity import errors
from verity.errors import FormatError, SignatureError, VerityError
from verity.statements.tpm.event_log import MAX_EVENT_LOG, parse_event_log
from verity.statements.tpm.octets import sized
from verity.statements.tpm.public import Public, attestation_key, endorsement_key, parse_public
from verity.statements.tpm.quote import check_quote, extra_data, parse_attest, parse_signature

VECTORS: Any = json.loads((Path(__file__).parents[2] / "spec/vectors/tpm.json").read_text())
QUOTE = VECTORS["quote"]
LOG = bytes.fromhex(VECTORS["event_log"]["log"])
PARSERS: dict[str, Callable[[bytes], object]] = {
    "public": parse_public,
    "attest": parse_attest,
    "signature": parse_signature,
    "event_log": parse_event_log,
}
SEEDS = {"public": "ak", "attest": "attest", "signature": "signature"}


def part(name: str) -> bytes:
    return bytes.fromhex(QUOTE[name])


def checked(case: dict[str, Any]) -> object:
    said = {**QUOTE, **case}
    key = attestation_key(bytes.fromhex(said["ak"]))
    pcrs = [(index, value) for index, value in said["pcrs"]]
    return check_quote(key, bytes.fromhex(said["attest"]), bytes.fromhex(said["signature"]), pcrs)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["what"])
def test_published_quotes(case: dict[str, Any]) -> None:
    if case["error"] is None:
        checked(case)
        return
    with pytest.raises(VerityError) as caught:
        checked(case)
    assert type(caught.value) is getattr(errors, case["error"])


def test_what_a_quote_says() -> None:
    said = parse_attest(part("attest"))
    assert said.extra.hex() == VECTORS["extra_data"]
    assert said.extra == extra_data(bytes.fromhex(VECTORS["device"]), VECTORS["checkpoint_body"])
    assert said.selected == (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14)
    assert said.clock > 0


def test_names_and_templates() -> None:
    key = attestation_key(part("ak"))
    assert key.name == part("ak_name")
    assert sized(key.area) == part("ak")
    for kind in ("rsa", "ecc"):
        assert endorsement_key(part(f"ek_{kind}")).kind == kind
        assert endorsement_key(part(f"ek_{kind}")).digest == hashlib.sha256(part(f"ek_{kind}")).hexdigest()
    with pytest.raises(FormatError, match="default template"):
        endorsement_key(part("ak"))
    with pytest.raises(FormatError, match="not RSA"):
        key.rsa_key()
    with pytest.raises(FormatError, match="not on a curve"):
        endorsement_key(part("ek_rsa")).ecc_key()


@pytest.mark.parametrize("name", ["attest", "signature"])
def test_any_flipped_byte_of_a_quote_is_refused(name: str) -> None:
    data = part(name)
    for at in range(len(data)):
        edited = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises((FormatError, SignatureError)):
            checked({name: edited.hex()})


@pytest.mark.parametrize("name", ["ak", "ek_rsa", "ek_ecc"])
def test_any_flipped_byte_of_a_key_is_refused_or_is_another_key(name: str) -> None:
    data, read = part(name), attestation_key if name == "ak" else endorsement_key
    refused = 0
    for at in range(len(data)):
        edited = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            other: Public = read(edited)
        except FormatError:
            refused += 1
        else:
            assert other.name != read(data).name
            assert at >= 6
    assert refused > 20


@pytest.mark.parametrize("name", PARSERS)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused_by_one_class_of_error(name: str, data: bytes) -> None:
    with pytest.raises(FormatError):
        PARSERS[name](data)


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_edited_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    seed = bytearray(LOG if name == "event_log" else part(SEEDS[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(seed) - 1))
        seed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(FormatError):
        PARSERS[name](bytes(seed))


def test_the_event_log_replays_to_the_pcrs_that_the_tpm_quoted() -> None:
    log = parse_event_log(LOG)
    said = VECTORS["event_log"]
    assert [{"pcr": e.pcr, "type": e.type, "digest": e.digest, "text": e.text} for e in log.events] == said["events"]
    assert {str(index): value for index, value in log.pcrs.items()} == said["pcrs"]
    quoted = dict(map(tuple, QUOTE["pcrs"]))
    assert all(quoted[index] == value for index, value in log.pcrs.items())


def _header(banks: bytes) -> bytes:
    spec = b"Spec ID Event03\0" + bytes(8) + banks + b"\0"
    return bytes(4) + b"\3\0\0\0" + bytes(20) + len(spec).to_bytes(4, "little") + spec


def _event(index: int, kind: int, digest: bytes, data: bytes) -> bytes:
    head = index.to_bytes(4, "little") + kind.to_bytes(4, "little") + b"\1\0\0\0\x0b\0" + digest
    return head + len(data).to_bytes(4, "little") + data


SHA256_ONLY = b"\1\0\0\0\x0b\0\x20\0"


def test_where_a_tpm_was_started_from_is_the_first_value_of_pcr_0() -> None:
    log = _header(SHA256_ONLY) + _event(0, 3, bytes(32), b"StartupLocality\0\x03") + _event(0, 8, b"d" * 32, b"")
    assert parse_event_log(log).pcrs == {0: hashlib.sha256(bytes(31) + b"\3" + b"d" * 32).hexdigest()}


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (_header(b"\1\0\0\0\x04\0\x14\0"), "no SHA-256"),
        (_header(b"\2\0\0\0\x0b\0\x20\0\x0b\0\x20\0"), "twice"),
        (_header(b"\1\0\0\0\x0b\0\x14\0"), "another size"),
        (_header(b"\0\0\0\0"), "no banks"),
        (_header(SHA256_ONLY) + _event(24, 8, bytes(32), b""), "PCR 24"),
        (_header(SHA256_ONLY) + _event(1, 8, bytes(32), b"ab")[:-1], "too early"),
        (LOG.replace(b"Event03", b"Event02"), "crypto-agile"),
        (bytes(MAX_EVENT_LOG + 1), "at most"),
        (_header(SHA256_ONLY) + _event(1, 3, bytes(32), b"") * ((1 << 14) + 1), "16,384"),
    ],
)
def test_event_logs_that_are_refused(log: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_event_log(log)
