"""``verity release``: a publisher's way and an owner's, as users see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import last_json, verity
from gguf import tiny
from lora import TINY, lora
from releasing import OTHER, key_files, write


@pytest.fixture
def publisher(tmp_path: Path) -> Path:
    """A publisher's folder: keys, and a signed release `rel` of a model."""
    folder = write(tmp_path / "publisher", {"small.gguf": tiny(), "about/CARD.md": b"small\n"})
    assert verity("release", "key", "--out", folder / "p.pem", home=tmp_path / "none").returncode == 0
    run = verity("release", "sign", "small", folder / "small.gguf", folder / "about", *signing(folder), home=tmp_path)
    assert run.returncode == 0, run.stderr
    return folder


def signing(folder: Path, out: str = "rel") -> list[Any]:
    return ["--key", folder / "p.pem", "--out", folder / out, "--licence", "Apache-2.0", "--publisher", "Example Lab"]


def said(*arguments: object, home: Path, code: int = 0) -> Any:
    run = verity("release", *arguments, "--json", home=home)
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return last_json(run)


def test_from_a_publishers_key_to_a_device_that_refuses(publisher: Path, home: Path, tmp_path: Path) -> None:
    public = publisher / "p.pub.pem"
    assert (publisher / "p.pem").stat().st_mode & 0o777 == 0o600
    verified = said("verify", publisher / "rel", "--key", public, home=home)
    assert not home.exists()  # it needs no device
    assert [file["path"] for file in verified["files"]] == ["CARD.md", "release.json", "small.gguf"]
    said("add", publisher / "rel", home=home, code=1)
    assert said("trust", public, "--name", "lab", home=home)["id"] == verified["publisher"]
    added = said("add", publisher / "rel", home=home)
    assert (added["root"], added["trusted"], added["revoked"]) == (verified["root"], True, None)
    listed = said("list", home=home)
    assert listed["releases"] == [added]
    assert listed["publishers"] == [{"id": verified["publisher"], "name": "lab", "trusted": True}]
    shown = said("show", "small", home=home)
    assert (shown["release"]["licence"], shown["release"]["publisher"]) == ("Apache-2.0", "Example Lab")
    said("export", "small", "--out", tmp_path / "again", home=home)
    assert said("verify", tmp_path / "again", "--key", public, home=home) == verified
    revocation = tmp_path / "x.revocation.json"
    said("revoke", "small", "--key", publisher / "p.pem", "--reason", "it shouts", "--out", revocation, home=home)
    assert said("add", revocation, home=home) == said("add", revocation, home=home)
    assert "REVOKED" in verity("release", "list", home=home).stdout
    run = verity("ask", "Why?", "--model", "small", home=home)
    assert run.returncode == 1
    assert "it shouts" in run.stderr
    said("remove", "small", home=home, code=2)
    assert said("distrust", "lab", home=home) == {"id": verified["publisher"], "trusted": False}
    assert said("list", home=home)["publishers"][0]["trusted"] is False


def test_words_for_people(publisher: Path, home: Path) -> None:
    public = publisher / "p.pub.pem"
    text = verity("release", "verify", publisher / "rel", "--key", public, home=home).stdout
    assert text.startswith("small 1.0, model: 3 files are as ")
    assert "(not trusted here)" in verity("release", "add", publisher / "rel", "--key", public, home=home).stdout
    assert "(not trusted)" in verity("release", "list", home=home).stdout
    assert "licence      Apache-2.0" in verity("release", "show", "small@1.0", home=home).stdout
    assert verity("release", "trust", public, home=home).stdout.endswith("\n")
    (home / "config.toml").write_text("[models]\nrequire_release = true\n")
    assert "only what a trusted publisher released is loaded" in verity("release", "list", home=home).stdout
    run = verity("ask", "Why?", "--model", "small", home=home)
    assert (run.returncode, "verity release trust" in run.stderr) == (1, True)
    for verb in (["ask", "Why?", "--model", "scripted"], ["embed", "Why?", "--model", "scripted"]):
        assert verity(*verb, home=home).returncode == 1  # the fake is no released model either
        assert verity(*verb, "--no-require-release", home=home).returncode == 0
        assert verity(*verb, home=home, VERITY_REQUIRE_RELEASE="0").returncode == 0
    assert verity("release", "remove", "small", home=home).stdout.startswith("small 1.0 is forgotten, ")
    assert verity("models", "rm", "small", home=home).stdout.startswith("small is gone")


