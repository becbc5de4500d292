"""Pulling and removing at once: at every point of a pull, a removal waits its turn or is refused, and no row loses its
file. Where the order is forced, it is forced from inside: progress is told in the middle of each step."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from verity.errors import ModelNotFound, StoreError
from verity.store import gc, locks
from verity.store.blobs import Blobs, Model
from verity.store.database import Database
from verity.store.gc import collect, remove
from verity.store.pull import pull

MODEL = b"GGUF" + bytes(range(256)) * 40_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.gguf"
    path.write_bytes(MODEL)
    return path


@pytest.fixture
def other(home: Path) -> Iterator[Blobs]:
    """The same store as another process has it."""
    with Database.open(home) as database:
        yield Blobs(home, database)


def assert_every_row_has_its_file(blobs: Blobs) -> None:
    with blobs.database.snapshot() as connection:
        for (digest,) in connection.execute("SELECT blake3 FROM blobs").fetchall():
            assert blake3(blobs.place(digest).read_bytes()).hexdigest() == digest


def test_while_a_file_is_copied_gc_runs_and_leaves_it(file: Path, blobs: Blobs, other: Blobs) -> None:
    seen: list[gc.Collected] = []

    def meanwhile(done: int, total: int | None, label: str) -> None:
        if label == "copy":
            seen.append(collect(other, partial_days=0))

    model = pull(str(file), blobs, progress=meanwhile)
    assert len(seen) > 1
    assert all(not each.removed and each.kept[0].why == "being fetched" for each in seen)
    assert blobs.open(model.blake3).path.read_bytes() == MODEL


@pytest.mark.parametrize("here_already", [False, True])
def test_from_the_check_to_the_name_nobody_removes(
    file: Path, blobs: Blobs, other: Blobs, monkeypatch: pytest.MonkeyPatch, here_already: bool
) -> None:
    digest = blake3(MODEL).hexdigest()
    if here_already:
        pull(str(file), blobs, name="first")
    refused: list[str] = []

    def attempt(where: str) -> None:
        for removing in (lambda: remove(other, "first"), lambda: collect(other)):
            with pytest.raises(StoreError, match="storing"):
                removing()
            refused.append(where)

    name = Blobs.name

    def naming(self: Blobs, *arguments: str) -> Model:
        attempt("name")
        return name(self, *arguments)

    monkeypatch.setattr(Blobs, "name", naming)
    pull(
        str(file), blobs, name="mine", blake3=digest,
        progress=lambda done, total, label: attempt(label) if label == "check" else None,
    )  # fmt: skip
    assert set(refused) == {"check", "name"}
    assert blobs.open(digest).path.read_bytes() == MODEL


def test_a_model_removed_while_it_is_checked_gets_no_row_back(file: Path, blobs: Blobs, other: Blobs) -> None:
    digest = pull(str(file), blobs).blake3
    gone: list[gc.Removal] = []

    def meanwhile(done: int, total: int | None, label: str) -> None:
        if not gone:
            gone.append(remove(other, "mine"))

    with pytest.raises(ModelNotFound, match="missing"):
        blobs.check(digest, meanwhile)
    assert gone
    assert_every_row_has_its_file(blobs)
    with pytest.raises(ModelNotFound):
        blobs.resolve(digest)


def test_a_pull_of_what_is_being_removed_waits_and_fetches_anew(
    file: Path, home: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = pull(str(file), blobs).blake3
    outcome: list[Model] = []

    def pull_again() -> None:
        with Database.open(home) as database:
            outcome.append(pull(str(file), Blobs(home, database), blake3=digest))

    thread = threading.Thread(target=pull_again)
    unlink = gc._unlink

    def unlinking(path: Path) -> int:
        thread.start()  # the rows are gone, the file is still there: the worst moment
        thread.join(timeout=0.5)
        assert thread.is_alive()
        assert outcome == []
        return unlink(path)

    monkeypatch.setattr(gc, "_unlink", unlinking)
    assert remove(blobs, "mine").freed == len(MODEL)
    thread.join(timeout=60)
    assert [model.name for model in outcome] == ["mine"]
    assert blobs.open(digest).path.read_bytes() == MODEL


def test_a_pull_in_another_process_waits_for_a_removal(file: Path, home: Path, blobs: Blobs) -> None:
    code = "import sys; from verity.cli import main; main()"
    command = [sys.executable, "-c", code, "pull", str(file), "--home", str(home)]
    with locks.removing(blobs.folder):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1.5)
        assert blobs.models() == []
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert [model.name for model in blobs.models()] == ["mine"]


PULL_ON = """
import sys, time
from pathlib import Path
from verity.store.blobs import Blobs
from verity.store.database import Database
from verity.store.pull import pull
home, file, digest, seconds = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
until, pulls = time.monotonic() + seconds, 0
with Database.open(home) as database:
    while time.monotonic() < until:
        assert pull(file, Blobs(home, database), blake3=digest if pulls % 2 else None).blake3 == digest
        pulls += 1
print(pulls)
"""


def test_two_processes_one_pulling_one_removing(tmp_path: Path, home: Path, blobs: Blobs) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(MODEL[:300_000])
    digest = blake3(MODEL[:300_000]).hexdigest()
    command = [sys.executable, "-c", PULL_ON, str(home), str(path), digest, "2.5"]
    removed = refused = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                removed += remove(blobs, "mine").freed > 0
                collect(blobs, partial_days=0)
            except ModelNotFound:
                pass
            except StoreError as error:
                assert "storing" in str(error)  # noqa: PT017 - a refusal is one of the outcomes
                refused += 1
            assert_every_row_has_its_file_if_alone(blobs)
            time.sleep(0.003)
        said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert int(said) > 5
    assert removed > 5
    assert refused > 0
    collect(blobs, partial_days=0)
    assert_every_row_has_its_file(blobs)
    assert {p.name for p in blobs.folder.rglob("*") if p.is_file()} <= {digest}


def assert_every_row_has_its_file_if_alone(blobs: Blobs) -> None:
    try:
        with locks.removing(blobs.folder):
            assert_every_row_has_its_file(blobs)
    except StoreError:
        pass
