"""Witnesses by the command: publish, export, verify; and evidence of a fork, from a witness and from two heads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from logs_of_others import ORIGIN, SomeLog
from witness_command import Running, witnessing

from verity.cli import cli
from verity.errors import LogError, ProofError, UsageError, VerityError
from verity.log.checkpoint import split
from verity.log.note import parse_key

LOG, FORK = SomeLog(), SomeLog("forked", since=2)


def run(*arguments: object, home: Path | None = None) -> Result:
    more = ["--home", str(home)] if home is not None else []
    return CliRunner().invoke(cli, [*map(str, arguments), *more])


def told(*arguments: object, home: Path | None = None, code: int = 0) -> Any:
    result = run(*arguments, "--json", home=home)
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout.splitlines()[-1])


def ask(home: Path, tmp_path: Path) -> str:
    said = told(
        "ask", "Why?", "--model", "scripted", "--max-tokens", "3", "--save", tmp_path / "x.verity.json", home=home
    )
    return str(said["receipt"])


def test_published_cosigned_exported_verified(home: Path, tmp_path: Path) -> None:
    receipt = ask(home, tmp_path)
    bundle, key = tmp_path / "out.verity.json", told("device", home=home)["key"]
    policy = tmp_path / "policy.toml"
    with witnessing(tmp_path / "w1", "--any-device") as first, witnessing(tmp_path / "w2", "--any-device") as second:
        for running in (first, second):
            told("log", "witness", "add", running.url, running.vkey, home=home)
        assert [w["url"] for w in told("log", "witness", "list", home=home)["witnesses"]] == [first.url, second.url]
        said = told("log", "publish", "--require", 2, home=home)
        assert (len(said["cosigned"]), said["failed"]) == (2, [])
        told("export", receipt, "--everything", "--save", bundle, home=home)
        policy.write_text(
            f'[witnesses]\nthreshold = 2\n[witnesses.operators]\nClinic = ["{first.vkey}"]\nMill = ["{second.vkey}"]\n'
        )
        assert verified(bundle, key, "--policy", policy)["status"] == "passed"
        assert verified(bundle, key, "--witness", f"A={first.vkey}")["status"] == "passed"
        assert told("witness", "list", home=tmp_path / "w1")["logs"][0]["size"] == said["size"]
    ask(home, tmp_path)
    with witnessing(tmp_path / "w1", "--any-device") as again:  # and the other is stopped
        told("log", "witness", "add", again.url, again.vkey, home=home)
        later = told("log", "publish", "--require", 2, home=home, code=1)
        assert (len(later["cosigned"]), len(later["failed"])) == (1, 1)
        assert later["size"] > said["size"]
    newest = ask_and_export(home, tmp_path)
    found = verified(newest, key, "--policy", policy)
    assert (found["status"], found["evidence"]["missing"]) == ("not made", ["Clinic", "Mill"])
    told("log", "witness", "remove", second.url, home=home)


def test_a_witness_who_knows_another_history_is_no_warning(home: Path, tmp_path: Path) -> None:
    ask(home, tmp_path)
    shutil.copytree(home, tmp_path / "copy")  # goes on twice
    with witnessing(tmp_path / "w1", "--any-device") as running:
        for folder in (home, tmp_path / "copy"):
            told("log", "witness", "add", running.url, running.vkey, home=folder)
            ask(folder, tmp_path)
        assert told("log", "publish", home=home)["failed"] == []
        said = told("log", "publish", home=tmp_path / "copy", code=1)
        assert (said["cosigned"], len(said["failed"])) == ([], 1)
        plain = run("log", "publish", home=tmp_path / "copy")
    assert isinstance(plain.exception, LogError)
    assert "another history" in str(plain.exception)


def ask_and_export(home: Path, tmp_path: Path) -> Path:
    told("export", ask(home, tmp_path), "--everything", "--save", tmp_path / "new.verity.json", home=home)
    return tmp_path / "new.verity.json"


def verified(bundle: Path, key: str, *options: object) -> Any:
    result = run("verify", bundle, "--key", key, "--no-replay", *options, "--json")
    report = json.loads(result.stdout.splitlines()[-1])
    assert "witnessed" in report["required"]
    return next(made for made in report["checks"] if made["name"] == "witnessed")


def test_the_witness_is_told_of_logs_and_keeps_evidence(tmp_path: Path) -> None:
    home = tmp_path / "w"
    with witnessing(home, "--name", "witness.example/w1") as running:
        assert submit(running, LOG.submission(0, 5)) == 404
        told("witness", "add", _vkey(), home=home)
        assert [submit(running, body) for body in (LOG.submission(0, 5), FORK.submission(5, 5))] == [200, 409]
    assert told("witness", "key", home=home)["vkey"] == running.vkey
    [row] = told("witness", "evidence", "--out", tmp_path / "out", home=home)["evidence"]
    assert row["origin"] == ORIGIN
    judged = told("log", "evidence", row["file"])
    assert judged["fork"]
    assert "signed two logs of 5 entries" in judged["sentence"]
    assert run("log", "evidence", row["file"]).stdout.startswith("proven: ")
    told("witness", "remove", ORIGIN, home=home)
    assert told("witness", "list", home=home)["logs"][0]["vkeys"] == []


def submit(running: Running, body: bytes) -> int:
    return httpx.post(f"{running.url}/add-checkpoint", content=body, trust_env=False, verify=False).status_code


def _vkey() -> str:
    from verity.log.heads import key_of

    return str(key_of(ORIGIN))


@pytest.mark.parametrize(("old", "new"), [(5, 5), (5, 9), (4, 9), (9, 5)])
def test_comparing_two_heads_writes_the_evidence(tmp_path: Path, old: int, new: int) -> None:
    heads = {}
    for name, log, size in (("a", LOG, old), ("b", FORK, new)):
        heads[name] = tmp_path / name
        heads[name].write_text(log.head(size))
    smaller, larger = sorted((old, new))
    history = FORK if new >= old else LOG
    proof = tmp_path / "proof.json"
    hashes = [digest.hex() for digest in history.proof(smaller, larger)]
    proof.write_text(json.dumps({"consistency": hashes, "from_root": history.root(smaller).hex()}))
    out, key = tmp_path / "out.fork.json", ORIGIN.split("/")[1]
    options = ["--proof", proof] if old != new else []
    said = told("log", "compare", heads["a"], heads["b"], "--key", key, *options, "--evidence", out, code=1)
    assert (said["status"], said["evidence"]) == ("failed", str(out))
    assert told("log", "evidence", out)["fork"]


def test_a_false_proof_is_no_evidence(tmp_path: Path) -> None:
    for name, size in (("a", 5), ("b", 9)):
        (tmp_path / name).write_text(LOG.head(size))
    (tmp_path / "proof.json").write_text(json.dumps({"consistency": ["00" * 32] * 4}))
    out = tmp_path / "out.fork.json"
    options = ["--proof", tmp_path / "proof.json", "--evidence", out]
    said = told("log", "compare", tmp_path / "a", tmp_path / "b", "--key", ORIGIN.split("/")[1], *options, code=1)
    assert (said["evidence"], out.exists()) == (None, False)


def test_what_the_log_proves_has_the_root_that_it_starts_from(home: Path, tmp_path: Path) -> None:
    from verity.log.tree import check_consistency

    ask(home, tmp_path)
    old = split(told("log", "checkpoint", home=home)["checkpoint"])[0]
    ask(home, tmp_path)
    said = told("log", "prove", 0, "--from-size", old.size, home=home)
    new = split(said["checkpoint"])[0]
    assert said["from_root"] == old.root.hex()
    check_consistency(old.size, new.size, old.root, new.root, [bytes.fromhex(h) for h in said["consistency"]])


def test_what_is_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "x.fork.json"
    path.write_text(json.dumps({"checkpoints": [LOG.head(5), LOG.head(5)]}))
    for arguments, error in (
        (("log", "evidence", path), ProofError),
        (("log", "evidence", tmp_path / "nothing"), VerityError),
        (("witness", "add", "nothing"), VerityError),
        (("witness", "remove", "nothing"), UsageError),
        (("log", "witness", "add", "http://w.example", _vkey()), UsageError),
        (("log", "witness", "remove", "nothing"), UsageError),
    ):
        result = run(*arguments, *(["--home", tmp_path / "home"] if "evidence" not in arguments else []))
        assert isinstance(result.exception, error), result.output


def test_the_key_of_the_devices_log(home: Path, tmp_path: Path) -> None:
    said = told("log", "witness", "key", home=home)
    assert parse_key(said["vkey"]).name == told("log", "witness", "key", home=home)["vkey"].split("+")[0]
    assert told("witness", "add", said["vkey"], home=tmp_path / "w")["origin"].endswith("/0")
