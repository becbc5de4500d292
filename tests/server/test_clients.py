"""The clients that people have, unchanged, on the real model: one list of calls for all, judged by one judge.

The npm client is skipped by name where npm is missing or cannot fetch it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from judging import Call, content, judge
from serve_command import API_KEY, CONTEXT, MODEL, Served

CLIENTS = Path(__file__).parent / "clients"
LIST = (CLIENTS / "calls.json").read_text().replace("$MODEL", MODEL).replace("$LONG", "blue " * 2 * CONTEXT)
CALLS: dict[str, Call] = {call["name"]: call for call in json.loads(LIST)["calls"]}
LIMIT_S = 300

pytestmark = pytest.mark.model


def results(command: list[str], folder: Path, server: Served) -> dict[str, Call]:
    """What a client gave for each call, by the calls' names."""
    run = subprocess.run(
        [*command, server.address, API_KEY], cwd=folder, input=LIST, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert run.returncode == 0, run.stderr
    return {line["name"]: line for line in map(json.loads, run.stdout.splitlines())}


@pytest.fixture(scope="module")
def by_python(server: Served) -> dict[str, Call]:
    return results([sys.executable, "-W", "error", str(CLIENTS / "run_openai.py")], CLIENTS, server)


@pytest.fixture(scope="module")
def npm_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm client in it, as the lock file pins it. Its scripts are not run."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("the npm client is left out: npm is not installed (as root on Debian: VERITY_APT=1 make packages)")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json", "run_openai.mjs"):
        shutil.copy(CLIENTS / name, folder)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    run = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    if run.returncode:
        pytest.skip(f"the npm client is left out: npm cannot fetch it ({run.stderr.strip()[-200:]})")
    return folder


@pytest.fixture(scope="module")
def by_npm(server: Served, npm_client: Path) -> dict[str, Call]:
    return results(["node", "run_openai.mjs"], npm_client, server)


@pytest.mark.parametrize("name", CALLS)
def test_the_python_client(name: str, by_python: dict[str, Call]) -> None:
    judge(CALLS[name], by_python[name], by_python, MODEL)


@pytest.mark.parametrize("name", CALLS)
def test_the_npm_client(name: str, by_npm: dict[str, Call]) -> None:
    judge(CALLS[name], by_npm[name], by_npm, MODEL)


def test_a_seed_gives_both_clients_the_same(by_python: dict[str, Call], by_npm: dict[str, Call]) -> None:
    answered = {name: call.get("arguments", ()) for name, call in CALLS.items() if "error" not in call["expect"]}
    seeded = [name for name, arguments in answered.items() if "seed" in arguments]
    assert len(seeded) > 30
    assert {n: content(by_python[n]) for n in seeded} == {n: content(by_npm[n]) for n in seeded}


@pytest.fixture
def llm(server: Served, tmp_path: Path) -> Callable[..., str]:
    """The command line of `llm`, told of the server as docs/server.md says."""
    model = {"model_id": "local", "model_name": MODEL, "api_base": f"{server.address}/v1", "api_key_name": "verity"}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([{**model, "supports_schema": True}]))  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"verity": API_KEY}))
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "llm", "prompt", "-m", "local", "--no-log", *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, input="")
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def test_llm(llm: Callable[..., str], by_python: dict[str, Call]) -> None:
    asked = ["Why is the sky blue?", "-o", "max_tokens", "8", "-o", "seed", "1", "-o", "temperature", "0"]
    ((text, _),) = content(by_python["chat"])
    assert llm(*asked).strip() == text
    assert llm(*asked, "--no-stream").strip() == text


def test_llm_with_a_schema(llm: Callable[..., str]) -> None:
    colour = {"properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    schema = {"type": "object", **colour, "additionalProperties": False}
    text = llm("What colour is the sky?", "--schema", json.dumps(schema), "-o", "max_tokens", "60", "-o", "seed", "1")
    assert json.loads(text)["colour"] in ("red", "blue")


def test_a_refusal_reaches_the_user_of_llm(llm: Callable[..., str]) -> None:
    with pytest.raises(AssertionError, match="context of 1,024"):
        llm("blue " * 2 * CONTEXT)
