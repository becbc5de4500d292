"""Enrolment between devices: a registrar vouches for what a TPM showed him, once, and for nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from authorities import Authority, authority, ek_certificate
from memory_signer import MemorySigner
from simulators import needs_swtpm, simulator

import verity
from verity import hardware
from verity.engines.scripted import ScriptedEngine
from verity.errors import HardwareError, SignatureError, UsageError
from verity.identity.tpm.chip import Tpm
from verity.log.checkpoint import body_of, parse_note
from verity.node import Node
from verity.registrar import LIFETIME, Trusted
from verity.statements.bundle import Bundle
from verity.statements.dsse import Envelope
from verity.statements.enrolment import Answer, Enrolment, read_answer, read_challenge, read_enrolment, sign_message
from verity.statements.tpm.public import endorsement_key
from verity.store.clock import written
from verity.verify.policy import Policy

pytestmark = needs_swtpm
UNVERIFIED = Trusted(unverified=True)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("tpm")) as found:
        yield found


@pytest.fixture(scope="module")
def other_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("other"), certified=True) as found:
        yield found


class World(NamedTuple):
    device: Node
    registrar: Node
    stranger: Node
    address: str

    def enrol(self, **options: object) -> Envelope:
        given: dict[str, object] = {"address": self.address, "kind": "ecc", **options}
        return hardware.enrol(self.device._database, self.device.key, **given)  # type: ignore[arg-type]

    def answer(self, challenge: Envelope, address: str | None = None) -> Envelope:
        return hardware.answer(self.device._database, self.device.key, challenge, address=address or self.address)

    def adopt(self, trusted: Trusted = UNVERIFIED) -> hardware.Adopted:
        answer = self.answer(self.registrar.registrar.challenge(self.enrol()))
        _, signed = self.registrar.registrar.certify(answer, trusted)
        return hardware.adopt(self.device._database, self.device.key.id, signed, address=self.address)

    def proven(self) -> Bundle:
        """What a publisher does: a bundle's checkpoint, quoted."""
        bundle = self.device.ask("Why is the sky blue?", max_tokens=8).bundle
        body = body_of(parse_note(bundle.log.checkpoint))
        proof = hardware.prove(self.device._database, self.device.key.public, body)
        assert proof is not None
        return msgspec.structs.replace(bundle, log=msgspec.structs.replace(bundle.log, hardware=proof))

    def policy(self, level: str = "tpm-unverified-ek") -> Policy:
        return msgspec.convert({"hardware": {"registrars": [self.registrar.key.id], "level": level}}, Policy)


