"""The command line as a user meets it: in a process of its own, with the exit codes and hints that are promised."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import last_json, verity


def listen() -> None:
    """In a child: heed SIGINT, also where the tests run in the background and inherited that it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bundle(home: Path, tmp_path: Path) -> Path:
    path = tmp_path / "reply.verity.json"
    run = verity("ask", "Why?", "--model", "scripted", "--temperature", "0", "--save", path, home=home)
    assert run.returncode == 0, run.stderr
    return path


def test_help_lists_the_verbs_and_every_verb_has_help_and_json(home: Path) -> None:
    listed = verity("--help", home=home)
    assert all(name in listed.stdout for name in ("ask", "verify", "pull", "models", "device", "log"))
    for verb in (["ask"], ["verify"], ["pull"], ["models"], ["models", "check"], ["device"], ["log", "list"],
                 ["log", "prove"], ["log", "check"]):  # fmt: skip
        assert "--json" in verity(*verb, "--help", home=home).stdout
    assert not home.exists()


def test_ask_streams_the_answer_and_names_the_receipt(home: Path) -> None:
    run = verity("ask", "Why?", "--model", "scripted", "--temperature", "0", home=home)
    assert run.stdout == "This is the scripted reply.\n"
    assert run.stderr.startswith("receipt ")
    assert "signed, logged" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_prompt_on_stdin_is_refused_rather_than_cut(home: Path) -> None:
    run = verity("ask", "-", "--model", "scripted", home=home, stdin="x" * ((16 << 20) + 1))
    assert run.returncode == 2
    assert "larger than 16,777,216 bytes" in run.stderr


def test_ask_json_is_one_object(home: Path, tmp_path: Path) -> None:
    options = ["--json", "--max-tokens", "4", "--stop", "zz", "--temperature", "0", "--seed-nonce", "ab" * 16]
    saved = ["--save", str(tmp_path / "b.verity.json")]
    run = verity("ask", "-", "--model", "scripted", *options, *saved, home=home, stdin="Why?\n")
    answer = json.loads(run.stdout)
    assert (answer["text"], answer["finish"], answer["tokens"]) == ("This", "length", 4)
    assert (tmp_path / "b.verity.json").stat().st_mode & 0o777 == 0o600


def test_verify_prints_every_check_and_exits_by_the_outcome(bundle: Path, home: Path, tmp_path: Path) -> None:
    run = verity("verify", bundle, "--no-replay", home=home)
    assert run.returncode == 1  # the scripted engine, by name
    assert "refused: engine failed" in run.stderr
    report = last_json(verity("verify", bundle, "--no-replay", "--json", home=home))
    assert {c["name"]: c["status"] for c in report["checks"]}["signed"] == "passed"
    nothing_to_say = json.loads(bundle.read_text())
    del nothing_to_say["disclosure"]
    public = tmp_path / "public.verity.json"
    public.write_text(json.dumps(nothing_to_say))
    assert verity("verify", public, "--no-replay", home=home).returncode == 3
    other = verity("verify", public, "--key", "ab" * 32, home=home)
    assert other.returncode == 1
    both = verity("verify", bundle, public, "--no-replay", home=home)
    assert both.returncode == 1
    assert [line.split()[1] for line in both.stdout.splitlines()] == ["FAILED", "not"]
    assert "engine: " in both.stdout  # why, in the line itself
    assert "output: The disclosure is missing" in both.stdout
    assert "not the expected abababababababab…" in other.stdout


