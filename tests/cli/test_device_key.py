"""The owner's path when a key is exchanged, stolen or lost, and the relying party's, through the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from memory_signer import MemorySigner

from verity.cli import cli
from verity.errors import FormatError, StoreError, UsageError, VerityError
from verity.log.checkpoint import split
from verity.log.cosignature import cosign
from verity.log.note import COSIGNATURE, VerifierKey, with_lines

WITNESS = MemorySigner(b"w" * 32)
VKEY = VerifierKey("w.example/1", COSIGNATURE, WITNESS.public)
HOUR = 3600


def run(*arguments: object, home: Path, code: int = 0) -> Any:
    """The final object of a command, in this process."""
    ran = _invoke(*arguments, "--json", home=home)
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout.splitlines()[-1])


def _invoke(*arguments: object, home: Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments), "--home", str(home)])


def refused(*arguments: object, home: Path) -> VerityError:
    """The error of a command that is refused."""
    error = _invoke(*arguments, home=home).exception
    assert isinstance(error, VerityError)
    assert error.hint
    return error


def ask(home: Path, path: Path, prompt: str = "Why?") -> str:
    said = run("ask", prompt, "--model", "scripted", "--max-tokens", 2, "--save", path, home=home)
    return str(said["receipt"])


def checked(path: Path, *options: object, home: Path, code: int = 1) -> dict[str, str]:
    """The statuses; the scripted engine always fails, so 1 is the best there is."""
    report = run("verify", path, "--no-replay", *options, home=home, code=code)
    return {check["name"]: check["status"] for check in report["checks"]}


def see(path: Path, time_s: int) -> None:
    """The witness's line, put onto every head in a bundle or a file of key events."""

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(each) for each in value]
        if not isinstance(value, dict):
            return value
        made = {name: put(each) for name, each in value.items()}
        if isinstance(made.get("checkpoint"), str):
            note = split(made["checkpoint"])[1]
            made["checkpoint"] = str(with_lines(note, [cosign(note.body, VKEY.name, WITNESS, time_s)]))
        return made

    path.write_text(json.dumps(put(json.loads(path.read_text()))))


@pytest.fixture
def owner(tmp_path: Path) -> Path:
    return tmp_path / "owner"


@pytest.fixture
def verifier(tmp_path: Path) -> Path:
    return tmp_path / "verifier"


def test_rotating_and_whom_others_then_trust(owner: Path, verifier: Path, tmp_path: Path) -> None:
    before, after, events = tmp_path / "before", tmp_path / "after", tmp_path / "rotated.key-event.json"
    ask(owner, before)
    old = run("device", home=owner)["key"]
    said = run("device", "rotate", "--out", events, home=owner)
    assert said["old"] == old
    shown = run("device", home=owner)
    assert (shown["key"], shown["log"], shown["standing"]) == (said["new"], said["log"], "current")
    ask(owner, after)
    named = ["--key", old]
    assert checked(after, *named, home=verifier)["signed"] == "failed"
    told = checked(after, *named, "--key-event", events, home=verifier)
    assert (told["signed"], told["key-current"], told["logged"]) == ("passed", "not made", "passed")
    told = checked(before, *named, "--key-event", events, home=verifier)
    assert (told["signed"], told["key-current"]) == ("passed", "passed")
    # Kept once, it is heeded from then on.
    assert [event["new"] for event in run("device", "know", events, home=verifier)["events"]] == [True]
    assert [event["new"] for event in run("device", "know", events, home=verifier)["events"]] == [False]
    assert checked(after, *named, home=verifier)["signed"] == "passed"
    assert run("device", "events", "--key", old, home=verifier)["events"][0]["successor"] == said["new"]
    run("device", "events", "--out", tmp_path / "handed-on", home=verifier)
    assert json.loads((tmp_path / "handed-on").read_text()) == json.loads(events.read_text())
    # The owner's own device knows both.
    for bundle in (before, after):
        assert checked(bundle, home=owner)["signed"] == "passed"
    assert run("log", "check", "--epoch", 0, home=owner)["problems"] == []


