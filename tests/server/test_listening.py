"""``verity serve`` in a process of its own: where it listens, how it ends, and what it refuses to begin with."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from calling import CHAT, chat
from command import verity
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import verity as package

SUPPORT = Path(__file__).parents[1] / "support"
FAKE = """
import verity.cli.serve as serve
from fake_service import FakeService

service = FakeService()
service.hang_at = {hang_at}
serve._service = lambda home, options: service
from verity.cli import main
main()
"""


class Running:
    """A server on a fake service."""

    def __init__(self, home: Path, *arguments: str, hang_at: int | None = None) -> None:
        path = os.pathsep.join([str(SUPPORT), str(Path(package.__file__).parents[1])])
        environment = {**os.environ, "VERITY_HOME": str(home), "PYTHONPATH": path}
        command = [sys.executable, "-c", FAKE.format(hang_at=hang_at), "serve", "--port", "0", "--json", *arguments]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.told: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.url = str(self.told["url"])

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code and what it said on stderr."""
        self.process.send_signal(kind)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def started(home: Path) -> Iterator[list[Running]]:
    """What a test starts, ended with it."""
    servers: list[Running] = []
    yield servers
    for server in servers:
        server.process.kill()
        with server.process:
            pass


def test_it_serves_and_ends_well(home: Path, started: list[Running]) -> None:
    started.append(server := Running(home))
    key_file = Path(server.told["owner_key_file"])
    assert key_file == home / "owner-key"
    assert httpx.post(f"{server.url}{CHAT}", json=chat("a secret")).status_code == 200
    receipt = f"{server.url}/v1/receipts/{'ab' * 16}"
    key = key_file.read_text().strip()
    assert "disclosure" in httpx.get(receipt, headers={"Authorization": f"Bearer {key}"}).json()
    code, said = server.stop()
    assert code == 0
    assert "POST /v1/chat/completions 200" in said
    assert "secret" not in said
    assert key not in said
    assert "Traceback" not in said


def test_ctrl_c_ends_it_as_an_interrupt(home: Path, started: list[Running]) -> None:
    started.append(server := Running(home))
    assert server.stop(signal.SIGINT)[0] == 130


def test_an_answer_under_way_is_cut_off_after_the_time_of_grace(home: Path, started: list[Running]) -> None:
    started.append(server := Running(home, "--grace", "1", hang_at=2))
    seen: list[str] = []
    begun = threading.Event()

    def read() -> None:
        with httpx.stream("POST", f"{server.url}{CHAT}", json=chat(stream=True), timeout=60) as response:
            for line in response.iter_lines():
                seen.append(line)
                begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(30)
    with httpx.Client(timeout=30) as client:
        assert client.get(f"{server.url}/health").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        while (refused := client.get(f"{server.url}/health")).status_code == 200:
            pass
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
    reader.join(30)
    assert "event: error" in seen
    assert "shutting_down" in "".join(seen)
    assert server.process.wait(30) == 0


def test_a_second_signal_ends_the_time_of_grace(home: Path, started: list[Running]) -> None:
    started.append(server := Running(home, "--grace", "3600", hang_at=2))
    begun = threading.Event()

    def read() -> None:
        with httpx.stream("POST", f"{server.url}{CHAT}", json=chat(stream=True), timeout=60) as response:
            for _ in response.iter_lines():
                begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(30)
    server.process.send_signal(signal.SIGTERM)
    with httpx.Client(timeout=30) as client:
        while client.get(f"{server.url}/health").status_code == 200:
            pass
    assert server.stop(signal.SIGTERM)[0] == 0
    reader.join(30)


def test_other_machines_need_a_key_and_are_warned(
    home: Path, started: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERITY_API_KEY", "a-key-for-programs")
    started.append(server := Running(home, "--host", "0.0.0.0"))
    url = f"http://127.0.0.1:{server.told['port']}/v1/models"
    assert httpx.get(url).status_code == 401
    allowed = {"Authorization": "Bearer a-key-for-programs"}
    assert httpx.get(url, headers=allowed).status_code == 200
    assert httpx.get(url, headers={**allowed, "Host": "lamp.lan"}).status_code == 403
    code, said = server.stop()
    assert code == 0
    assert "warning: without TLS" in said


def test_tls(home: Path, tmp_path: Path, started: list[Running]) -> None:
    certificate, key = self_signed(tmp_path)
    started.append(server := Running(home, "--tls-cert", str(certificate), "--tls-key", str(key)))
    assert server.url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(certificate))
    assert httpx.get(f"{server.url}/health", verify=trusting).status_code == 200
    assert server.stop()[0] == 0


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, PEM."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(private, hashes.SHA256())
    )
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


def test_a_port_that_is_taken(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = verity("serve", "--port", taken.getsockname()[1], home=home)
    assert run.returncode == 2
    assert "cannot listen on 127.0.0.1" in run.stderr
    assert "--port" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "needs an API key"),
        (["--host", "nowhere.invalid"], "needs an API key"),
        (["--tls-cert", "x.pem"], "go together"),
        (["--tls-cert", "x.pem", "--tls-key", "y.pem"], "cannot be used"),
        (["--api-key-file", "missing"], "cannot be read as a key"),
    ],
)
def test_what_it_does_not_begin_with(home: Path, arguments: list[str], said: str) -> None:
    run = verity("serve", "--port", "0", *arguments, home=home)
    assert run.returncode == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_without_the_extra_it_says_what_to_install(home: Path) -> None:
    program = "import sys; sys.modules['fastapi'] = None; from verity.cli import main; main()"
    run = verity("serve", home=home, program=program)
    assert run.returncode == 2
    assert "verity-ai[server]" in run.stderr


def test_nobody_else_pays_for_the_framework(home: Path) -> None:
    program = "import sys; sys.argv[1:] = ['--help']\nimport verity\nfrom verity.cli import cli\n"
    program += "cli.main(standalone_mode=False)\nassert not {'fastapi', 'pydantic', 'uvicorn'} & set(sys.modules)"
    assert verity(home=home, program=program).returncode == 0
