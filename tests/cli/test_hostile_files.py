"""Files of 100 MB, and the worst just under each limit: refused in bounded time and memory, by a plain sentence."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import verity
from verity.node import Node

HUGE = 100_000_000
BUNDLE, REQUEST, INTENT, PROOF, POLICY, CHECKPOINT = 32 << 20, 8 << 20, 4 << 20, 1 << 20, 1 << 16, 1 << 16
KEY_EVENTS, RECOVERY_KEY = 1 << 20, 1 << 14
MESSAGE = 1 << 17
MEMORY_MB = 1024
"""For the whole process, libraries included; most readers stay below a fifth of it."""
SECONDS = 60.0
"""Generous: machines are noisy. What is not bounded takes minutes, or memory that is not there."""

Make = Callable[[int], bytes]


def _repeat(piece: bytes, before: bytes = b"", after: bytes = b"") -> Make:
    return lambda size: (before + piece * ((size - len(before) - len(after)) // len(piece)) + after).ljust(size)


ANY: dict[str, Make] = {
    "zeros": _repeat(b"\0"),
    "spaces": _repeat(b" "),
    "not UTF-8": _repeat(b"\xff"),
    "one letter": _repeat(b"a"),
    "lines": _repeat(b"\n"),
}
LARGE = {name: ANY[name] for name in ("zeros", "one letter")}
"""Far over a limit, length is all that counts."""

JSON: dict[str, Make] = {
    "open lists": _repeat(b"["),
    "open objects": _repeat(b'{"a":'),
    "a text without an end": _repeat(b"a", b'{"receipt": "'),
    "backslashes": _repeat(b'"\\'),
    "short texts": _repeat(b'"ab",', b"[", b"1]"),
    "texts of wide letters": _repeat('"☃x",'.encode(), b"[", b"1]"),
    "reals": _repeat(b"0.1,", b"[", b"1]"),
    "lists": _repeat(b"[],", b"[", b"1]"),
    "objects": _repeat(b'{"a":1},', b"[", b"1]"),
    "one long key": _repeat(b"k", b'{"', b'":1}'),
    "one wide letter": _repeat(b"a", '["😀'.encode(), b'"]'),
    "half of a pair": _repeat(b"\\ud83d\\ude00", b'["', b'\\ud800"]'),
    "digits": _repeat(b"9", b"[", b"]"),
    "many keys": lambda size: b"{" + b",".join(b'"%x":1' % n for n in range(size // 12)) + b"}",
}
TOML: dict[str, Make] = {
    "a key of many parts": _repeat(b".a", b"a", b"=1"),
    "keys of many parts": _repeat(b"a" + b".a" * 300 + b"=1\n"),
    "a table of many parts": _repeat(b".a", b"[a", b"]"),
    "quoted parts": _repeat(b'."a"', b"a", b"=1"),
    "inline tables": _repeat(b"{a=", b"a="),
    "lists in lists": _repeat(b"[", b"a="),
    "many tables": _repeat(b"[[a]]\n"),
    "digits": _repeat(b"9", b"a="),
    "a text": _repeat(b"\\u0041", b'a="', b'"'),
    "quotes": _repeat(b'""\\"', b'a="""'),
}


