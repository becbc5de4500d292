"""Releases on a device: added whole or not at all, known under their names, handed out again, revoked for ever."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import tiny
from lora import TINY, lora
from releasing import OTHER, SIGNER, about, publish, write

from verity.errors import (
    FormatError,
    ModelNotFound,
    ReleaseNotFound,
    ReleaseRefused,
    SignatureError,
    StoreError,
    UsageError,
    VerityError,
)
from verity.statements.adapters import AdapterUse
from verity.statements.manifests import SIGNATURE_FILE, File, read_manifest, sign_manifest
from verity.statements.revocation import revoke
from verity.store import gc
from verity.store.adapters import Adapters
from verity.store.admission import Admission
from verity.store.blobs import Blobs
from verity.store.config import CONFIG_FILE, write_publishers
from verity.store.database import Database
from verity.store.importing import add_release, add_revocation, export_release
from verity.store.pull import pull
from verity.store.release_folders import LINKED, check_files, open_release, sign_release
from verity.store.releases import Releases

PAGES = {"LICENSE": b"do as you like\n", "docs/a.md": b"", "docs/b.md": b""}
NOW = "2026-11-27T12:00:00Z"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A release of a model, with pages beside it."""
    publish(tmp_path / "small", {"small.gguf": tiny(), **PAGES})
    return tmp_path / "small"