def test_a_policy_names_files_beside_it(owner: Path, verifier: Path, tmp_path: Path) -> None:
    folder, after = tmp_path / "policies", tmp_path / "after"
    folder.mkdir()
    old = run("device", home=owner)["key"]
    run("device", "rotate", "--out", folder / "acme.key-event.json", home=owner)
    ask(owner, after)
    policy = folder / "policy.toml"
    policy.write_text(f'[trust]\ndevices = ["{old}"]\nkey_events = ["acme.key-event.json"]\n')
    assert checked(after, "--policy", policy, home=verifier)["signed"] == "passed"
    policy.write_text(f'[trust]\ndevices = ["{old}"]\nkey_events = ["missing"]\n')
    assert isinstance(refused("verify", after, "--no-replay", "--policy", policy, home=verifier), FormatError)


def test_a_stolen_key_from_recovery_key_to_report(owner: Path, verifier: Path, tmp_path: Path) -> None:
    early, late, forged, recovery = (tmp_path / name for name in ("early", "late", "forged", "recovery.key"))
    events = tmp_path / "revoked.key-event.json"
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    locked = ["--passphrase-file", passphrase]
    named = run("device", "recovery-key", "--out", recovery, *locked, home=owner)
    old = run("device", home=owner)
    assert old["recovery"] == named["recovery"]
    assert recovery.read_bytes().startswith(b"age-encryption.org/v1")
    ask(owner, early)
    now = int(time.time())
    see(early, now - 5 * HOUR)
    see(Path(named["event_file"]), now - 6 * HOUR)
    since = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(now - 2 * HOUR))
    revoke = ["device", "revoke", "--since", since, "--reason", "stolen", "--yes", "--recovery", recovery]
    assert isinstance(refused(*revoke, home=owner), UsageError)  # its passphrase
    run(*revoke, *locked, "--out", events, home=owner)
    assert run("device", home=owner)["standing"] == "revoked"
    ask(owner, forged)
    see(forged, now - HOUR)
    assert "revoked" in str(refused("device", "rotate", home=owner))
    rotated = run("device", "rotate", "--recovery", recovery, *locked, "--out", events, home=owner)
    assert run("device", home=owner)["recovery"] == named["recovery"]  # of the new key, too
    ask(owner, late)
    trust = [
        "--key",
        old["key"],
        "--witness",
        f"Example={VKEY}",
        "--key-event",
        named["event_file"],
        "--key-event",
        events,
    ]
    assert checked(early, *trust, home=verifier)["key-current"] == "passed"
    assert checked(forged, *trust, home=verifier)["key-current"] == "failed"
    told = checked(late, *trust, home=verifier)
    assert (told["signed"], rotated["old"]) == ("passed", old["key"])
    assert checked(late, *trust[:4], "--key-event", events, home=verifier)["signed"] == "failed"
    # Without witnesses nobody can say what was before.
    assert checked(early, *trust[:2], *trust[4:], home=verifier)["key-current"] == "failed"


def test_a_lost_key(owner: Path, verifier: Path, tmp_path: Path) -> None:
    bundle, recovery, out = tmp_path / "bundle", tmp_path / "recovery.key", tmp_path / "recovered.key-event.json"
    run("device", "recovery-key", "--out", recovery, home=owner)
    old = run("device", home=owner)["key"]
    head = tmp_path / "head"
    head.write_text(run("log", "checkpoint", home=owner)["checkpoint"])
    new = tmp_path / "new"
    recover = ["device", "recover", "--key", old, "--recovery", recovery, "--checkpoint", head, "--out", out]
    assert "not known here" in str(refused(*recover, home=new))
    run("device", "know", f"{recovery}.key-event.json", home=new)
    said = run(*recover, home=new)
    assert said["new"] == run("device", home=new)["key"]
    ask(new, bundle)
    assert checked(bundle, "--key", old, "--key-event", out, home=verifier)["signed"] == "passed"
    other = tmp_path / "other"
    other.write_text(run("log", "checkpoint", home=new)["checkpoint"])
    recover[recover.index(head)] = other
    assert isinstance(_invoke(*recover, home=new).exception, VerityError)


