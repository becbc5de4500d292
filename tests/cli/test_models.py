"""``verity models rm`` and ``verity models gc``: what a user sees of models going away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command import last_json, verity

from verity.node import Node
from verity.store import locks

MODEL = b"GGUF" + bytes(range(256)) * 100


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.gguf"
    path.write_bytes(MODEL)
    return path


def blob_files(home: Path) -> list[Path]:
    return [path for path in (home / "blobs").rglob("*") if path.is_file()]


def test_a_name_goes_then_the_file_then_both_come_back(home: Path, file: Path) -> None:
    digest = last_json(verity("pull", file, "--json", home=home))["blake3"]
    verity("pull", file, "--name", "also", home=home)
    kept = verity("models", "rm", "mine", home=home)
    assert kept.returncode == 0
    assert "the file stays, for also means it too" in kept.stdout
    gone = last_json(verity("models", "rm", "ALSO", "--json", home=home))
    assert gone == {"name": "also", "blake3": digest, "freed": len(MODEL), "kept_by": []}
    assert blob_files(home) == []
    assert last_json(verity("models", "--json", home=home))["models"] == []
    assert verity("pull", file, home=home).returncode == 0
    spoken = verity("models", "rm", "mine", home=home)
    assert spoken.stdout == f"mine is gone, {len(MODEL):,} bytes freed (blake3 {digest})\n"


def test_a_name_that_is_not_here_exits_2(home: Path) -> None:
    run = verity("models", "rm", "gpt-99", "--json", home=home)
    assert run.returncode == 2
    assert "gpt-99" in last_json(run)["error"]
    assert "verity models" in run.stderr
    assert verity("models", "rm", home=home).returncode == 2


def test_gc_says_first_and_does_then(home: Path, file: Path) -> None:
    verity("pull", file, home=home)
    file.write_bytes(MODEL + b"!")
    verity("pull", file, home=home)
    part = home / "blobs" / "tmp" / ("0" * 32 + ".part")
    part.write_bytes(bytes(1234))
    os.utime(part, (0, 0))
    tried = verity("models", "gc", "--dry-run", home=home)
    assert tried.stdout.count("would remove") == 2
    assert tried.stdout.endswith(f"{len(MODEL) + 1234:,} bytes would be freed\n")
    assert len(blob_files(home)) == 3
    assert last_json(verity("models", "gc", "--json", "--dry-run", "--partial-days", "36500", home=home)) == {
        "freed": len(MODEL),
        "dry_run": True,
        "removed": [{"path": str(old_blob(home)), "bytes": len(MODEL), "why": "no name means it"}],
        "kept": [
            {
                "path": str(part),
                "bytes": 1234,
                "why": "a download that was cut off: the same `verity pull` goes on with it",
            }
        ],
    }
    done = verity("models", "gc", home=home)
    assert done.stdout == tried.stdout.replace("would remove", "removed").replace("would be freed", "freed")
    assert [path.stat().st_size for path in blob_files(home)] == [len(MODEL) + 1]
    assert verity("models", "gc", home=home).stdout == "0 bytes freed\n"
    assert verity("models", "check", home=home).returncode == 0


def old_blob(home: Path) -> Path:
    return next(path for path in blob_files(home) if path.stat().st_size == len(MODEL))


@pytest.mark.parametrize("days", ["-1", "x", "nan", "1e9", "36501"])
def test_days_that_are_none_exit_2(home: Path, days: str) -> None:
    run = verity("models", "gc", f"--partial-days={days}", home=home)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


def test_both_are_refused_while_a_model_is_being_stored(home: Path, file: Path) -> None:
    verity("pull", file, home=home)
    with locks.storing(home / "blobs"):
        for arguments in (["rm", "mine"], ["gc"], ["gc", "--dry-run"]):
            run = verity("models", *arguments, home=home)
            assert run.returncode == 1
            assert "another command is storing" in run.stderr
    assert len(blob_files(home)) == 1


@pytest.mark.model
def test_an_answer_goes_on_when_its_model_is_removed(home: Path, model_home: Path) -> None:
    shutil.copytree(model_home, home)
    with Node(home, threads=1) as node:
        stream = node.stream("Tell me a story.", temperature=0, max_tokens=40)
        first = next(stream)
        assert verity("models", "rm", "smollm2-135m-instruct", home=home).returncode == 0
        assert blob_files(home) == []
        rest = "".join(stream)
        assert stream.answer is not None
        assert (stream.answer.text, stream.answer.finish) == (first + rest, "length")
        assert len(stream.answer.tokens) == 40


@pytest.mark.model
def test_a_receipt_is_verified_again_after_its_model_came_back(
    home: Path, model_home: Path, model_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_home, home)
    bundle = tmp_path / "sky.verity.json"
    asked = ["ask", "Why?", "--max-tokens", "4", "--threads", "1"]
    assert verity(*asked, "--save", bundle, home=home).returncode == 0
    assert verity("models", "rm", "smollm2-135m-instruct", home=home).returncode == 0
    run = verity("verify", bundle, "--threads", "1", home=home)
    assert run.returncode == 3
    assert "verity pull smollm2-135m-instruct" in run.stdout
    assert verity("pull", model_path, "--name", "smollm2-135m-instruct", home=home).returncode == 0
    again = verity("verify", bundle, "--threads", "1", home=home)
    assert again.returncode == 0, again.stdout
    assert "came out again, bit for bit" in again.stdout