def known_here(blobs: Blobs) -> list[object]:
    releases = Releases(blobs.database)
    return [*releases.all(), *releases.publishers(), *blobs.models(), *Adapters(blobs).all()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_added_with_its_names_and_handed_out_as_it_was(blobs: Blobs, small: Path, tmp_path: Path) -> None:
    known = add_release(blobs, small, SIGNER.public)
    assert (known.name, known.kind, known.version, known.revoked) == ("small", "model", "1.0", None)
    assert [file.path for file in known.files] == ["LICENSE", "docs/a.md", "docs/b.md", "release.json", "small.gguf"]
    _, model = blobs.resolve("small")
    assert (model.sha256, model.source) == (known.files[-1].sha256, "release small 1.0")
    releases = Releases(blobs.database)
    assert releases.all() == [known]
    assert releases.resolve("small@1.0") == releases.resolve(known.root[:9]) == known
    assert [publisher.id for publisher in releases.publishers()] == [SIGNER.public.id]
    export_release(blobs, known, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(small)
    (tmp_path / "again/small.gguf").write_bytes(b"edited")
    assert blobs.check(model.blake3).size == model.size
    with pytest.raises(UsageError, match="there already"):
        export_release(blobs, known, tmp_path / "again")


def test_to_add_it_again_changes_nothing_and_its_key_is_known_from_then_on(blobs: Blobs, small: Path) -> None:
    with pytest.raises(SignatureError, match="not here"):
        add_release(blobs, small)
    first = add_release(blobs, small, SIGNER.public)
    assert add_release(blobs, small) == first
    assert len(Releases(blobs.database).all()) == len(blobs.models()) == 1
    with pytest.raises(SignatureError, match="another key"):
        add_release(blobs, small, OTHER.public)


def test_versions_stand_beside_each_other_and_the_name_means_the_last_added(blobs: Blobs, tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        publish(tmp_path / version, {"m.gguf": tiny(version)}, version=version)
        add_release(blobs, tmp_path / version, SIGNER.public)
    releases = Releases(blobs.database)
    with pytest.raises(UsageError, match="several"):
        releases.resolve("small")
    assert blobs.resolve("small")[1].source == "release small 2.0"
    assert releases.resolve("small@1.0").version == "1.0"
    with pytest.raises(ReleaseNotFound):
        releases.resolve("small@3.0")


def test_no_strangers_release_takes_a_name_that_means_something_else(blobs: Blobs, small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(tiny("mine"))
    mine = pull(str(tmp_path / "mine.gguf"), blobs, name="small")
    with pytest.raises(UsageError, match="something else"):
        add_release(blobs, small, SIGNER.public)
    assert blobs.resolve("small")[1] == mine
    assert Releases(blobs.database).all() == []
    add_release(blobs, small, SIGNER.public, name="theirs")
    assert blobs.resolve("theirs")[1].blake3 != mine.blake3
    publish(tmp_path / "other", {"m.gguf": tiny("other")}, OTHER, name="theirs")
    with pytest.raises(UsageError, match="something else"):
        add_release(blobs, tmp_path / "other", OTHER.public)
    publish(tmp_path / "reserved", {"m.gguf": tiny()}, name="smollm2-135m-instruct")
    with pytest.raises(UsageError, match="something else"):
        add_release(blobs, tmp_path / "reserved", SIGNER.public)


def test_several_models_are_called_as_their_files_are_and_a_dataset_has_no_model(blobs: Blobs, tmp_path: Path) -> None:
    publish(tmp_path / "two", {"q4.gguf": tiny("a"), "q8.gguf": tiny("b"), "README": b"GGUF, they say"})
    add_release(blobs, tmp_path / "two", SIGNER.public)
    assert [model.name for model in blobs.models()] == ["small-q4", "small-q8"]
    publish(tmp_path / "data", {"rows.gguf": tiny("c")}, kind="dataset", name="data")
    assert add_release(blobs, tmp_path / "data", SIGNER.public).kind == "dataset"
    assert len(blobs.models()) == 2


def test_an_adapters_release_says_its_base_or_its_file_does(blobs: Blobs, tmp_path: Path) -> None:
    base, other = "ab" * 32, "cd" * 32
    publish(tmp_path / "said", {"a.gguf": lora(None, shapes=TINY)}, kind="adapter", name="said", base=base)
    add_release(blobs, tmp_path / "said", SIGNER.public)
    assert Adapters(blobs).resolve("said").base == base
    publish(tmp_path / "file", {"b.gguf": lora(base, seed=2, shapes=TINY)}, kind="adapter", name="file")
    add_release(blobs, tmp_path / "file", SIGNER.public)
    assert Adapters(blobs).resolve("file").base == base
    for name, files, fits in (
        ("neither", {"c.gguf": lora(None, seed=3, shapes=TINY)}, None),
        ("contradiction", {"d.gguf": lora(base, seed=4, shapes=TINY)}, other),
        ("none", {"e.gguf": tiny()}, base),
    ):
        publish(tmp_path / name, files, kind="adapter", name=name, base=fits)
        with pytest.raises((UsageError, FormatError)):
            add_release(blobs, tmp_path / name, SIGNER.public)
    assert len(Releases(blobs.database).all()) == 2


# --- tampering --------------------------------------------------------------------------------------------------------


def _edit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


TAMPERING: dict[str, Callable[[Path], object]] = {
    "a byte of the model": lambda folder: _edit(folder / "small.gguf"),
    "a byte of what is said": lambda folder: _edit(folder / "release.json"),
    "a byte of the signature": lambda folder: _edit(folder / SIGNATURE_FILE),
    "a file less": lambda folder: (folder / "docs/a.md").unlink(),
    "no signature": lambda folder: (folder / SIGNATURE_FILE).unlink(),
    "nothing said": lambda folder: (folder / "release.json").unlink(),
    "a file more": lambda folder: (folder / "extra.py").write_bytes(b"import os"),
    "a hidden file more": lambda folder: (folder / "docs/.extra").write_bytes(b""),
    "a file with the bytes of another": lambda folder: (folder / "LICENSE").write_bytes(
        (folder / "docs/a.md").read_bytes()
    ),
    "a link to a file of the same bytes": lambda folder: _link(folder / "LICENSE"),
    "a link to a folder": lambda folder: _link(folder / "docs"),
    "a pipe in a file's place": lambda folder: _pipe(folder / "LICENSE"),
    "a pipe in the signature's place": lambda folder: _pipe(folder / SIGNATURE_FILE),
    "a folder in a file's place": lambda folder: _folder(folder / "LICENSE"),
}


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    elsewhere = path.parent.parent / f"real-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("name", TAMPERING)
def test_what_was_tampered_with_is_neither_verified_nor_added(name: str, blobs: Blobs, small: Path) -> None:
    opened = open_release(small, SIGNER.public)
    check_files(opened)
    TAMPERING[name](small)
    with pytest.raises((FormatError, SignatureError)):
        check_files(open_release(small, SIGNER.public))
    with pytest.raises((FormatError, SignatureError)):
        add_release(blobs, small, SIGNER.public)
    assert known_here(blobs) == []
    gc.collect(blobs, partial_days=0)
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []


def test_a_file_exchanged_while_it_is_added_is_refused(
    blobs: Blobs, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verity.store import importing

    def late(*arguments: object) -> object:
        opened = open_release(*arguments)  # type: ignore[arg-type]
        (small / "small.gguf").unlink()
        (small / "small.gguf").write_bytes(tiny("evil"))
        return opened

    monkeypatch.setattr(importing, "open_release", late)
    with pytest.raises(FormatError, match=r"small\.gguf"):
        add_release(blobs, small, SIGNER.public)
    assert known_here(blobs) == []


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "docs/../../evil", "a\\b"])
def test_no_signer_writes_outside_the_folder(path: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        sign_manifest("m", [File(path, "ab" * 32)], SIGNER)


def test_what_the_signer_ignores_may_be_there_and_is_named(small: Path, blobs: Blobs, tmp_path: Path) -> None:
    write(small, {".git/config": b"[core]\n"})
    opened = open_release(small, SIGNER.public)
    check_files(opened)
    assert opened.unsigned == [".git/config"]
    known = add_release(blobs, small, SIGNER.public)
    assert ".git/config" not in {file.path for file in known.files}


# --- signing ----------------------------------------------------------------------------------------------------------


def test_large_files_are_linked_and_others_copied(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"large.bin": b"", "small.bin": b"x"})
    with (source / "large.bin").open("wb") as file:
        file.truncate(LINKED)
    manifest = sign_release(about(), [source], tmp_path / "out", SIGNER)
    assert (tmp_path / "out/large.bin").samefile(source / "large.bin")
    assert not (tmp_path / "out/small.bin").samefile(source / "small.bin")
    assert read_manifest((tmp_path / "out" / SIGNATURE_FILE).read_bytes(), SIGNER.public) == manifest
    shutil.rmtree(source)
    check_files(open_release(tmp_path / "out", SIGNER.public))


def test_files_and_folders_are_put_together_and_clashes_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"a": b"1", "sub/b": b"2", ".git/config": b"3", ".gitignore": b"4"})
    two = write(tmp_path / "two", {"c": b"5", "a": b"6", SIGNATURE_FILE: b"old"})
    manifest = sign_release(about(), [one, two / "c"], tmp_path / "out", SIGNER)
    assert [file.path for file in manifest.files] == ["a", "c", "release.json", "sub/b"]
    for sources, why in (
        ([one, two], "two files"),
        ([tmp_path / "nowhere"], "cannot be read"),
        ([write(tmp_path / "three", {"release.json": b"{}"})], "of your own"),
        ([write(tmp_path / "four", {"A": b"", "a": b""})], "differ in case"),
        ([(tmp_path / "empty")], "no files"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(VerityError, match=why):
            sign_release(about(), sources, tmp_path / "refused", SIGNER)
        assert not (tmp_path / "refused").exists()
    with pytest.raises(UsageError, match="there already"):
        sign_release(about(), [one], tmp_path / "out", SIGNER)
    assert list(tmp_path.glob(".release-*")) == []


def test_an_interrupt_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int | None, label: str) -> None:
        raise KeyboardInterrupt

    source = write(tmp_path / "source", {"a": b"1"})
    with pytest.raises(KeyboardInterrupt):
        sign_release(about(), [source], tmp_path / "out", SIGNER, stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


# --- interrupted ------------------------------------------------------------------------------------------------------


def test_an_add_that_is_cut_off_leaves_nothing_half_named(
    blobs: Blobs, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every file that is copied, every one that is adopted, and within the transaction."""
    from verity.store import importing

    def cut_off_at(name: str, count: int) -> None:
        real, calls = getattr(importing, name, None) or getattr(Blobs, name), [0]

        def cut(*arguments: object, **options: object) -> object:
            calls[0] += 1
            if calls[0] == count:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(importing if hasattr(importing, name) else Blobs, name, cut)
            with pytest.raises(KeyboardInterrupt):
                add_release(blobs, small, SIGNER.public)
        assert known_here(blobs) == []
        gc.collect(blobs, partial_days=0)
        assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []

    for name, counts in (("copy_file", (1, 5)), ("adopt", (1, 3, 5)), ("write_release", (1,)), ("write_name", (1,))):
        for count in counts:
            cut_off_at(name, count)
    assert add_release(blobs, small, SIGNER.public).name == "small"


# --- taken away -------------------------------------------------------------------------------------------------------


def test_a_release_keeps_its_files_until_it_is_forgotten(blobs: Blobs, small: Path, tmp_path: Path) -> None:
    known = add_release(blobs, small, SIGNER.public)
    removal = gc.remove(blobs, "small")
    assert (removal.freed, removal.kept_by) == (0, ["the release small"])
    assert gc.collect(blobs, partial_days=0).removed == []
    files = {path: data for path, data in contents(small).items() if path not in (SIGNATURE_FILE, "docs/b.md")}
    assert gc.remove_release(blobs, known) == sum(map(len, files.values()))  # two pages are one blob
    assert Releases(blobs.database).all() == []
    with pytest.raises(ReleaseNotFound):
        export_release(blobs, known, tmp_path / "out")
    add_release(blobs, small)  # the publisher's key stayed
    assert gc.remove_release(blobs, known) < len(tiny())  # the model's name keeps its file
    assert blobs.open(blobs.resolve("small")[1].blake3).size == len(tiny())


def test_what_is_missing_of_a_release_is_said(blobs: Blobs, small: Path, tmp_path: Path) -> None:
    known = add_release(blobs, small, SIGNER.public)
    blobs.place(blobs.resolve("small")[1].blake3).unlink()
    with pytest.raises(ModelNotFound, match="no longer here") as caught:
        export_release(blobs, known, tmp_path / "out")
    assert "add its folder again" in caught.value.hint
    with pytest.raises(ModelNotFound) as caught:
        blobs.open(blobs.resolve("small")[1].blake3)
    assert "verity release add" in caught.value.hint
    assert not (tmp_path / "out").exists()


# --- revoked, and the rules -------------------------------------------------------------------------------------------


def test_a_revocation_is_kept_for_ever_and_the_first_one_stays(blobs: Blobs, small: Path) -> None:
    root = read_manifest((small / SIGNATURE_FILE).read_bytes(), SIGNER.public).root
    data = revoke(root, "small", "a back door", NOW, SIGNER)
    with pytest.raises(SignatureError, match="unknown here"):
        add_revocation(blobs, data)
    add_revocation(blobs, data, SIGNER.public)  # before the release
    again = add_revocation(blobs, revoke(root, "small", "another", "2027-01-01T00:00:00Z", SIGNER))
    assert again.revoked == ("a back door", NOW)
    known = add_release(blobs, small)
    assert known.revoked == ("a back door", NOW)
    with pytest.raises(UsageError, match="not forgotten"):
        gc.remove_release(blobs, known)
    gc.remove(blobs, "small")
    gc.collect(blobs, partial_days=0)  # a revoked release keeps no files
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []
    assert Releases(blobs.database).resolve("small").revoked == ("a back door", NOW)


def test_nobody_else_can_revoke(blobs: Blobs, small: Path) -> None:
    known = add_release(blobs, small, SIGNER.public)
    write_publishers(blobs.folder.parent, [SIGNER.public.id, OTHER.public.id])
    add_revocation(blobs, revoke(known.root, "small", "envy", NOW, OTHER), OTHER.public)
    assert Releases(blobs.database).resolve("small").revoked is None
    Admission(blobs).model("small", known.files[-1].sha256)


def test_the_rules(blobs: Blobs, small: Path) -> None:
    home, sha256 = blobs.folder.parent, "ef" * 32
    Admission(blobs).model("any", sha256)
    with pytest.raises(ReleaseRefused, match="no such release") as caught:
        Admission(blobs, require_release=True).model("any", sha256)
    assert "verity release trust" in caught.value.hint
    known = add_release(blobs, small, SIGNER.public)
    sha256 = known.files[-1].sha256
    (home / CONFIG_FILE).write_text("[models]\nrequire_release = true\n")
    with pytest.raises(ReleaseRefused):  # its publisher is not trusted
        Admission(blobs).model("small", sha256)
    write_publishers(home, [SIGNER.public.id])
    Admission(blobs).model("small", sha256)
    with pytest.raises(ReleaseRefused):
        Admission(blobs).model("any", "ef" * 32)
    use = AdapterUse(base="ab" * 32, blake3="cd" * 32, name="a", scale=1.0, sha256=sha256, size=1)
    with pytest.raises(ReleaseRefused):  # a model is no adapter
        Admission(blobs).adapter(use)
    add_revocation(blobs, revoke(known.root, "small", "a back door", NOW, SIGNER))
    for required in (True, False, None):
        with pytest.raises(ReleaseRefused, match=f"at {NOW}: a back door"):
            Admission(blobs, required).model("small", sha256)
    write_publishers(home, [])
    Admission(blobs, require_release=False).model("small", sha256)


def test_the_same_bytes_in_another_release_are_no_better(blobs: Blobs, small: Path, tmp_path: Path) -> None:
    write_publishers(blobs.folder.parent, [SIGNER.public.id])
    first = add_release(blobs, small, SIGNER.public)
    publish(tmp_path / "next", {"m.gguf": tiny()}, version="1.1")
    add_release(blobs, tmp_path / "next")
    add_revocation(blobs, revoke(first.root, "small", "a back door", NOW, SIGNER))
    with pytest.raises(ReleaseRefused):
        Admission(blobs).model("small", first.files[-1].sha256)


def test_an_adapter_is_used_with_the_base_that_its_release_names(blobs: Blobs, tmp_path: Path) -> None:
    write_publishers(blobs.folder.parent, [SIGNER.public.id])
    base = "ab" * 32
    publish(tmp_path / "calm", {"calm.gguf": lora(None, shapes=TINY)}, kind="adapter", name="calm", base=base)
    known = add_release(blobs, tmp_path / "calm", SIGNER.public)
    sha256 = next(file.sha256 for file in known.files if file.path == "calm.gguf")
    use = AdapterUse(base=base, blake3="cd" * 32, name="calm", scale=1.0, sha256=sha256, size=1)
    Admission(blobs, require_release=True).adapter(use)
    other = AdapterUse(base="cd" * 32, blake3="cd" * 32, name="calm", scale=1.0, sha256=sha256, size=1)
    for required in (True, False):
        with pytest.raises(ReleaseRefused, match="another model"):
            Admission(blobs, required).adapter(other)


def test_a_database_that_cannot_be_used_is_a_store_error(blobs: Blobs, small: Path) -> None:
    known = add_release(blobs, small, SIGNER.public)
    blobs.database.close()
    with pytest.raises(StoreError):
        Admission(blobs, require_release=True).model("small", known.files[-1].sha256)
    blobs.database = Database.open(blobs.folder.parent)
    blobs.database.close()