def test_an_adapters_release_with_a_record(publisher: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(tiny())
    base = last_json(verity("pull", tmp_path / "base.gguf", "--json", home=home))["blake3"]
    (tmp_path / "calm.gguf").write_bytes(lora(None, shapes=TINY))
    (tmp_path / "training.json").write_text('{"recipe": {"epochs": 3}}')
    (tmp_path / "figures.json").write_text('[{"name": "calmness", "metric": "share", "value": 0.9, "of": "letters"}]')
    record = ["--training", tmp_path / "training.json", "--evaluations", tmp_path / "figures.json", "--base", "base"]
    arguments = ["calm", tmp_path / "calm.gguf", "--kind", "adapter", *record, *signing(publisher, "calm")]
    said("sign", *arguments, home=home)
    about = json.loads((publisher / "calm/release.json").read_text())
    assert (about["base"], about["training"], about["evaluations"][0]["value"]) == (
        base,
        {"recipe": {"epochs": 3}},
        0.9,
    )
    said("add", publisher / "calm", "--key", publisher / "p.pub.pem", home=home)
    assert last_json(verity("adapters", "--json", home=home))["adapters"][0]["base"] == base


def test_what_cannot_be_done_exits_with_a_hint(publisher: Path, home: Path, tmp_path: Path) -> None:
    private, public, rel = publisher / "p.pem", publisher / "p.pub.pem", publisher / "rel"
    _, other = key_files(tmp_path, OTHER)
    (tmp_path / "bad.json").write_text("[")
    wrong: list[tuple[int, list[Any]]] = [
        (2, ["key", "--out", private]),
        (2, ["sign", "Small", publisher / "small.gguf", *signing(publisher, "no")]),
        (2, ["sign", "small", publisher / "nothing", *signing(publisher, "no")]),
        (2, ["sign", "small", publisher / "small.gguf", *signing(publisher, "rel")]),
        (
            2,
            ["sign", "small", publisher / "small.gguf", *signing(publisher, "no"), "--training", tmp_path / "bad.json"],
        ),
        (2, ["sign", "small", publisher / "small.gguf", *signing(publisher, "no"), "--base", "nobody"]),
        (1, ["verify", rel, "--key", other]),
        (2, ["verify", rel, "--key", private]),
        (2, ["verify", tmp_path / "nowhere", "--key", public]),
        (1, ["add", rel]),
        (2, ["add", tmp_path / "bad.json"]),
        (2, ["show", "small"]),
        (2, ["export", "small", "--out", tmp_path / "x"]),
        (2, ["revoke", "small", "--key", private, "--reason", "x", "--out", tmp_path / "x"]),
        (1, ["revoke", rel, "--key", tmp_path / "publisher.pem", "--reason", "x", "--out", tmp_path / "x"]),
        (2, ["trust", private]),
        (2, ["trust", public, "--name", "a\nb"]),
        (2, ["distrust", "nobody"]),
    ]
    for code, arguments in wrong:
        run = verity("release", *arguments, home=home)
        assert (run.returncode, "Traceback" in run.stderr) == (code, False), (arguments, run.stderr)
        assert run.stderr.startswith("verity: ")
        assert run.stderr.count("\n") > 1 or "not strict JSON" in run.stderr, f"no hint: {arguments}"
    assert not (publisher / "no").exists()
