"""Taking models away: what goes, what stays, and what a crash leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blake3 import blake3

from verity.errors import ModelNotFound, StoreError
from verity.store import gc, locks
from verity.store.blobs import Blobs
from verity.store.database import Database
from verity.store.gc import collect, remove
from verity.store.pull import pull

MODEL = b"GGUF" + bytes(range(256)) * 400
OTHER = MODEL + b"!"


def pulled(blobs: Blobs, folder: Path, name: str, data: bytes = MODEL) -> str:
    """Pull ``data`` under ``name`` and return its digest."""
    path = folder / f"{name}.gguf"
    path.write_bytes(data)
    return pull(str(path), blobs, name=name).blake3


def rows(blobs: Blobs) -> set[str]:
    with blobs.database.snapshot() as connection:
        return {row[0] for row in connection.execute("SELECT blake3 FROM blobs")}


def files(blobs: Blobs) -> set[str]:
    return {str(path.relative_to(blobs.folder)) for path in blobs.folder.rglob("*") if path.is_file()}


def aged(path: Path, *, days: float) -> Path:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def test_a_name_and_its_file_go(blobs: Blobs, tmp_path: Path) -> None:
    digest = pulled(blobs, tmp_path, "mine")
    assert remove(blobs, "MINE") == ("mine", digest, len(MODEL), [])
    assert (rows(blobs), files(blobs), blobs.models()) == (set(), set(), [])
    with pytest.raises(ModelNotFound):
        blobs.open(digest)
    assert pulled(blobs, tmp_path, "mine") == digest
    assert blobs.open(digest).path.read_bytes() == MODEL


def test_the_file_stays_for_another_name(blobs: Blobs, tmp_path: Path) -> None:
    digest = pulled(blobs, tmp_path, "first")
    pulled(blobs, tmp_path, "second")
    assert remove(blobs, "first") == ("first", digest, 0, ["second"])
    assert blobs.open(digest).path.read_bytes() == MODEL
    assert remove(blobs, "second").freed == len(MODEL)


@pytest.mark.parametrize("wanted", ["other", "digest", "", "../mine"])
def test_what_is_no_name_is_not_removed(blobs: Blobs, tmp_path: Path, wanted: str) -> None:
    digest = pulled(blobs, tmp_path, "mine")
    with pytest.raises(ModelNotFound) as caught:
        remove(blobs, digest if wanted == "digest" else wanted)
    assert "verity models" in caught.value.hint
    assert blobs.open(digest).path.exists()


def test_a_name_whose_file_is_missing_goes_all_the_same(blobs: Blobs, tmp_path: Path) -> None:
    digest = pulled(blobs, tmp_path, "mine")
    blobs.place(digest).unlink()
    assert remove(blobs, "mine").freed == 0
    assert rows(blobs) == set()


def test_a_mapped_model_is_kept_by_whoever_maps_it(blobs: Blobs, tmp_path: Path) -> None:
    import mmap

    digest = pulled(blobs, tmp_path, "mine")
    with blobs.open(digest).path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        remove(blobs, "mine")
        assert not blobs.place(digest).exists()
        assert mapped[:] == MODEL


CRASH = """
import os, sys
from pathlib import Path
from verity.store import gc
from verity.store.blobs import Blobs
from verity.store.database import Database
home = Path(sys.argv[1])
gc._unlink = lambda path: os._exit(9)
blobs = Blobs(home, Database.open(home))
gc.remove(blobs, "mine") if sys.argv[2] == "remove" else gc.collect(blobs)
"""


@pytest.mark.parametrize("how", ["remove", "collect"])
def test_a_crash_leaves_a_file_without_a_row_never_the_reverse(
    home: Path, blobs: Blobs, tmp_path: Path, how: str
) -> None:
    digest = pulled(blobs, tmp_path, "mine")
    if how == "collect":
        pulled(blobs, tmp_path, "mine", OTHER)  # the name moves on, the first blob has none
    done = subprocess.run([sys.executable, "-c", CRASH, str(home), how], timeout=60)
    assert done.returncode == 9
    assert digest not in rows(blobs)
    assert blobs.place(digest).exists()
    assert [item.path for item in collect(blobs).removed] == [blobs.place(digest)]
    assert not blobs.place(digest).exists()


def test_blobs_without_a_name_and_unknown_files_go(blobs: Blobs, tmp_path: Path) -> None:
    old = pulled(blobs, tmp_path, "mine")
    new = pulled(blobs, tmp_path, "mine", OTHER)
    stray = blobs.folder / "ab" / blake3(b"stray").hexdigest()
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    misplaced = blobs.folder / "ab" / new
    misplaced.write_bytes(OTHER)
    (blobs.folder / "notes.txt").write_bytes(b"12")
    link = blobs.folder / "ab" / ("0" * 64)
    link.symlink_to(tmp_path / "mine.gguf")
    (blobs.folder / "mine" / "deep").mkdir(parents=True)
    (blobs.folder / "mine" / "deep" / "file").write_bytes(b"123")
    tried = collect(blobs, dry_run=True)
    assert rows(blobs) == {old, new}
    assert all(os.path.lexists(item.path) for item in tried.removed)
    done = collect(blobs)
    assert done == tried
    why = {item.path: item.why for item in done.removed}
    assert why[blobs.place(old)] == "no name means it"
    assert "database does not know" in why[stray]
    assert set(why) == {blobs.place(old), stray, misplaced, link, blobs.folder / "notes.txt"}
    assert done.freed == len(MODEL) + len(b"stray") + len(OTHER) + 2
    assert [(item.path.name, item.size) for item in done.kept] == [("mine", 3)]
    assert rows(blobs) == {new}
    assert files(blobs) == {f"{new[:2]}/{new}", "mine/deep/file"}
    assert (tmp_path / "mine.gguf").exists()
    assert blobs.open(new).size == len(OTHER)
    assert collect(blobs).removed == []


def test_a_blob_is_never_taken_for_its_damage(blobs: Blobs, tmp_path: Path) -> None:
    digest = pulled(blobs, tmp_path, "mine")
    blobs.place(digest).write_bytes(b"damaged")
    assert collect(blobs).removed == []
    assert blobs.place(digest).read_bytes() == b"damaged"


def test_what_dead_fetches_left_goes_and_what_lives_stays(blobs: Blobs) -> None:
    folder = blobs.make_temporary_folder()
    (folder / "new-dead").mkdir()
    (folder / "new-dead" / "file").write_bytes(bytes(1000))
    (folder / "wheel-dead").mkdir()
    (folder / "wheel-dead" / "a.whl").write_bytes(bytes(500))
    (folder / "new-file").write_bytes(bytes(20))
    with blobs.temporary() as path:
        path.write_bytes(bytes(7))
        done = collect(blobs, partial_days=0)
        assert [item.path.name for item in done.removed] == ["new-dead", "new-file", "wheel-dead"]
        assert done.freed == 1520
        assert [(item.path, item.size, item.why) for item in done.kept] == [(path.parent, 7, "being fetched")]
        assert path.read_bytes() == bytes(7)
    assert list(folder.iterdir()) == []


def test_a_download_that_was_cut_off_stays_for_its_days(blobs: Blobs) -> None:
    folder = blobs.make_temporary_folder()
    for name, days in (("young", 6.9), ("old", 7.1), ("locked", 30.0)):
        (folder / f"{name}.part").write_bytes(bytes(10))
        aged(folder / f"{name}.part", days=days)
        (folder / f"{name}.json").write_bytes(b"{}")
    (folder / "over.json").write_bytes(b"{}")
    lock = locks.hold(folder / "locked.part")
    done = collect(blobs)
    assert {item.path.name for item in done.removed} == {"old.part", "old.json", "over.json"}
    assert {item.path.name: item.why[:14] for item in done.kept} == {
        "locked.part": "being fetched", "young.part": "a download tha"
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == {"young.part", "young.json", "locked.part", "locked.json"}
    os.close(lock)
    assert {item.path.name for item in collect(blobs, partial_days=6).removed} == {
        "young.part", "young.json", "locked.part", "locked.json"
    }  # fmt: skip


def test_leftovers_of_atomic_writes_go_after_an_hour(blobs: Blobs, home: Path) -> None:
    old = [home / ".device.key.abcd_123.tmp", blobs.make_temporary_folder() / ".x.json.abcdefgh.tmp"]
    for path in old:
        path.write_bytes(b"12345")
        aged(path, days=0.05)
    kept = [home / ".device.key.zzzzzzzz.tmp", home / "mine.tmp", home / ".vimrc.tmp", home / "device.key"]
    for path in kept:
        path.write_bytes(b"")
    for path in kept[1:]:
        aged(path, days=100)
    assert {item.path for item in collect(blobs).removed} == set(old)
    assert all(path.exists() for path in kept)


def test_an_empty_home_has_nothing_to_free(blobs: Blobs) -> None:
    assert collect(blobs) == ([], [])


@pytest.mark.parametrize("how", ["remove", "collect"])
def test_removing_is_refused_while_somebody_stores(blobs: Blobs, tmp_path: Path, how: str) -> None:
    digest = pulled(blobs, tmp_path, "mine")
    with blobs.storing(), pytest.raises(StoreError, match="storing") as caught:
        remove(blobs, "mine") if how == "remove" else collect(blobs)
    assert "try again" in caught.value.hint
    assert blobs.open(digest).path.exists()


def test_a_file_that_cannot_be_removed_is_said(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = pulled(blobs, tmp_path, "mine")

    def refuse(self: Path) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match="not permitted"):
        remove(blobs, "mine")
    monkeypatch.undo()
    assert rows(blobs) == set()
    assert gc.collect(blobs).freed == len(MODEL)
    assert not blobs.place(digest).exists()


def test_the_locks_go_with_the_process(home: Path, blobs: Blobs) -> None:
    code = (
        "import os, sys; from pathlib import Path; from verity.store.locks import storing\n"
        "with storing(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(blobs.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="storing"):
            collect(blobs)
        process.kill()
        process.wait(timeout=30)
        assert collect(blobs) == ([], [])


def test_a_second_home_is_not_touched(home: Path, blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with Database.open(tmp_path / "second") as database:
        pulled(Blobs(tmp_path / "second", database), tmp_path, "theirs")
    pulled(blobs, tmp_path, "mine", OTHER)
    assert collect(blobs).removed == []
    assert len(list((tmp_path / "second" / "blobs").rglob("*"))) == 3
