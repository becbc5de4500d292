"""The check `hardware-bound`, on a quote that a TPM made (spec/vectors/tpm.json): no TPM is needed here."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from memory_signer import MemorySigner

from verity.errors import FormatError, UsageError
from verity.log.checkpoint import Checkpoint, parse_note, sign
from verity.statements.bundle import Bundle, decode_bundle
from verity.statements.hardware import MAX_PROOF_BYTES, decode_proof, decode_record, read_record
from verity.verify.policy import Expected, Policy
from verity.verify.report import Report
from verity.verify.verifier import verify

SPEC = Path(__file__).parents[2] / "spec/vectors"
VECTORS: Any = json.loads((SPEC / "tpm.json").read_text())
RECEIPT: Any = json.loads((SPEC / "receipt.json").read_text())
REGISTRAR: str = VECTORS["registrar"]
Edit = Callable[[dict[str, Any]], None]


def bundle(edit: Edit = lambda proof: None, *, proof: bool = True) -> Bundle:
    made = copy.deepcopy(RECEIPT["bundle"])
    if proof:
        made["log"]["hardware"] = copy.deepcopy(VECTORS["proof"])
        edit(made["log"]["hardware"])
    return decode_bundle(json.dumps(made).encode())


def policy(level: str = "tpm-unverified-ek", registrars: list[str] | None = None) -> Policy:
    named = [REGISTRAR] if registrars is None else registrars
    return msgspec.convert({"hardware": {"registrars": named, "level": level}}, Policy)


def report(shown: Bundle, asked: Policy) -> Report:
    return verify(shown, asked, Expected(), None)


def test_a_key_in_hardware() -> None:
    found = report(bundle(), policy())
    check = found.check("hardware-bound")
    assert check.status == "passed", check.sentence
    assert "hardware-bound" in found.required
    assert "Key in hardware (level tpm-unverified-ek, on the word of registrar" in check.sentence
    assert "Which program ran is not shown" in check.sentence
    log = check.evidence["event_log"]
    assert (log["differs"], log["count"]) == ([], len(VECTORS["event_log"]["events"]))
    assert log["events"] == VECTORS["event_log"]["events"]
    json.dumps(found.to_dict())


def test_a_bundle_without_a_quote() -> None:
    found = report(bundle(proof=False), policy())
    assert found.check("hardware-bound").status == "not made"
    assert found.unmade
    assert all(check.name != "hardware-bound" for check in report(bundle(proof=False), Policy()).checks)


def test_registrars_that_nobody_named() -> None:
    assert report(bundle(), Policy()).check("hardware-bound").status == "not made"
    check = report(bundle(), policy(registrars=["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]))
    assert check.check("hardware-bound").status == "failed"


@pytest.mark.parametrize(("level", "status"), [("swtpm", "passed"), ("tpm-vendor-ek", "failed")])
def test_levels(level: str, status: str) -> None:
    assert report(bundle(), policy(level)).check("hardware-bound").status == status


def _flip(name: str, at: int) -> Edit:
    def edit(proof: dict[str, Any]) -> None:
        data = bytearray(base64.b64decode(proof[name]))
        data[at] ^= 1
        proof[name] = base64.b64encode(data).decode()

    return edit


def _record(part: str, value: str) -> Edit:
    def edit(proof: dict[str, Any]) -> None:
        proof["record"][part] = value

    return edit


def _payload(old: str, new: str) -> Edit:
    """What the registrar signed, edited: his signature is left as it is."""

    def edit(proof: dict[str, Any]) -> None:
        envelope = proof["record"]["hardware"]
        text = base64.b64decode(envelope["payload"]).decode()
        assert old in text
        envelope["payload"] = base64.b64encode(text.replace(old, new).encode()).decode()

    return edit


def _pcr(proof: dict[str, Any]) -> None:
    proof["pcrs"][7][1] = "00" * 32


def _salt(proof: dict[str, Any]) -> None:
    proof["record"]["proof"]["salt"] = base64.b64encode(bytes(16)).decode()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_flip("attest", 50), "not signed by the attestation key"),
        (_flip("signature", 20), "not signed by the attestation key"),
        (_flip("attest", 0), "magic"),
        (_pcr, "not those that the TPM signed"),
        (_payload("tpm-unverified-ek", "tpm-vendor-ek"), "signature does not hold"),
        (_record("checkpoint", RECEIPT["bundle"]["log"]["checkpoint"]), "checkpoint"),
        (_salt, "not in the log"),
    ],
)
def test_what_was_edited_fails(edit: Edit, words: str) -> None:
    check = report(bundle(edit), policy()).check("hardware-bound")
    assert check.status == "failed"
    assert words in check.sentence


def test_a_quote_over_another_checkpoint() -> None:
    """The same device, the same log, one checkpoint later: the quote is not for that one."""
    made = json.loads(bundle().encode())
    head = parse_note(made["log"]["checkpoint"])
    later = Checkpoint(head.origin, head.size + 1, head.root)
    made["log"]["checkpoint"] = sign(later, MemorySigner(bytes.fromhex(RECEIPT["seed"])))
    check = report(decode_bundle(json.dumps(made).encode()), policy()).check("hardware-bound")
    assert check.status == "failed"
    assert "another checkpoint" in check.sentence


def test_the_record_of_another_device() -> None:
    """Device B shows what was certified of device A, and A's quote."""
    made = json.loads(bundle().encode())
    stranger = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
    for part in made["receipt"].values():
        part["signatures"][0]["keyid"] = stranger
    check = report(decode_bundle(json.dumps(made).encode()), policy()).check("hardware-bound")
    assert check.status == "failed"
    assert "is about device d75a980182b10ab7" in check.sentence


