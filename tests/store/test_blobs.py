"""Blobs: what was hashed is what is used, and what is damaged is noticed."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from blake3 import blake3

from verity.errors import DigestMismatch, ModelNotFound, StoreError, UsageError
from verity.store import catalogue
from verity.store.blobs import Blob, Blobs
from verity.store.database import Database


def put(blobs: Blobs, data: bytes, **pins: str) -> Blob:
    with blobs.temporary() as path:
        path.write_bytes(data)
        return blobs.adopt(path, expected_blake3=pins.get("blake3"), expected_sha256=pins.get("sha256"))


def files(blobs: Blobs) -> set[str]:
    """Every file of the store, whole or not, by its path in it."""
    return {str(path.relative_to(blobs.folder)) for path in blobs.folder.rglob("*") if path.is_file()}


def flip_bit(path: Path, *, keep_mtime: bool) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))
    later = before.st_mtime_ns if keep_mtime else before.st_mtime_ns + 1
    os.utime(path, ns=(before.st_atime_ns, later))


def test_a_blob_is_stored_under_its_digest(blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    assert blob.blake3 == blake3(content).hexdigest()
    assert blob.sha256 == hashlib.sha256(content).hexdigest()
    assert blob.size == len(content)
    assert files(blobs) == {f"{blob.blake3[:2]}/{blob.blake3}"}
    assert blobs.open(blob.blake3.upper()) == blob
    assert blob.path.stat().st_mode & 0o777 == 0o600
    for folder in (blobs.folder, blobs.temporary_folder, blob.path.parent):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_the_empty_blob(blobs: Blobs) -> None:
    assert blobs.open(put(blobs, b"").blake3).size == 0


def test_the_right_pins_are_accepted(blobs: Blobs, content: bytes) -> None:
    pins = {"blake3": blake3(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest().upper()}
    put(blobs, content, **pins)
    assert blobs.open(pins["blake3"]).sha256 == pins["sha256"].lower()


@pytest.mark.parametrize("kind", ["blake3", "sha256"])
def test_a_wrong_pin_names_both_values_and_leaves_nothing(blobs: Blobs, content: bytes, kind: str) -> None:
    actual = blake3(content) if kind == "blake3" else hashlib.sha256(content)
    with pytest.raises(DigestMismatch) as caught:
        put(blobs, content, **{kind: "0" * 64})
    assert "0" * 64 in str(caught.value)
    assert actual.hexdigest() in str(caught.value)
    assert files(blobs) == set()


def test_adopting_the_same_bytes_mends_a_damaged_blob(blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    flip_bit(blob.path, keep_mtime=False)
    assert put(blobs, content) == blob
    assert blobs.check(blob.blake3) == blob


def test_a_flipped_bit_is_noticed_on_opening(blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    flip_bit(blob.path, keep_mtime=False)
    with pytest.raises(DigestMismatch, match="changed or damaged") as caught:
        blobs.open(blob.blake3)
    assert "verity pull" in caught.value.hint
    with pytest.raises(DigestMismatch):
        blobs.open(blob.blake3)


def test_a_flipped_bit_under_an_old_time_is_noticed_by_the_full_check(blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    flip_bit(blob.path, keep_mtime=True)
    assert blobs.open(blob.blake3) == blob
    with pytest.raises(DigestMismatch):
        blobs.check(blob.blake3)


def test_a_truncated_blob_is_noticed_under_an_old_time(blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    before = blob.path.stat()
    os.truncate(blob.path, len(content) - 1)
    os.utime(blob.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DigestMismatch):
        blobs.open(blob.blake3)


def test_whether_a_blob_was_touched_is_told_without_reading_it(
    blobs: Blobs, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = put(blobs, content)
    monkeypatch.setattr("verity.store.blobs.measure", lambda *_: pytest.fail("hashed"))
    assert blobs.unchanged(blob.blake3)
    os.utime(blob.path, ns=(1, 1))
    assert not blobs.unchanged(blob.blake3)
    assert not blobs.unchanged(blob.blake3)
    blob.path.unlink()
    with pytest.raises(ModelNotFound):
        blobs.unchanged(blob.blake3)


def test_a_touched_blob_is_hashed_once_more_only(blobs: Blobs, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = put(blobs, content)
    os.utime(blob.path, ns=(1, 1))
    assert blobs.open(blob.blake3) == blob
    monkeypatch.setattr("verity.store.blobs.measure", lambda *_: pytest.fail("hashed again"))
    assert blobs.open(blob.blake3) == blob


def test_a_copy_with_the_same_time_and_size_is_hashed_again(blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    before = blob.path.stat()
    other = blob.path.with_name("other")
    other.write_bytes(content[:-1] + b"!")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, blob.path)
    with pytest.raises(DigestMismatch):
        blobs.open(blob.blake3)


def test_a_link_in_the_place_of_a_blob_is_refused(blobs: Blobs, content: bytes, tmp_path: Path) -> None:
    blob = put(blobs, content)
    blob.path.unlink()
    (tmp_path / "elsewhere").write_bytes(content)
    blob.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="not a regular file"):
        blobs.open(blob.blake3)


def test_a_missing_file_says_how_to_get_it_back(blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    blobs.name("mine", blob.blake3, "https://example.org/my model.gguf")
    blob.path.unlink()
    with pytest.raises(ModelNotFound, match="missing") as caught:
        blobs.open(blob.blake3)
    assert f"verity pull 'https://example.org/my model.gguf' --blake3 {blob.blake3}" in caught.value.hint


def test_a_blob_whose_record_was_lost_is_checked_and_recorded(home: Path, blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    (home / "second").mkdir()
    database = Database.open(home / "second")
    again = Blobs(home, database)
    assert again.open(blob.blake3) == blob
    assert again.resolve(blob.sha256)[1].blake3 == blob.blake3
    database.close()


@pytest.mark.parametrize("digest", ["", "../" * 20, "g" * 64, "0" * 63, "0" * 65])
def test_what_is_no_digest_never_becomes_a_path(blobs: Blobs, digest: str) -> None:
    with pytest.raises(UsageError, match="digest"):
        blobs.open(digest)


def test_an_interrupted_adoption_leaves_no_blob(blobs: Blobs, content: bytes) -> None:
    def interrupt(done: int, total: int | None, label: str) -> None:
        if done > len(content) // 2:
            raise KeyboardInterrupt

    with blobs.temporary() as path:
        path.write_bytes(content)
        with pytest.raises(KeyboardInterrupt):
            blobs.adopt(path, progress=interrupt)
    assert files(blobs) == set()


def test_a_file_that_grows_while_it_is_hashed_is_refused(blobs: Blobs, content: bytes) -> None:
    def grow(done: int, total: int | None, label: str) -> None:
        os.truncate(path, path.stat().st_size + 1)

    with blobs.temporary() as path:
        path.write_bytes(content)
        with pytest.raises(StoreError, match="while it was being read"):
            blobs.adopt(path, progress=grow)
    assert files(blobs) == set()


def test_progress_ends_at_the_size(blobs: Blobs, content: bytes) -> None:
    seen: list[tuple[int, int | None, str]] = []
    blobs.check(put(blobs, content).blake3, lambda *step: seen.append(step))
    assert seen[-1] == (len(content), len(content), "check")
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})


def test_names_lead_to_models(blobs: Blobs, content: bytes) -> None:
    blob = put(blobs, content)
    model = blobs.name("My-Model", blob.blake3, "here")
    assert (model.name, model.blake3, model.sha256, model.size, model.source) == ("my-model", *blob[:3], "here")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", model.added_at)
    assert blobs.models() == [model]
    for wanted in ("my-model", "MY-MODEL", blob.blake3, blob.sha256, blob.blake3[:8], blob.sha256[:20].upper()):
        assert blobs.resolve(wanted) == ("my-model", model)


def test_a_name_can_move_and_the_old_blob_stays(blobs: Blobs, content: bytes) -> None:
    old, new = put(blobs, content), put(blobs, content + b"!")
    blobs.name("m", old.blake3, "here")
    blobs.name("m", new.blake3, "there")
    assert blobs.resolve("m")[1].blake3 == new.blake3
    name, model = blobs.resolve(old.blake3)
    assert (name, model.source) == (old.blake3[:12], "")
    assert blobs.resolve(name)[1].blake3 == old.blake3
    assert blobs.open(old.blake3) == old


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "a b", "é", "deadbeef", "0" * 64, "x" * 101, "a\n"])
def test_a_name_that_could_be_something_else_is_refused(blobs: Blobs, content: bytes, name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        blobs.name(name, put(blobs, content).blake3, "here")


def test_naming_what_is_not_here(blobs: Blobs) -> None:
    with pytest.raises(ModelNotFound):
        blobs.name("m", "0" * 64, "here")


def test_a_prefix_of_several_digests_is_refused(blobs: Blobs) -> None:
    with blobs.database.transaction() as connection:
        for last in "12":
            row = ("ab" * 31 + "0" + last, "cd" * 31 + "0" + last)
            connection.execute("INSERT INTO blobs VALUES (?, ?, 1, 1, 1, 't')", row)
    for prefix in ("ab" * 4, "cd" * 10):
        with pytest.raises(UsageError, match="several"):
            blobs.resolve(prefix)
    assert blobs.resolve("ab" * 31 + "01")[1].blake3.endswith("1")


def test_an_unknown_model_names_the_pull_that_gets_it(blobs: Blobs) -> None:
    entry = catalogue.entries()[0]
    for wanted in (entry.name, entry.blake3, entry.sha256, entry.blake3[:8]):
        with pytest.raises(ModelNotFound) as caught:
            blobs.resolve(wanted)
        assert f"`verity pull {entry.name}`" in caught.value.hint
    with pytest.raises(ModelNotFound) as caught:
        blobs.resolve("./some model.gguf")
    assert "`verity pull './some model.gguf'`" in caught.value.hint
    with pytest.raises(ModelNotFound, match="unheard-of") as caught:
        blobs.resolve("unheard-of")
    assert "verity pull" in caught.value.hint


@pytest.mark.parametrize("place", ["file/x", "/proc/verity"])
def test_a_home_that_cannot_be_written_to(tmp_path: Path, home: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    database = Database.open(home)
    with pytest.raises(StoreError) as caught, Blobs(tmp_path / place, database).temporary():
        pass
    assert "VERITY_HOME" in caught.value.hint
    database.close()
