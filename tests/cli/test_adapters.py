"""``verity adapters``: what a user sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import last_json, verity
from gguf import tiny
from lora import TINY, lora


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