def _listing(entries: int) -> bytes:
    """A ZIP file that is nothing but a list of members."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * entries
    count = min(entries, 65535)
    return directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), 0, 0)


def _bomb(method: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name in ("backup.json", "device.key", "verity.db"):
            with archive.open(name, "w") as member:
                for _ in range(12):
                    member.write(bytes(2_000_000))
    return packed.getvalue()


ZIP: dict[str, Make] = {
    "a list of members": lambda size: _listing(size // 47),
    "members that unpack without an end": lambda _: _bomb(zipfile.ZIP_DEFLATED),
    "members packed otherwise": lambda _: _bomb(zipfile.ZIP_LZMA),
    "encrypted noise": _repeat(b"x", b"age-encryption.org/v1\n"),
    "a passphrase that takes 1 TiB": lambda _: (
        b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 30\n" + b"A" * 43 + b"\n--- " + b"A" * 43 + b"\n"
    ),
}


class Device:
    """A home with a key and a log, and a bundle, request and passphrase of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        with verity.open(self.home, engine=verity.ScriptedEngine("Blue.")) as node:
            self.key = node.key.id
            self.bundle = str(node.ask("Why?", temperature=0.0).save(folder / "sound.verity.json"))
            self.request = self._requested(node)
        self.passphrase = str(folder / "passphrase")
        Path(self.passphrase).write_text("open sesame\n")

    def _requested(self, node: Node) -> str:
        path = self.folder / "late.request.json"
        path.write_bytes(node.issuer.issue("Why?", late=True, model="0" * 64).envelope.encode())
        return str(path)

    def run(self, shapes: dict[str, Make], sizes: list[int], commands: Callable[[str], list[list[str]]]) -> list[Any]:
        """What came of all ``commands`` (given the file's path) for every shape and size, each with its name."""
        names, asked = [], []
        for size in sizes:
            for number, (name, make) in enumerate(shapes.items()):
                path = self.folder / f"{number}-{size}.hostile"
                path.write_bytes(make(size))
                for command in commands(str(path)):
                    names.append(f"{name}, {size:,} bytes: {' '.join(command)}")
                    asked.append(command)
        environment = {**os.environ, "VERITY_HOME": str(self.home), "OPENBLAS_NUM_THREADS": "1"}
        program = str(Path(__file__).parents[1] / "support" / "bounded.py")
        ended = subprocess.run(
            [sys.executable, program, str(MEMORY_MB)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            env=environment,
            timeout=900,
        )
        results = [json.loads(line) for line in ended.stdout.splitlines()]
        assert len(results) == len(asked), f"{names[len(results)]}\n{ended.stderr[-2000:]}"
        for path in self.folder.glob("*.hostile"):
            path.unlink()
        return list(zip(names, results, strict=True))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def refused(results: list[Any], code: int = 2) -> None:
    for name, result in results:
        assert result["code"] == code, f"{name}\n{result}"
        assert "Traceback" not in result["stderr"], name
        assert result["stderr"].startswith("verity: "), name
        assert len(result["stderr"]) < 3000, name
        assert result["seconds"] < SECONDS, name


@pytest.mark.slow
def test_bundles(device: Device) -> None:
    def commands(path: str) -> list[list[str]]:
        return [["verify", path, "--no-replay"], ["show", path]]

    refused(device.run(LARGE, [HUGE], commands))
    refused(device.run(ANY | JSON, [BUNDLE], lambda path: [["verify", path, "--no-replay", "--json"]]))


def test_requests(device: Device) -> None:
    def commands(path: str) -> list[list[str]]:
        return [["ask", "--request", path], ["verify", device.bundle, "--no-replay", "--request", path]]

    refused(device.run(LARGE, [HUGE], commands))
    some = {name: JSON[name] for name in ("open lists", "short texts", "objects", "one long key", "many keys")}
    refused(device.run(some, [REQUEST], lambda path: commands(path)[:1]))


def test_signed_intents(device: Device) -> None:
    def commands(path: str) -> list[list[str]]:
        answer = str(device.folder / "answer.request.json")
        return [["nonce", "--reveal", path, "--request", device.request, "--key", device.key, "--save", answer]]

    refused(device.run(LARGE, [HUGE], commands))
    refused(device.run(ANY | JSON, [INTENT], commands))


def test_key_events(device: Device) -> None:
    def commands(path: str) -> list[list[str]]:
        return [["device", "know", path], ["verify", device.bundle, "--no-replay", "--key-event", path]]

    signatures = {
        "a revocation of very many signatures": _repeat(
            b'{"keyid":"a","sig":"b"},',
            b'{"events":[{"event":{"payload":"","payloadType":"","signatures":[',
            b"{}]}}]}",
        )
    }
    refused(device.run(LARGE, [HUGE], commands))
    refused(device.run(ANY | JSON | signatures, [KEY_EVENTS], commands))


def test_recovery_keys(device: Device) -> None:
    def commands(path: str) -> list[list[str]]:
        Path(path).chmod(0o600)
        return [["device", "rotate", "--recovery", path, "--passphrase-file", device.passphrase]]

    refused(device.run(LARGE, [HUGE], commands))
    refused(device.run(ANY | ZIP, [RECOVERY_KEY], commands))


def test_policies(device: Device) -> None:
    def commands(path: str) -> list[list[str]]:
        return [["verify", device.bundle, "--no-replay", "--policy", path]]

    refused(device.run(LARGE, [HUGE], commands))
    refused(device.run(LARGE | TOML, [POLICY], commands))


def test_checkpoints(device: Device) -> None:
    def commands(path: str) -> list[list[str]]:
        return [
            ["verify", device.bundle, "--no-replay", "--checkpoint", path],
            ["log", "check", "--checkpoint", path],
            ["log", "compare", path, path, "--key", device.key],
        ]

    note = _repeat("— a AAAAAAA=\n".encode(), b"a\n1\n" + b"A" * 43 + b"=\n\n")
    refused(device.run(LARGE, [HUGE], commands))
    refused(device.run({**ANY, "sound lines": note}, [CHECKPOINT], commands))


def test_proofs(device: Device) -> None:
    note = device.folder / "head.checkpoint"
    with verity.open(device.home) as node:
        note.write_text(node.log.checkpoint())

    def commands(path: str) -> list[list[str]]:
        return [["log", "compare", str(note), str(note), "--key", device.key, "--proof", path]]

    refused(device.run(LARGE, [HUGE], commands))
    refused(device.run(ANY | JSON, [PROOF], commands))


def test_enrolments_and_records(device: Device) -> None:
    def commands(path: str) -> list[list[str]]:
        out = ["--out", str(device.folder / "out.json")]
        return [*(["tpm", verb, path, *out] for verb in ("challenge", "answer", "certify")), ["tpm", "adopt", path]]

    refused(device.run(LARGE, [HUGE], commands))
    refused(device.run(ANY | JSON, [MESSAGE], commands))
    certified = ["tpm", "certify", device.request, "--out", str(device.folder / "out.json"), "--roots"]
    pem = _repeat(b"-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n")
    refused(device.run(LARGE | {"certificates": pem}, [1 << 20, HUGE], lambda path: [[*certified, path]]))
    assert not (device.folder / "out.json").exists()


def test_backups(device: Device) -> None:
    home = str(device.folder / "restored")

    def commands(path: str) -> list[list[str]]:
        return [["restore", path, "--home", home, "--passphrase-file", device.passphrase]]

    refused(device.run(LARGE | ZIP, [HUGE], commands))
    assert not Path(home).exists()


def test_passphrases(device: Device) -> None:
    backup = str(device.folder / "device.backup")
    refused(device.run(LARGE, [HUGE], lambda path: [["backup", backup, "--passphrase-file", path]]))
    assert not Path(backup).exists()


def test_device_keys(device: Device) -> None:
    key = device.home / "device.key"

    def commands(path: str) -> list[list[str]]:
        key.unlink()
        key.symlink_to(path)
        Path(path).chmod(0o600)
        return [["device"]]

    pem = _repeat(b"A" * 64 + b"\n", b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----\n")
    for name, make in {**LARGE, "a long key": pem}.items():
        # A device whose own key is damaged is no wrong usage: StoreError, exit code 1.
        refused(device.run({name: make}, [HUGE], commands), code=1)