@pytest.fixture
def world(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.delenv("VERITY_TCTI", raising=False)
    homes = [tmp_path / name for name in ("device", "registrar", "stranger")]
    with (
        verity.open(homes[0], engine=ScriptedEngine("Blue light.")) as device,
        verity.open(homes[1]) as registrar,
        verity.open(homes[2]) as stranger,
    ):
        yield World(device, registrar, stranger, address)


def status(world: World, bundle: Bundle, level: str = "tpm-unverified-ek") -> tuple[str, str]:
    check = verity.verify(bundle.encode(), policy=world.policy(level), replay=False).check("hardware-bound")
    return check.status, check.sentence


def test_from_the_tpm_to_the_report(world: World) -> None:
    assert hardware.prove(world.device._database, world.device.key.public, "a\n1\nb\n") is None
    adopted = world.adopt()
    assert (adopted.record.level, adopted.registrar) == ("tpm-unverified-ek", world.registrar.key.id)
    bundle = world.proven()
    assert status(world, bundle)[0] == "passed"
    assert status(world, bundle, "tpm-vendor-ek")[0] == "failed"
    assert world.registrar.check_log() == []
    later = world.device.ask("Why?", max_tokens=8).bundle
    moved = msgspec.structs.replace(later, log=msgspec.structs.replace(later.log, hardware=bundle.log.hardware))
    assert "another checkpoint" in status(world, moved)[1]


def test_without_a_word_of_the_registrar_it_may_be_a_simulator(world: World) -> None:
    assert world.adopt(Trusted()).record.level == "swtpm"
    bundle = world.proven()
    assert status(world, bundle)[0] == "failed"
    passed, sentence = status(world, bundle, "swtpm")
    assert passed == "passed"
    assert "simulated TPM, not in hardware" in sentence


def test_an_answer_counts_once(world: World) -> None:
    answer = world.answer(world.registrar.registrar.challenge(world.enrol()))
    world.registrar.registrar.certify(answer, UNVERIFIED)
    size = world.registrar.log.size()
    with pytest.raises(UsageError, match="answered already"):
        world.registrar.registrar.certify(answer, UNVERIFIED)
    assert world.registrar.log.size() == size


def test_an_answer_comes_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = world.answer(world.registrar.registrar.challenge(world.enrol()))
    for ahead in (LIFETIME + datetime.timedelta(minutes=1), -LIFETIME - datetime.timedelta(minutes=1)):
        late = written(datetime.datetime.now(datetime.UTC) + ahead)
        monkeypatch.setattr("verity.registrar.now", lambda late=late: late)
        with pytest.raises(UsageError, match="24 hours"):
            world.registrar.registrar.certify(answer, UNVERIFIED)
    monkeypatch.undo()
    assert world.registrar.registrar.certify(answer, UNVERIFIED)[0].level == "tpm-unverified-ek"


def test_another_tpm_cannot_answer(world: World, other_address: str) -> None:
    challenge = world.registrar.registrar.challenge(world.enrol())
    with pytest.raises(HardwareError):
        world.answer(challenge, other_address)


def test_a_guessed_answer_is_none(world: World) -> None:
    challenge = world.registrar.registrar.challenge(world.enrol())
    said, digest = read_challenge(challenge)
    guess = Answer(id=said.id, mac="ab" * 32, registrar=world.registrar.key.id)
    for signer in (world.device.key, MemorySigner(b"m" * 32)):
        forged = sign_message(guess, bytes.fromhex("000b" + digest), signer)
        with pytest.raises(SignatureError, match="does not come from the TPM"):
            world.registrar.registrar.certify(forged, UNVERIFIED)
    assert world.registrar.registrar.certify(world.answer(challenge), UNVERIFIED)


def test_who_shows_another_device_s_tpm_gets_no_answer_for_it(world: World) -> None:
    """A stranger enrols the keys of a TPM that is not his, and has the owner answer: the owner refuses, and what the
    owner's TPM gives out for it would be worth nothing under the stranger's key."""
    shown = world.enrol()
    said = Enrolment(**msgspec.json.decode(shown.payload_bytes())["predicate"])
    mine = sign_message(said, read_enrolment(shown).ak.name, world.stranger.key)
    challenge = world.registrar.registrar.challenge(mine)
    with pytest.raises(UsageError, match="is for device"):
        world.answer(challenge)
    with pytest.raises(UsageError, match="does not have"):
        hardware.answer(world.stranger._database, world.stranger.key, challenge, address=world.address)
    answer = world.answer(world.registrar.registrar.challenge(world.enrol()))
    answered, digest = read_answer(answer)
    stolen = sign_message(answered, bytes.fromhex("000b" + digest), world.stranger.key)
    with pytest.raises(SignatureError):
        world.registrar.registrar.certify(stolen, UNVERIFIED)


def test_an_answer_is_for_one_registrar(world: World) -> None:
    answer = world.answer(world.registrar.registrar.challenge(world.enrol()))
    with pytest.raises(UsageError, match="is for registrar"):
        world.stranger.registrar.certify(answer, UNVERIFIED)
    challenge = world.stranger.registrar.challenge(world.enrol())
    said, digest = read_challenge(challenge)
    relayed = sign_message(said, bytes.fromhex("000b" + digest), world.registrar.key)
    with pytest.raises(UsageError, match="no such challenge"):
        world.registrar.registrar.certify(world.answer(relayed), UNVERIFIED)


def test_a_record_is_adopted_by_its_device_alone(world: World) -> None:
    answer = world.answer(world.registrar.registrar.challenge(world.enrol()))
    _, signed = world.registrar.registrar.certify(answer, UNVERIFIED)
    with pytest.raises(UsageError, match="not about this one"):
        hardware.adopt(world.stranger._database, world.stranger.key.id, signed)


def test_no_quote_after_the_device_exchanged_its_key(world: World) -> None:
    """The record is about the old key: a quote beside it would make every bundle of the new one look forged."""
    world.adopt()
    old = world.device.key.public
    with pytest.raises(UsageError, match="not about this one"):
        hardware.prove(world.device._database, bytes(32), "a\n1\nb\n")
    assert hardware.prove(world.device._database, old, "a\n1\nb\n") is not None


def test_the_tpm_is_gone_or_another(world: World, other_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.adopt()
    for named in ("swtpm:path=/nowhere", other_address):
        monkeypatch.setenv("VERITY_TCTI", named)
        with pytest.raises(HardwareError) as caught:
            hardware.prove(world.device._database, world.device.key.public, "a\n1\nb\n")
        assert caught.value.hint


def _vendor(world: World, model: str = "VX-2000") -> tuple[Authority, Envelope]:
    root = authority("Example TPM Root")
    with Tpm(world.address) as tpm:
        ek = endorsement_key(tpm.endorsement("ecc").public)
    certificate = ek_certificate(root, ek.ecc_key(), model=model)
    return root, world.answer(world.registrar.registrar.challenge(world.enrol(certificate=certificate)))


def test_a_vendor_s_certificate(world: World) -> None:
    root, answer = _vendor(world)
    with pytest.raises(SignatureError, match="does not chain"):
        world.registrar.registrar.certify(answer, Trusted([authority("Example TPM Root").certificate]))
    record, signed = world.registrar.registrar.certify(answer, Trusted([root.certificate]))
    assert (record.level, record.issuer) == ("tpm-vendor-ek", "CN=Example TPM Root")
    assert record.certificate is not None
    hardware.adopt(world.device._database, world.device.key.id, signed, address=world.address)
    assert status(world, world.proven(), "tpm-vendor-ek")[0] == "passed"


def test_a_certificate_that_leads_nowhere_is_no_vendor_s(world: World) -> None:
    _, answer = _vendor(world)
    stranger = Trusted([authority("Other").certificate], unverified=True)
    assert world.registrar.registrar.certify(answer, stranger)[0].level == "tpm-unverified-ek"


def test_a_simulator_s_certificate_is_a_simulator_s_whoever_is_trusted(world: World) -> None:
    root, answer = _vendor(world, model="swtpm")
    record, _ = world.registrar.registrar.certify(answer, Trusted([root.certificate], unverified=True))
    assert record.level == "swtpm"


def test_the_certificate_in_the_tpm_is_found(world: World, other_address: str) -> None:
    enrolled = read_enrolment(world.enrol(address=other_address, kind=None))
    assert enrolled.ek.kind == "rsa"
    assert enrolled.certificate is not None


def test_roots_without_a_certificate(world: World) -> None:
    answer = world.answer(world.registrar.registrar.challenge(world.enrol()))
    with pytest.raises(SignatureError, match="no certificate"):
        world.registrar.registrar.certify(answer, Trusted([authority("Root").certificate]))
