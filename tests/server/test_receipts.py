"""From a program's request to a stranger's belief: the receipt of an answer over HTTP is fetched and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from command import last_json, verity
from serve_command import API_KEY, MODEL, Served

PROMPT = "Why is the sky blue?"
NONCE, ANOTHER = "5eed" * 16, "0dd0" * 16

pytestmark = pytest.mark.model


class Answered(NamedTuple):
    text: str
    device: str
    bundle: dict[str, Any]


def client(server: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=server.address, headers={"Authorization": f"Bearer {key}"}, timeout=300)


@pytest.fixture(scope="module")
def answered(server: Served) -> Answered:
    """A chat of a program, and the bundle of its receipt, which the owner fetched."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 8}
    with client(server, API_KEY) as program, client(server, server.owner_key) as owner:
        reply = program.post("/v1/chat/completions", json=asked, headers={"x-verity-nonce": NONCE}).json()
        address = f"/v1/receipts/{reply['verity']['receipt']}"
        assert "disclosure" not in program.get(address).json()
        bundle = owner.get(address).json()
    return Answered(reply["choices"][0]["message"]["content"], reply["verity"]["device"], bundle)


def verified(answered: Answered, server: Served, folder: Path, *options: str) -> tuple[int, dict[str, str]]:
    """Exit code and checks of `verity verify`."""
    path = folder / "answer.verity.json"
    path.write_text(json.dumps(answered.bundle))
    run = verity("verify", path, "--json", "--threads", "1", *options, home=server.home)
    return run.returncode, {check["name"]: check["status"] for check in last_json(run)["checks"]}


def test_it_is_verified_on_the_command_line(answered: Answered, server: Served, tmp_path: Path) -> None:
    expected = ("--key", answered.device, "--model", MODEL, "--prompt", PROMPT)
    code, checks = verified(answered, server, tmp_path, *expected, "--nonce", NONCE)
    assert code == 0
    assert {checks[name] for name in ("signed", "logged", "model", "prompt", "nonce", "replayed-exact")} == {"passed"}
    assert checks["seed-origin"] == "not made"  # the device could still have varied what no policy pins
    code, checks = verified(answered, server, tmp_path, *expected, "--nonce", ANOTHER, "--no-replay")
    assert code == 1
    assert checks["seed-origin"] == "failed"


@pytest.mark.parametrize("nonce", [NONCE, ANOTHER])
def test_it_is_verified_over_http(answered: Answered, server: Served, nonce: str) -> None:
    asked = {"bundle": answered.bundle, "key": answered.device, "nonce": nonce, "prompt": PROMPT, "replay": True}
    with client(server, API_KEY) as program:
        report = program.post("/v1/verify", json=asked).json()
    checks = {check["name"]: check["status"] for check in report["checks"]}
    assert checks["replayed-exact"] == "passed"
    assert checks["seed-origin"] == ("not made" if nonce == NONCE else "failed")
    assert report["passed"] == (nonce == NONCE)


def test_another_text_is_not_believed(answered: Answered, server: Served) -> None:
    bundle = json.dumps(answered.bundle)
    assert answered.text in bundle
    altered = json.loads(bundle.replace(answered.text, answered.text.replace("sky", "sea").upper()))
    with client(server, API_KEY) as program:
        report = program.post("/v1/verify", json={"bundle": altered, "replay": False}).json()
    assert not report["passed"]
    assert report["exit_code"] == 1
