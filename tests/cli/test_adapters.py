"""``verity adapters``: what a user sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import last_json, verity
from gguf import tiny
from lora import TINY, lora

from verity.engines.scripted import ScriptedEngine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "calm.gguf"
    path.write_bytes(lora(None, shapes=TINY))
    return path


def test_added_listed_and_removed(home: Path, tmp_path: Path, file: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(tiny())
    base = last_json(verity("pull", tmp_path / "base.gguf", "--json", home=home))["blake3"]
    added = last_json(verity("adapters", "add", file, "--base", "base", "--json", home=home))
    assert (added["name"], added["base"], added["size"]) == ("calm", base, file.stat().st_size)
    assert last_json(verity("adapters", "--json", home=home)) == {"adapters": [added]}
    assert verity("adapters", home=home).stdout.endswith("…  for base\n")
    verity("models", "rm", "base", home=home)
    assert "(not here)" in verity("adapters", home=home).stdout
    gone = last_json(verity("adapters", "remove", "calm", "--json", home=home))
    assert gone == {"name": "calm", "blake3": added["blake3"], "freed": added["size"], "kept_by": []}
    assert last_json(verity("adapters", "--json", home=home)) == {"adapters": []}
    said = verity("adapters", "add", file, "--name", "mine", "--base", base, home=home)
    assert said.stdout == f"mine: {added['size']:,} bytes\n  blake3 {added['blake3']}\n  base   {base}\n"
    assert verity("adapters", "remove", "mine", home=home).stdout.startswith("mine is gone, ")


def test_what_cannot_be_added_exits_2(home: Path, tmp_path: Path, file: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(tiny())
    for arguments in (["add", file], ["add", tmp_path / "m.gguf"], ["add", "nothing.gguf"], ["remove", "x"], ["add"]):
        run = verity("adapters", *arguments, home=home)
        assert run.returncode == 2
        assert "Traceback" not in run.stderr
    assert "--base" in verity("adapters", "add", file, home=home).stderr


@pytest.mark.model
def test_asked_with_verified_with_and_refused_without(home: Path, tmp_path: Path, file: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(tiny())
    verity("pull", tmp_path / "base.gguf", home=home)
    verity("adapters", "add", file, "--base", "base", home=home)
    bundle = tmp_path / "b.verity.json"
    asked = ["ask", "Why?", "--model", "base", "--max-tokens", "4", "--threads", "1", "--show", "adapters"]
    run = verity(*asked, "--adapter", "calm=0.5", "--save", bundle, home=home)
    assert run.returncode == 0, run.stderr
    assert last_json(verity("show", bundle, "--json", home=home))
    named = ["verify", bundle, "--model", "base", "--threads", "1"]
    run = verity(*named, "--adapter", "calm", home=home)
    assert run.returncode == 0, run.stdout
    assert "adapters as expected: calm" in run.stdout
    run = verity(*named, "--no-replay", home=home)
    assert run.returncode == 1
    assert "name them with --adapter" in run.stdout


@pytest.mark.parametrize("said", ["calm=", "calm=x", "calm=nan", "calm=0", "calm=17", "nobody", "=1", ""])
def test_an_adapter_that_cannot_be_used_exits_2(home: Path, file: Path, said: str) -> None:
    base = ScriptedEngine().model["blake3"]
    verity("adapters", "add", file, "--base", base, home=home)
    run = verity("ask", "Why?", "--model", "scripted", "--adapter", said, home=home)
    assert run.returncode == 2, run.stdout
    assert "Traceback" not in run.stderr