@pytest.mark.parametrize("content", ["", "{}", "[1,2", '{"receipt": 1}', "x" * 1000])
def test_unreadable_input_exits_2_with_a_hint(content: str, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.verity.json"
    path.write_text(content)
    run = verity("verify", path, "--json", home=home)
    assert run.returncode == 2
    assert run.stderr.startswith("verity: ")
    assert last_json(run)["exit_code"] == 2
    assert verity("verify", tmp_path / "missing", home=home).returncode == 2


def test_usage_errors_exit_2(home: Path) -> None:
    for arguments in (["ask"], ["ask", "x", "--temperature", "hot"], ["frobnicate"], ["ask", "x", "--seed-nonce", "zz"],
                      ["ask", "x", "--model", "scripted", "--temperature", "99"], ["verify"]):  # fmt: skip
        run = verity(*arguments, home=home)
        assert run.returncode == 2, arguments
        assert run.stderr.startswith("verity: ")
        assert "Traceback" not in run.stderr


def test_a_model_that_is_not_here(home: Path) -> None:
    run = verity("ask", "Why?", "--model", "gpt-99", home=home)
    assert run.returncode == 2
    assert "gpt-99" in run.stderr
    assert "verity pull" in run.stderr


def test_a_file_that_is_no_model(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("These are only notes, but there are more than 32 bytes of them.")
    run = verity("pull", path, home=home)
    assert run.returncode == 2
    assert "not a GGUF model file" in run.stderr


def test_a_truncated_model(home: Path, tmp_path: Path, model_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    shutil.copy(model_path, cut)
    with cut.open("r+b") as file:
        file.truncate(40_000_000)
    assert verity("pull", cut, "--name", "cut", home=home).returncode == 0  # nobody said what it should be
    run = verity("ask", "Why?", "--model", "cut", home=home)
    assert run.returncode == 1
    assert "cut short" in run.stderr
    pinned = verity("pull", cut, "--name", "smollm2-135m-instruct", home=home)
    assert pinned.returncode == 1
    assert "digest" in pinned.stderr.lower()


@pytest.mark.model
def test_one_flipped_bit_is_noticed_before_use(home: Path, model_path: Path) -> None:
    assert verity("pull", model_path, "--name", "mine", home=home).returncode == 0
    blob = next(p for p in (home / "blobs").rglob("*") if p.is_file() and p.stat().st_size > 1_000_000)
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(50_000_000)
        byte = file.read(1)[0]
        file.seek(50_000_000)
        file.write(bytes([byte ^ 1]))
    for command in (["ask", "Why?", "--model", "mine"], ["models", "check"]):
        run = verity(*command, home=home)
        assert run.returncode == 1
        assert "digest" in run.stderr.lower(), run.stderr


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run = verity("device", home=tmp_path / "file" / "home")
    assert run.returncode == 1
    assert "VERITY_HOME" in run.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="drops root's capabilities as Linux has them")
def test_a_read_only_home(home: Path) -> None:
    """By permission bits, which bind root too once it has given up its capabilities (capset(2), version 3)."""
    verity("device", home=home)
    code = (
        "import ctypes, struct\n"
        "assert ctypes.CDLL(None).capset(struct.pack('Ii', 0x20080522, 0), bytes(24)) == 0\n"
        "from verity.cli import main\n"
        "main()"
    )
    home.chmod(0o555)
    command = [sys.executable, "-B", "-c", code, "ask", "Why?", "--model", "scripted"]
    environment = {**os.environ, "VERITY_HOME": str(home)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    home.chmod(0o700)
    assert run.returncode == 1
    assert "cannot be written to" in run.stderr
    assert "VERITY_HOME" in run.stderr


def test_a_prompt_longer_than_the_context(home: Path) -> None:
    run = verity("ask", "x" * 9000, "--model", "scripted", home=home)
    assert run.returncode == 2
    assert "does not fit a context of 4,096" in run.stderr
    assert "--context" in run.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_being_stopped_keeps_what_was_written(home: Path, tmp_path: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-u", "-c", "from verity.cli import main; main()", "ask", "Why?", "--model", "scripted",
               "--temperature", "0", "--save", str(tmp_path / "cut.verity.json")]  # fmt: skip
    with subprocess.Popen(
        command,
        env={**os.environ, "VERITY_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == "This"
        process.send_signal(stop)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "on record" in errors
    written = "This" + rest.rstrip("\n")
    saved = json.loads((tmp_path / "cut.verity.json").read_text())
    fields = {x["field"]: x["value"] for x in saved["disclosure"]["result"]}
    assert fields["output/finish"] == "cancelled"
    assert fields["output/text"].startswith(written)
    assert verity("log", "check", home=home).returncode == 0


def test_device_and_models(home: Path) -> None:
    device = last_json(verity("device", "--json", home=home))
    assert device["log"] == f"verity/{device['key']}/0"
    assert last_json(verity("device", "--json", home=home)) == device
    listed = verity("models", home=home)
    assert "verity pull smollm2-135m-instruct" in listed.stdout
    assert last_json(verity("models", "--json", home=home))["catalogue"][0]["licence"] == "Apache-2.0"


def test_the_log_is_listed_proven_and_checked(bundle: Path, home: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in verity("log", "list", "--json", home=home).stdout.splitlines()]
    assert [r["statement"] for r in rows] == ["verity:numerics/v1", "verity:intent/v1", "verity:result/v1"]
    proof = last_json(verity("log", "prove", "1", "--json", home=home))
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(proof["checkpoint"])
    verity("ask", "Again?", "--model", "scripted", "--temperature", "0", home=home)
    grown = last_json(verity("log", "prove", "1", "--from-size", "3", "--json", home=home))
    from verity.log.checkpoint import open_checkpoint
    from verity.log.tree import check_consistency, check_inclusion, hash_leaf

    public = bytes.fromhex(last_json(verity("device", "--json", home=home))["key"])
    old, new = open_checkpoint(proof["checkpoint"], public), open_checkpoint(grown["checkpoint"], public)
    path = [bytes.fromhex(h) for h in grown["path"]]
    check_inclusion(1, new.size, hash_leaf(bytes.fromhex(grown["entry"])), path, new.root)
    check_consistency(old.size, new.size, old.root, new.root, [bytes.fromhex(h) for h in grown["consistency"]])
    assert verity("log", "check", "--checkpoint", checkpoint, home=home).returncode == 0
    assert verity("log", "prove", "99", home=home).returncode == 2


def test_a_dropped_log_entry_is_refused_by_name(bundle: Path, home: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(home / "verity.db")
    connection.execute("DELETE FROM log_entries WHERE position = 1")
    connection.commit()
    connection.close()
    run = verity("log", "check", home=home)
    assert run.returncode == 1
    assert "entry 1 is missing" in run.stderr
    as_json = verity("log", "check", "--json", home=home)
    assert as_json.returncode == 1
    assert "entry 1 is missing" in " ".join(json.loads(as_json.stdout)["problems"])


@pytest.mark.model
def test_the_real_model_end_to_end(model_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "sky.verity.json"
    asked = ["ask", "Why is the sky blue?", "--max-tokens", "12", "--threads", "1", "--seed-nonce", "ab" * 32]
    run = verity(*asked, "--save", path, home=model_home)
    assert run.returncode == 0, run.stderr
    assert "bit for bit" in run.stderr
    checked = verity("verify", path, "--threads", "1", "--model", "smollm2-135m-instruct",
                     "--prompt", "Why is the sky blue?", home=model_home)  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    changed = json.loads(path.read_text())
    next(x for x in changed["disclosure"]["result"] if x["field"] == "output/text")["value"] += "!"
    forged = tmp_path / "forged.verity.json"
    forged.write_text(json.dumps(changed))
    assert verity("verify", forged, "--no-replay", home=model_home).returncode == 1


@pytest.mark.model
def test_ctrl_c_with_the_real_model(model_home: Path) -> None:
    command = [sys.executable, "-u", "-c", "from verity.cli import main; main()", "ask", "Tell me a long story.",
               "--max-tokens", "2000", "--threads", "1"]  # fmt: skip
    environment = {**os.environ, "VERITY_HOME": str(model_home)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "on record" in errors


def test_ask_by_a_schema_prints_json(home: Path, tmp_path: Path) -> None:
    schema, saved = tmp_path / "schema.json", tmp_path / "b.verity.json"
    schema.write_text('{"enum": ["yes", "no"]}')
    options = ["--model", "scripted", "--schema", schema, "--save", saved]
    assert json.loads(verity("ask", "Is it?", *options, home=home).stdout) in ("yes", "no")
    cut = verity("ask", "Is it?", *options, "--max-tokens", "2", home=home)
    assert cut.returncode == 1
    assert "raise max_tokens" in cut.stderr
    assert json.loads(saved.read_text())["disclosure"]["tokens"][1]["index"] == 1
    for text, says in (('{"$ref": "#"}', "recursive"), ("{", "cannot be read"), (" " * (1 << 17), "larger than")):
        schema.write_text(text)
        refused = verity("ask", "Is it?", *options, home=home)
        assert (refused.returncode, says in refused.stderr) == (2, True), refused.stderr
    schema.unlink()
    assert verity("ask", "Is it?", *options, home=home).returncode == 2


def test_verify_takes_the_turn_before(bundle: Path, home: Path) -> None:
    run = verity("verify", bundle, "--previous", bundle, "--no-replay", "--json", home=home)
    status = {check["name"]: check["status"] for check in last_json(run)["checks"]}
    assert (run.returncode, status["previous-turn"]) == (1, "failed")