def test_a_recovery_key_is_made_once_and_read_after(owner: Path, tmp_path: Path) -> None:
    path, second = tmp_path / "recovery.key", tmp_path / "second.key"
    first = run("device", "recovery-key", "--out", path, home=owner)
    assert path.stat().st_mode & 0o777 == 0o600
    key = path.read_bytes()
    assert run("device", "recovery-key", "--out", path, home=owner) == first
    assert path.read_bytes() == key
    assert "already" in str(refused("device", "recovery-key", "--out", second, home=owner))
    replaced = run("device", "recovery-key", "--out", second, "--replaces", path, home=owner)
    assert run("device", home=owner)["recovery"] == replaced["recovery"] != first["recovery"]
    path.chmod(0o644)
    assert isinstance(refused("device", "rotate", "--recovery", path, home=owner), StoreError)
    path.chmod(0o600)
    for damaged in (b"", b"x" * (1 << 15), key[:-40], b"age-encryption.org/v1\n-> scrypt AAAA 18\n"):
        path.write_bytes(damaged)
        error = refused("device", "rotate", "--recovery", path, "--passphrase-file", second, home=owner)
        assert isinstance(error, FormatError), damaged[:30]


def test_a_restored_backup_says_what_it_knows_of_its_key(owner: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "early", home=owner)
    run("device", "revoke", "--since", "2026-01-01T00:00:00Z", "--reason", "stolen", "--yes", home=owner)
    run("backup", tmp_path / "late", home=owner)
    run("device", "events", "--out", tmp_path / "told", home=owner)
    assert run("restore", tmp_path / "late", home=tmp_path / "late-home")["standing"] == "revoked"
    said = _invoke("restore", tmp_path / "late", home=tmp_path / "again")
    assert "warning: the backup knows that this key is revoked" in said.stderr
    early = tmp_path / "early-home"
    assert run("restore", tmp_path / "early", home=early)["standing"] == "current"  # it cannot know
    run("device", "know", tmp_path / "told", home=early)
    assert run("device", home=early)["standing"] == "revoked"


def test_words_for_people(owner: Path, tmp_path: Path) -> None:
    out = _invoke("device", home=owner).output
    assert "recovery none" in out
    assert "standing current" in out
    assert "no key event" in _invoke("device", "events", home=owner).output
    assert isinstance(refused("device", "events", "--out", tmp_path / "none", home=owner), UsageError)
    aborted = CliRunner().invoke(
        cli, ["device", "revoke", "--since", "2026-01-01T00:00:00Z", "--reason", "x", "--home", str(owner)], input="n\n"
    )
    assert aborted.exit_code == 1
    assert run("device", home=owner)["standing"] == "current"
    said = _invoke("device", "rotate", "--keep-old", home=owner).output
    assert "the old key is kept" in said
    _invoke("device", "revoke", "--since", "2026-01-01T00:00:00Z", "--reason", "a\x1b[2Jb", "--yes", home=owner)
    listed = _invoke("device", "events", home=owner).output
    assert "succession" in listed
    assert "\x1b" not in listed


def test_a_revocation_is_not_made_unasked(tmp_path: Path) -> None:
    arguments = ("device", "revoke", "--since", "2026-01-01T00:00:00Z", "--reason", "stolen")
    said = refused(*arguments, home=tmp_path / "home")  # nobody is at a terminal who could be asked
    assert (type(said), "--yes" in said.hint) == (UsageError, True)
    said = refused(*arguments[:3], "2026-01-01", *arguments[4:], home=tmp_path / "home")
    assert type(said) is FormatError
    assert run("device", "events", home=tmp_path / "home")["events"] == []


@pytest.mark.parametrize(
    "command",
    [
        ("device", "know", "FILE", "--home", "HOME"),
        ("log", "evidence", "FILE"),
        ("log", "verify-proof", "FILE", "--key", "ab" * 32, "--entry", "00"),
        ("log", "compare", "FILE", "FILE", "--key", "ab" * 32),
        ("release", "verify", "FILE", "--key", "FILE"),
    ],
)
def test_who_gives_another_file_is_told_which(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "FILE").write_text("hello\n")
    arguments = [str(tmp_path / word) if word in ("FILE", "HOME") else word for word in command]
    error = CliRunner().invoke(cli, arguments).exception
    assert isinstance(error, FormatError)
    assert error.hint
