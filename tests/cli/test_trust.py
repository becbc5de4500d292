"""The relying party's path and the owner's, through the command line: requests, export, forget, backup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import last_json, verity

from verity.engines.scripted import ScriptedEngine

MODEL = ScriptedEngine().model["blake3"]


@pytest.fixture
def owner(tmp_path: Path) -> Path:
    return tmp_path / "owner"


@pytest.fixture
def verifier(tmp_path: Path) -> Path:
    return tmp_path / "verifier"


def key(home: Path) -> str:
    return str(last_json(verity("device", "--json", home=home))["key"])


def asked(*arguments: Any, home: Path) -> Any:
    run = verity("ask", *arguments, "--model", "scripted", "--json", home=home)
    assert run.returncode == 0, run.stderr
    return last_json(run)


def test_a_request_from_nonce_to_report(owner: Path, verifier: Path, tmp_path: Path) -> None:
    request, bundle = tmp_path / "q.request.json", tmp_path / "q.verity.json"
    options = ["--model", MODEL, "--max-tokens", 12, "--temperature", 0.7]
    made = verity("nonce", "Why?", *options, "--save", request, "--json", home=verifier)
    assert made.returncode == 0, made.stderr
    assert len(last_json(made)["nonce"]) == 64
    asked("--request", request, "--save", bundle, home=owner)
    checked = ["verify", bundle, "--request", request, "--no-replay", "--json"]
    report = last_json(verity(*checked, "--key", key(owner), home=verifier))
    said = {c["name"]: c["status"] for c in report["checks"]}
    assert (said["signed"], said["request"], said["nonce"], said["model"]) == ("passed",) * 4
    assert {"request", "nonce", "model"} <= set(report["required"])
    other = tmp_path / "other.request.json"
    verity("nonce", "Why?", "--model", MODEL, "--max-tokens", 12, "--save", other, home=verifier)
    checked[3] = other
    assert verity(*checked, home=verifier).returncode == 1


def test_the_signed_intent_first(owner: Path, verifier: Path, tmp_path: Path) -> None:
    late, intent, request, bundle = (tmp_path / n for n in ("l.request.json", "i.intent.json", "r.request.json", "b"))
    assert verity("nonce", "Why?", "--model", MODEL, "--late", "--save", late, home=verifier).returncode == 0
    unsaved = verity("ask", "--request", late, "--model", "scripted", home=owner)
    assert unsaved.returncode == 2
    assert "signed intent first" in unsaved.stderr
    asked("--request", late, "--save", intent, home=owner)
    reveal = ["nonce", "--reveal", intent, "--request", late, "--save", request, "--key"]
    assert verity(*reveal, key(verifier), home=verifier).returncode == 1  # not who signed it
    assert verity(*reveal, key(owner), home=verifier).returncode == 0
    asked("--request", request, "--save", bundle, home=owner)
    again = verity("ask", "--request", request, "--model", "scripted", home=owner)
    assert again.returncode == 2
    checked = verity(
        "verify", bundle, "--request", request, "--key", key(owner), "--no-replay", "--json", home=verifier
    )
    assert {c["name"]: c["status"] for c in last_json(checked)["checks"]}["intent-first"] == "passed"
    assert verity("verify", bundle, "--request", late, "--no-replay", home=verifier).returncode == 2


def test_export_and_show(owner: Path, tmp_path: Path) -> None:
    receipt = asked("A very secret question", "--temperature", 0, home=owner)["receipt"]
    head = tmp_path / "head"
    head.write_text(verity("log", "checkpoint", home=owner).stdout)
    asked("Another", home=owner)
    part = tmp_path / "part.verity.json"
    run = verity(
        "export", receipt[:8], "--output", "5:7", "--field", "sampling/*", "--since", head, "--save", part, home=owner
    )
    assert run.returncode == 0, run.stderr
    assert "secret" not in part.read_text()
    assert part.stat().st_mode & 0o777 == 0o600
    shown = verity("show", part, home=owner).stdout
    assert "output, 2 of 28 tokens: '…is…'" in shown
    assert "withheld: adapters" in shown
    assert last_json(verity("show", part, "--json", home=owner))["opened"]["sampling/temperature"] == 0.0
    checked = verity("verify", part, "--checkpoint", head, "--key", key(owner), "--no-replay", "--json", home=owner)
    assert {c["name"]: c["status"] for c in last_json(checked)["checks"]}["consistent"] == "passed"
    assert "user: A very secret question" in verity("show", receipt, "--tokens", home=owner).stdout
    for wrong in ([], ["--everything", "--nothing"], ["--output", "x"], ["--message", "7"], ["--field", "colour"]):
        assert verity("export", receipt, *wrong, "--save", part, home=owner).returncode == 2
    warned = verity("export", receipt, "--output", "all", "--field", "nonce", "--save", part, home=owner)
    assert "confirmed by replay" in warned.stderr


def test_forget_and_compact(owner: Path, tmp_path: Path) -> None:
    receipts = [asked(prompt, home=owner)["receipt"] for prompt in ("one", "two", "three")]
    refused = verity("forget", receipts[0], home=owner)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert last_json(verity("forget", receipts[0], "--yes", "--json", home=owner))["forgotten"] == 1
    assert verity("forget", home=owner).returncode == 2
    assert last_json(verity("forget", "--older-than", 0, "--yes", "--json", home=owner))["forgotten"] == 2
    assert last_json(verity("log", "compact", "--json", home=owner))["compacted"] == 6
    assert verity("log", "check", home=owner).returncode == 0
    assert verity("log", "list", home=owner).stdout.count("compacted") == 6
    assert verity("show", home=owner).stdout.count("forgotten") == 3
    assert verity("export", receipts[0], "--everything", "--save", tmp_path / "x", home=owner).returncode == 2


def test_backup_and_restore(owner: Path, tmp_path: Path) -> None:
    asked("Before", home=owner)
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    file = tmp_path / "device.backup"
    locked = ["--passphrase-file", secret]
    assert last_json(verity("backup", file, *locked, "--json", home=owner))["encrypted"] is True
    assert verity("restore", file, home=tmp_path / "new").returncode == 2
    restored = last_json(verity("restore", file, *locked, "--json", home=tmp_path / "new"))
    assert restored["device"] == key(owner)
    assert restored["log"] != restored["previous_log"]
    asked("After", home=tmp_path / "new")
    assert verity("log", "check", home=tmp_path / "new").returncode == 0
    assert verity("log", "check", "--epoch", "0", home=tmp_path / "new").returncode == 0
    assert verity("restore", file, *locked, home=tmp_path / "new").returncode == 2


def test_two_checkpoints(owner: Path, tmp_path: Path) -> None:
    heads = []
    for number in range(2):
        asked("Why?", home=owner)
        heads.append(tmp_path / f"head{number}")
        heads[-1].write_text(last_json(verity("log", "checkpoint", "--json", home=owner))["checkpoint"])
    proof = tmp_path / "proof.json"
    proof.write_text(verity("log", "prove", 0, "--from-size", 3, "--json", home=owner).stdout)
    compare = ["log", "compare", *heads, "--key", key(owner)]
    assert verity(*compare, home=owner).returncode == 3
    assert verity(*compare, "--proof", proof, home=owner).returncode == 0
    proof.write_text(json.dumps({"consistency": ["ab" * 32] * 3}))
    assert verity(*compare, "--proof", proof, home=owner).returncode == 1
    proof.write_text("{}")
    assert verity(*compare, "--proof", proof, home=owner).returncode == 2
    heads[1].write_text("not a checkpoint")
    assert verity(*compare, home=owner).returncode == 2
