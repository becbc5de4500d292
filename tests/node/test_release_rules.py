"""What the owner's rules refuse is not opened, on any way in: asking, embedding, scoring, networks, the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import networks
import pytest
from calling import CHAT
from gguf import tiny
from in_process import REPLY
from lora import TINY, lora
from releasing import SIGNER, publish
from served import OWNER, served

import verity
from verity.engines import llama, onnx
from verity.engines.scripted import ScriptedEngine
from verity.errors import FormatError, ReleaseRefused
from verity.node import Node
from verity.server.app import make_app
from verity.server.gate import Rules
from verity.server.keys import Keys
from verity.server.serving import Serving, Settings
from verity.statements.revocation import revoke
from verity.store.adapters import Adapters
from verity.store.config import CONFIG_FILE, REQUIRE_RELEASE, write_publishers
from verity.store.importing import add_release, add_revocation
from verity.store.pull import pull

BEARER = {"Authorization": f"Bearer {OWNER}"}
NOW = "2026-11-27T12:00:00Z"


@pytest.fixture
def node(home: Path, tmp_path: Path) -> Iterator[Node]:
    """A device with a model that nobody released."""
    with verity.open(home, threads=1) as node:
        (tmp_path / "tiny.gguf").write_bytes(tiny())
        pull(str(tmp_path / "tiny.gguf"), node.blobs)
        yield node


def require(node: Node) -> None:
    (node.home / CONFIG_FILE).write_text("[models]\nrequire_release = true\n")
    write_publishers(node.home, [SIGNER.public.id])


def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a model's file fails the test."""

    def opened(*arguments: object, **options: object) -> None:
        pytest.fail("a model's file was opened")

    monkeypatch.setattr(llama.LlamaEngine, "__init__", opened)
    monkeypatch.setattr(onnx.OnnxNetwork, "__init__", opened)
    monkeypatch.setattr("verity.store.pull.pull", opened)


def test_every_way_in_is_refused_before_a_file_is_opened(node: Node, tmp_path: Path, monkeypatch: Any) -> None:
    require(node)
    never(monkeypatch)
    networks.store(node, networks.policy(), tmp_path)
    ways: list[Any] = [
        lambda: node.ask("Why?", model="tiny"),
        lambda: node.load("tiny"),
        lambda: node.embed(["Why?"], model="tiny"),
        lambda: node.score("Why?", model="tiny"),
        lambda: node.conversation(model="tiny").ask("Why?"),
        lambda: node.network("policy"),
        lambda: node.session("policy"),
        node.load,  # the default model, which would be fetched
    ]
    for way in ways:
        with pytest.raises(ReleaseRefused, match="no such release"):
            way()
    assert node.log.size() == 0


def test_a_rule_that_cannot_be_read_lets_nothing_in(node: Node, monkeypatch: Any) -> None:
    never(monkeypatch)
    (node.home / CONFIG_FILE).write_text("[models]\nrequire_releases = true\n")
    with pytest.raises(FormatError, match="require_releases"):
        node.load("tiny")


def test_an_argument_and_the_environment_go_before_the_file(home: Path, monkeypatch: Any) -> None:
    script = ScriptedEngine(REPLY)
    with verity.open(home, engine=script) as node:
        (home / CONFIG_FILE).write_text("[models]\nrequire_release = true\n")
        with pytest.raises(ReleaseRefused):
            node.ask("Why?")
        monkeypatch.setenv(REQUIRE_RELEASE, "0")
        node.ask("Why?")
    with verity.open(home, engine=script, require_release=True) as node, pytest.raises(ReleaseRefused):
        node.ask("Why?")
    monkeypatch.setenv(REQUIRE_RELEASE, "1")
    with verity.open(home, engine=script, require_release=False) as node:
        node.ask("Why?")


@pytest.mark.model
def test_a_released_model_and_adapter_answer_until_they_are_revoked(node: Node, tmp_path: Path) -> None:
    require(node)
    model = publish(tmp_path / "model", {"m.gguf": tiny()}, name="tiny")
    add_release(node.blobs, tmp_path / "model", SIGNER.public)
    base = node.blobs.resolve("tiny")[1].blake3
    (tmp_path / "calm.gguf").write_bytes(lora(base, shapes=TINY))
    Adapters(node.blobs).add(tmp_path / "calm.gguf")
    assert node.ask("Why?", model="tiny", max_tokens=2).tokens
    with pytest.raises(ReleaseRefused, match="the adapter calm is in no such release"):
        node.ask("Why?", model="tiny", max_tokens=2, adapters=["calm"])
    adapter = publish(tmp_path / "calm", {"calm.gguf": lora(base, shapes=TINY)}, kind="adapter", name="calm", base=base)
    add_release(node.blobs, tmp_path / "calm")
    assert node.ask("Why?", model="tiny", max_tokens=2, adapters=["calm"]).tokens
    loaded = node.load("tiny")  # it stays loaded, and is refused all the same
    add_revocation(node.blobs, revoke(adapter.root, "calm", "it shouts", NOW, SIGNER))
    with pytest.raises(ReleaseRefused, match="it shouts"):
        node.ask("Why?", model="tiny", max_tokens=2, adapters=["calm"])
    assert node.load("tiny").engine is loaded.engine
    add_revocation(node.blobs, revoke(model.root, "tiny", "a back door", NOW, SIGNER))
    (node.home / CONFIG_FILE).write_text(f'[models]\npublishers = ["{SIGNER.public.id}"]\n')
    with pytest.raises(ReleaseRefused, match="a back door"):
        node.load("tiny")
    write_publishers(node.home, [])
    assert node.load("tiny").engine is loaded.engine


def test_over_http_what_is_refused_is_said_and_what_is_revoked_ends(home: Path, tmp_path: Path) -> None:
    """The script of the fake engine is what its digest is of, so that it can be released like a model."""
    manifest = publish(tmp_path / "script", {"script": REPLY.encode()}, name="script")
    asked = {"model": "scripted", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 3}

    async def main() -> list[httpx.Response]:
        serving = Serving(home, Settings(parallel=2), engine=ScriptedEngine(REPLY, sequences=2))
        await serving.start()
        got = []
        try:
            async with (
                served(make_app(serving, Rules(Keys(OWNER)))) as port,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=BEARER) as http,
            ):
                with verity.open(home, engine=ScriptedEngine(REPLY)) as node:
                    require(node)
                    got.append(await http.post(CHAT, json=asked))
                    add_release(node.blobs, tmp_path / "script", SIGNER.public)
                    got.append(await http.post(CHAT, json=asked))
                    add_revocation(node.blobs, revoke(manifest.root, "script", "it lies", NOW, SIGNER))
                    got.append(await http.post(CHAT, json=asked))
        finally:
            await serving.stop(0)
        return got

    refused, answered, revoked = asyncio.run(main())
    assert [reply.status_code for reply in (refused, answered, revoked)] == [403, 200, 403]
    assert refused.json()["error"]["code"] == revoked.json()["error"]["code"] == "model_refused"
    assert "verity release add" in refused.json()["error"]["message"]
    assert f"at {NOW}: it lies" in revoked.json()["error"]["message"]
