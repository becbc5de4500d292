"""``verity tpm``: the whole enrolment by the command line, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import last_json, verity
from simulators import needs_swtpm, simulator

import verity as library
from verity import hardware
from verity.engines.scripted import ScriptedEngine
from verity.log.checkpoint import body_of, parse_note
from verity.statements.hardware import decode_record
from verity.verify.hardware import check_proof, check_record


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What goes into the environment of a command."""
    with simulator(tmp_path_factory.mktemp("tpm")) as address:
        yield {"VERITY_TCTI": address}


@needs_swtpm
def test_from_enrolment_to_a_quote(tpm: dict[str, str], tmp_path: Path) -> None:
    device, registrar = tmp_path / "device", tmp_path / "registrar"
    files = [tmp_path / name for name in ("d.enrol.json", "c.json", "a.json", "r.hardware.json")]
    steps = [
        (device, ["enrol", "--out", files[0]]),
        (registrar, ["challenge", files[0], "--out", files[1]]),
        (device, ["answer", files[1], "--out", files[2]]),
        (registrar, ["certify", files[2], "--out", files[3], "--accept-unverified"]),
        (device, ["adopt", files[3]]),
    ]
    said = []
    for home, arguments in steps:
        run = verity("tpm", *arguments, "--json", home=home, **tpm)
        assert run.returncode == 0, run.stderr
        assert run.stderr == ""
        said.append(last_json(run))
    assert said[3]["level"] == said[4]["level"] == "tpm-unverified-ek"
    assert said[4]["registrar"] == said[3]["registrar"] == said[2]["registrar"]
    again = verity("tpm", "certify", files[2], "--out", files[3], home=registrar, **tpm)
    assert again.returncode == 2
    assert "answered already" in again.stderr
    assert all(os.stat(file).st_mode & 0o077 == 0 for file in files)

    status = last_json(verity("tpm", "status", "--json", home=device, **tpm))
    assert (status["level"], status["tpm"]["manufacturer"], status["problem"]) == ("tpm-unverified-ek", "IBM", None)
    gone = verity("tpm", "status", "--tcti", "swtpm:path=/nowhere", home=device, **tpm)
    assert gone.returncode == 0
    assert "problem" in gone.stdout

    with library.open(device, engine=ScriptedEngine()) as node:
        body = body_of(parse_note(node.log.checkpoint())) if node.log.size() else "a\n1\nb\n"
        proof = hardware.prove(node._database, node.key.public, body)
        assert proof is not None
        record = check_record(decode_record(files[3].read_bytes()), said[3]["registrar"])
        checkpoint = node.ask("Why?", max_tokens=4).bundle.log.checkpoint
        proof = hardware.prove(node._database, node.key.public, body_of(parse_note(checkpoint)))
        assert proof is not None
        assert check_proof(proof, record, node.key.id, checkpoint).safe in (True, False)


@needs_swtpm
def test_no_tpm(tmp_path: Path) -> None:
    run = verity("tpm", "enrol", "--out", tmp_path / "e", "--tcti", "swtpm:path=/nowhere", home=tmp_path / "h")
    assert run.returncode == 1
    assert "--tcti" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "e").exists()


def test_a_device_without_a_record_has_its_key_in_software(tmp_path: Path) -> None:
    run = verity("tpm", "status", "--tcti", "device:/dev/null", "--json", home=tmp_path / "h")
    assert run.returncode == 0, run.stderr
    assert (last_json(run)["level"], last_json(run)["tpm"]) == ("software", None)


@pytest.mark.parametrize("verb", ["challenge", "answer", "certify", "adopt"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff" * 100])
def test_files_that_are_none(verb: str, content: bytes | None, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from verity.cli.tpm import tpm as command
    from verity.errors import FormatError

    file = tmp_path / "file.json"
    if content is not None:
        file.write_bytes(content)
    out = [] if verb == "adopt" else ["--out", str(tmp_path / "out")]
    run = CliRunner().invoke(command, [verb, str(file), *out, "--home", str(tmp_path / "h")])
    assert type(run.exception) is FormatError
    assert run.exception.hint or content in (b"{}", b"\xff" * 100)
    assert not (tmp_path / "out").exists()


def test_roots_that_are_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_text("nothing")
    for options in (["--roots", "roots.pem"], ["--roots", "missing.pem"], ["--intermediates", "roots.pem"]):
        named = [options[0], str(tmp_path / options[1])]
        run = verity("tpm", "certify", tmp_path / "a", "--out", tmp_path / "o", *named, home=tmp_path / "h")
        assert run.returncode == 2
        assert "Traceback" not in run.stderr