def test_an_event_log_decides_nothing() -> None:
    """It is shown where it fits; what does not fit or cannot be read is said, and changes no outcome."""

    def unreadable(proof: dict[str, Any]) -> None:
        proof["event_log"] = base64.b64encode(b"no log").decode()

    def cut(proof: dict[str, Any]) -> None:
        log = base64.b64decode(proof["event_log"])
        proof["event_log"] = base64.b64encode(log[: log.rindex(b"\x09\0\0\0\x0d\0\0\0")]).decode()

    check = report(bundle(unreadable), policy()).check("hardware-bound")
    assert (check.status, "problem" in check.evidence["event_log"]) == ("passed", True)
    check = report(bundle(cut), policy()).check("hardware-bound")
    assert (check.status, check.evidence["event_log"]["differs"]) == ("passed", [9])


def test_a_policy_names_sound_keys_and_known_levels() -> None:
    with pytest.raises(FormatError):
        policy(registrars=["00" * 32])
    with pytest.raises((msgspec.ValidationError, UsageError)):
        policy("software")


def test_a_proof_round_trips_within_its_limits() -> None:
    data = json.dumps(VECTORS["proof"]).encode()
    proof = decode_proof(data)
    assert decode_proof(proof.encode()) == proof
    assert decode_record(proof.record.encode()) == proof.record
    for more in ({"pcrs": [[0, ""]] * 25}, {"event_log": "A" * (1 << 20) * 2}, {"more": 1}):
        with pytest.raises(FormatError):
            decode_proof(json.dumps({**VECTORS["proof"], **more}).encode())
    with pytest.raises(FormatError, match="larger"):
        decode_proof(b" " * (MAX_PROOF_BYTES + 1))


def test_what_the_registrar_signed() -> None:
    record, statement = read_record(decode_proof(json.dumps(VECTORS["proof"]).encode()).record, REGISTRAR)
    assert record.key().name.hex() == VECTORS["quote"]["ak_name"]
    assert (record.device, record.level) == (VECTORS["device"], "tpm-unverified-ek")
    assert statement.predicate.log.origin == f"verity/{REGISTRAR}/0"
