"""Publishing, copying, deriving again and proving, as a user does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import PROGRAM, last_json, verity
from made_logs import KEY, ORIGIN, SIGNER, entries, published, write

import verity as library
from verity.engines.scripted import ScriptedEngine
from verity.log.log_index import key_of


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, Path]:
    """A device with one receipt: its home, key, receipt, bundle."""
    home = tmp_path_factory.mktemp("device")
    with library.open(home, engine=ScriptedEngine("Blue light.")) as node:
        answer = node.ask("Why?")
        bundle = home / "reply.verity.json"
        answer.save(bundle)
        return home, node.key.id, answer.receipt, bundle


def run(*arguments: object, home: Path, code: int = 0) -> Any:
    done = verity(*arguments, "--json", home=home)
    assert done.returncode == code, done.stderr
    return last_json(done)


def test_names_in_a_strangers_folder_do_not_steer_the_terminal(
    device: tuple[Path, str, str, Path], tmp_path: Path
) -> None:
    home, key, _, _ = device
    run("log", "export", tmp_path / "out", home=home)
    for name in (b"\x07\rsound", b"\xff\xfe"):
        Path(os.fsdecode(os.fsencode(tmp_path / "out/0") + b"/" + name)).write_bytes(b"")
    said = verity("log", "fsck", tmp_path / "out", "--key", key, home=home)
    assert said.returncode == 1
    assert "2 problems" in said.stderr
    assert "\x07" not in said.stdout + said.stderr
    assert run("log", "fsck", tmp_path / "out", "--key", key, home=home, code=1)["logs"][0]["total"] == 2


def test_export_mirror_fsck(device: tuple[Path, str, str, Path], tmp_path: Path) -> None:
    home, key, _, _ = device
    elsewhere = tmp_path / "nobody"  # who copies and checks has no device
    told = run("log", "export", tmp_path / "out", home=home)
    (row,) = told["logs"]
    assert row["origin"] == f"verity/{key}/0"
    assert (row["size"], row["written"], row["kept"]) == (3, 2, 0)
    copied = run("log", "mirror", tmp_path / "out", tmp_path / "copy", "--key", key, home=elsewhere)["logs"][0]
    assert (copied["size"], copied["before"], copied["fetched"]) == (3, 0, 2)
    single = run("log", "mirror", tmp_path / "out/0", tmp_path / "one", "--key", str(key_of(key, 0)), home=elsewhere)
    assert single["logs"][0]["size"] == 3
    for folder in (tmp_path / "out", tmp_path / "copy"):
        checked = run("log", "fsck", folder, "--key", key, home=elsewhere)
        assert checked == {
            "sound": True,
            "logs": [{"origin": row["origin"], "entries": 3, "problems": [], "total": 0}],
        }
    assert not elsewhere.exists()
    (tmp_path / "copy/0/tile/0/000.p/3").write_bytes(bytes(96))
    broken = run("log", "fsck", tmp_path / "copy", "--key", key, home=elsewhere, code=1)
    assert (broken["sound"], broken["logs"][0]["total"]) == (False, 1)
    said = verity("log", "fsck", tmp_path / "copy", "--key", key, home=elsewhere)
    assert said.returncode == 1
    assert "do not give the root" in said.stderr
    assert "keep it as evidence" in said.stderr
    assert (
        verity("log", "mirror", tmp_path / "out", tmp_path / "c2", "--key", "ab" * 32, home=elsewhere).returncode == 1
    )
    assert verity("log", "mirror", tmp_path / "no", tmp_path / "c2", "--key", key, home=elsewhere).returncode == 2
    assert verity("log", "fsck", tmp_path / "out", "--key", "nobody", home=elsewhere).returncode == 2


def test_a_fork_ends_with_evidence(tmp_path: Path) -> None:
    key, home = str(key_of(SIGNER.public.hex(), 0)), tmp_path / "nobody"
    first = write(published(entries(30)), tmp_path / "first")
    second = write(published(entries(40, fork_at=10)), tmp_path / "second")
    run("log", "mirror", first, tmp_path / "copy", "--key", key, home=home)
    done = verity("log", "mirror", second, tmp_path / "copy", "--key", key, home=home)
    assert done.returncode == 1
    assert f"{ORIGIN} signed two histories" in done.stderr
    assert "show it to everybody" in done.stderr
    (evidence,) = (tmp_path / "copy").glob("evidence-*.fork.json")
    assert len(json.loads(evidence.read_bytes())["checkpoints"]) == 2
    assert run("log", "fsck", tmp_path / "copy", "--key", key, home=home)["sound"]


def test_proofs_of_a_receipt(device: tuple[Path, str, str, Path], tmp_path: Path) -> None:
    home, key, receipt, bundle = device
    told = run("export", receipt, "--tlog-proof", tmp_path / "proofs", home=home)
    assert [Path(path).name for path in told["proofs"]] == ["intent.tlog-proof", "result.tlog-proof"]
    elsewhere = tmp_path / "nobody"
    parts = json.loads(bundle.read_bytes())["receipt"]
    for index, name in ((1, "intent"), (2, "result")):
        proof = tmp_path / f"proofs/{name}.tlog-proof"
        envelope = tmp_path / f"{name}.json"
        envelope.write_text(json.dumps(parts[name]))
        checked = run("log", "verify-proof", proof, "--key", key, "--envelope", envelope, home=elsewhere)
        assert (checked["index"], checked["size"], checked["origin"]) == (index, 3, f"verity/{key}/0")
        logged = run("log", "prove", index, home=home)
        assert checked["entry"] == logged["entry"]
        for trusted in (key, str(key_of(key, 0))):
            by_entry = ("log", "verify-proof", proof, "--key", trusted, "--entry")
            assert run(*by_entry, logged["entry"], home=elsewhere) == checked
            assert verity(*by_entry, "00" * 32, home=elsewhere).returncode == 1
        assert run("log", "verify-proof", proof, "--key", key, "--envelope", bundle, home=elsewhere) == checked
        assert (
            verity("log", "verify-proof", proof, "--key", "ab" * 32, "--envelope", bundle, home=elsewhere).returncode
            == 1
        )
    other = verity("log", "verify-proof", tmp_path / "proofs/intent.tlog-proof", "--key", key, "--envelope",
                   tmp_path / "result.json", home=elsewhere)  # fmt: skip
    assert other.returncode == 1
    assert "does not lead from leaf 1" in other.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--key", "K"),
        ("--key", "K", "--entry", "00", "--envelope", "x"),
        ("--key", "K", "--entry", "zz"),
        ("--key", "K", "--envelope", "missing"),
        ("--key", "nobody", "--entry", "00"),
    ],
)
def test_what_verify_proof_cannot_be_asked(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    proof = tmp_path / "x.tlog-proof"
    proof.write_text("c2sp.org/tlog-proof@v1\nindex 0\n\n" + published(entries(1))["checkpoint"].decode())
    told = [str(KEY) if word == "K" else word for word in arguments]
    done = verity("log", "verify-proof", proof, *told, home=tmp_path / "nobody")
    assert done.returncode == 2, done.stderr


def test_export_says_where_and_what(device: tuple[Path, str, str, Path], tmp_path: Path) -> None:
    home, _, receipt, _ = device
    nowhere = verity("export", receipt, "--everything", home=home)
    assert (nowhere.returncode, "say where to write it" in nowhere.stderr) == (2, True)
    opens = verity("export", receipt, "--everything", "--tlog-proof", tmp_path / "p", home=home)
    assert (opens.returncode, "a proof opens nothing" in opens.stderr) == (2, True)
    assert not (tmp_path / "p").exists()
    both = run("export", receipt, "--nothing", "--save", tmp_path / "b.json", "--tlog-proof", tmp_path / "p", home=home)
    assert len(both["proofs"]) == 2
    assert both["opened"] == []
    assert (tmp_path / "b.json").exists()


def test_an_empty_log_is_not_exported(tmp_path: Path) -> None:
    done = verity("log", "export", tmp_path / "out", home=tmp_path / "home")
    assert (done.returncode, "the log is empty" in done.stderr) == (2, True)


def test_a_served_log_is_mirrored(device: tuple[Path, str, str, Path], tmp_path: Path) -> None:
    home, key, _, _ = device
    command = [sys.executable, "-c", PROGRAM, "serve", "--port", "0", "--json", "--home", str(home), "--publish-log"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            address = json.loads(server.stdout.readline())["url"]
            copied = run("log", "mirror", f"{address}/log", tmp_path / "copy", "--key", key, home=tmp_path / "nobody")
            assert copied["logs"][0]["size"] == 3
            assert run("log", "fsck", f"{address}/log", "--key", key, home=tmp_path / "nobody")["sound"]
        finally:
            server.send_signal(signal.SIGTERM)
    assert server.returncode == 0


def test_how_often_is_for_those_who_publish(tmp_path: Path) -> None:
    done = verity("serve", "--publish-every", "5", "--port", "0", home=tmp_path / "home")
    assert (done.returncode, "give --publish-log too" in done.stderr) == (2, True)
