"""A copy of a log is what its owner signed, whatever the source does; two histories become evidence."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import static_server
from made_logs import KEY, ORIGIN, SIGNER, Files, entries, published, read_back, write
from memory_signer import MemorySigner
from static_server import Misdeed, send, serving

from verity.errors import FetchError, FormatError, LogError, ProofError, SignatureError, UsageError, VerityError
from verity.log import evidence, source
from verity.log.checkpoint import open_checkpoint
from verity.log.fsck import Fsck
from verity.log.mirror import INCOMING, Mirror
from verity.log.note import ED25519, VerifierKey
from verity.log.tile_folder import CHECKPOINT, TileFolder
from verity.log.tree import check_consistency


@pytest.fixture
def copy(tmp_path: Path) -> TileFolder:
    return TileFolder(tmp_path / "copy")


def update(copy: TileFolder, files: source.Source) -> int:
    return Mirror(copy, KEY).update(files).fetched


def evidences(copy: TileFolder) -> list[evidence.Fork]:
    found = sorted(copy.root.glob("evidence-*.fork.json"))
    return [evidence.decode_fork(path.read_bytes()) for path in found]


def sound(copy: TileFolder) -> bool:
    return not Fsck(copy, KEY).run().total


@pytest.mark.parametrize(
    "sizes", [(1,), (255, 256, 257), (300, 301, 700), (700, 700), pytest.param((1, 65_537), marks=pytest.mark.slow)]
)
def test_a_copy_is_what_is_published(copy: TileFolder, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        files = published(entries(size))
        update(copy, files)
        assert sound(copy)
        held = read_back(copy.root)
        assert {path: held[path] for path in files} == files
        assert INCOMING not in held


def test_only_what_is_new_is_fetched(copy: TileFolder) -> None:
    update(copy, published(entries(700)))
    files = published(entries(800))
    assert update(copy, files) == 5  # number 2 is full now, 3 begins, of hashes and of entries; and level 1 is wider
    assert "tile/0/000" not in files.asked
    assert "tile/entries/001" not in files.asked
    assert update(copy, published(entries(800))) == 0


def test_the_copy_of_a_copy(copy: TileFolder, tmp_path: Path) -> None:
    update(copy, published(entries(300)))
    again = TileFolder(tmp_path / "again")
    update(again, copy)
    assert read_back(again.root) == read_back(copy.root)


# --- hostile sources --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(published(entries(600))))
def test_one_wrong_byte_anywhere_is_refused_and_not_kept(copy: TileFolder, path: str) -> None:
    files = published(entries(600))
    honest = dict(files)
    files[path] = files[path][:40] + bytes([files[path][40] ^ 1]) + files[path][41:]
    with pytest.raises((ProofError, FormatError, SignatureError)):
        update(copy, files)
    held = read_back(copy.root)
    assert all(honest.get(name) == data for name, data in held.items() if name != INCOMING)
    assert CHECKPOINT not in held
    update(copy, published(entries(600)))  # a good source completes it
    assert sound(copy)


@pytest.mark.parametrize("path", sorted(set(published(entries(600))) - {CHECKPOINT}))
def test_a_missing_tile_is_named(copy: TileFolder, path: str) -> None:
    files = published(entries(600))
    del files[path]
    with pytest.raises(LogError, match="is missing, though the signed head counts it"):
        update(copy, files)


def test_stale_tiles_under_a_new_head(copy: TileFolder) -> None:
    old, new = published(entries(300)), published(entries(301))
    stale = Files({**old, CHECKPOINT: new[CHECKPOINT]})
    with pytest.raises(LogError, match="missing"):
        update(copy, stale)
    stale["tile/0/001.p/45"] = old["tile/0/001.p/44"]
    with pytest.raises(FormatError, match="bytes where"):
        update(copy, stale)
    stale["tile/0/001.p/45"] = old["tile/0/001.p/44"] + bytes(32)
    with pytest.raises(ProofError, match="edge"):
        update(copy, stale)


def test_another_log_key_or_nothing_at_all(copy: TileFolder) -> None:
    stranger = MemorySigner(b"\x01" * 32)
    with pytest.raises(SignatureError):
        update(copy, published(entries(3), stranger))
    with pytest.raises(FormatError, match="is of the log"):
        update(copy, published(entries(3), origin=ORIGIN + "1"))
    with pytest.raises(LogError, match="no checkpoint"):
        update(copy, Files())
    assert read_back(copy.root) == {}


def test_a_log_of_anybody_under_its_own_name(copy: TileFolder) -> None:
    files = published(entries(3), origin="example.org/log")
    mirrored = Mirror(copy, VerifierKey("example.org/log", ED25519, SIGNER.public)).update(files)
    assert mirrored.head.origin == "example.org/log"


# --- set back, forked -------------------------------------------------------------------------------------------------


def test_a_log_that_was_set_back(copy: TileFolder) -> None:
    update(copy, published(entries(700)))
    before = read_back(copy.root)
    with pytest.raises(LogError, match=r"shows 300 entries .* once showed 700"):
        update(copy, published(entries(300)))
    assert read_back(copy.root) == before
    assert evidences(copy) == []


@pytest.mark.parametrize(
    ("kept", "shown", "fork_at"),
    [(300, 300, 299), (300, 300, 0), (300, 700, 299), (256, 700, 3), (700, 300, 10), (512, 256, 255), (1, 2, 0)],
)
def test_two_histories_become_evidence(copy: TileFolder, kept: int, shown: int, fork_at: int) -> None:
    update(copy, published(entries(kept)))
    before = read_back(copy.root)
    forked = published(entries(shown, fork_at))
    with pytest.raises(LogError, match="signed two histories") as caught:
        update(copy, forked)
    (fork,) = evidences(copy)
    assert str(next(copy.root.glob("evidence-*"))) in str(caught.value)
    heads = [open_checkpoint(text, SIGNER.public) for text in fork.checkpoints]
    assert {head.size for head in heads} == {kept, shown}
    first, second = heads
    if kept != shown:
        assert isinstance(fork.prefix, evidence.Prefix)
        root, path = bytes.fromhex(fork.prefix.root), [bytes.fromhex(digest) for digest in fork.prefix.path]
        check_consistency(first.size, second.size, root, second.root, path)
        assert root != first.root
    else:
        assert first.root != second.root
    assert f"The key of the log {ORIGIN} signed" in evidence.check_fork(fork)
    held = read_back(copy.root)
    assert {name: held[name] for name in before} == before
    assert sound(copy)  # the evidence may lie there
    with pytest.raises(LogError, match="two histories"):
        update(copy, forked)
    assert len(evidences(copy)) == 1


def test_a_fork_is_seen_though_the_first_copy_was_never_finished(copy: TileFolder) -> None:
    files = published(entries(600))
    del files["tile/entries/000"]
    with pytest.raises(LogError, match="missing"):
        update(copy, files)
    with pytest.raises(LogError, match="two histories"):
        update(copy, published(entries(700, fork_at=5)))
    with pytest.raises(LogError, match="once showed 600"):
        update(copy, published(entries(500)))
    update(copy, published(entries(700)))
    assert not Fsck(copy, KEY).run().total


def test_a_copy_that_was_damaged_here_is_not_the_sources_fault(copy: TileFolder) -> None:
    update(copy, published(entries(300)))
    place = copy.root / "tile/0/000"
    place.parent.mkdir(parents=True, exist_ok=True)
    (copy.root / CHECKPOINT).unlink()
    place.write_bytes(bytes(8192))
    with pytest.raises(LogError, match=r"the copy in .* is damaged"):
        update(copy, published(entries(300)))
    assert place.read_bytes() == bytes(8192)


# --- killed -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def test_killed_between_any_two_files_the_next_run_completes(copy: TileFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    update(copy, published(entries(260)))
    grown = published(entries(600))
    replace = TileFolder.replace
    runs = 0
    for survive in range(20):
        left = [survive]

        def once(self: TileFolder, path: str, data: bytes, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            replace(self, path, data)

        monkeypatch.setattr(TileFolder, "replace", once)
        with contextlib.suppress(Killed):
            update(copy, Files(grown))
            runs += 1
        monkeypatch.setattr(TileFolder, "replace", replace)
        shown = open_checkpoint((copy.root / CHECKPOINT).read_bytes(), SIGNER.public).size
        if shown == 260:
            problems = Fsck(copy, KEY).run().problems
            assert all("beyond the signed head" in p or "not finished" in p for p in problems)
    assert runs
    assert sound(copy)


# --- over the network -------------------------------------------------------------------------------------------------


def fetch(address: str, copy: TileFolder) -> None:
    with source.opened(address) as given:
        Mirror(copy, KEY).update(given)


def test_over_http(copy: TileFolder) -> None:
    files = published(entries(600))
    with serving(files) as address:
        fetch(address + "/", copy)
    assert read_back(copy.root) == files


def squeezed(handler: object, data: bytes) -> None:
    send(handler, gzip.compress(data), Content_Encoding="gzip")  # type: ignore[arg-type]


BOMB = gzip.compress(bytes(30_000_000), 1)


def bomb(handler: object, _: bytes) -> None:
    send(handler, BOMB, Content_Encoding="gzip")  # type: ignore[arg-type]


def half_squeezed(handler: object, data: bytes) -> None:
    send(handler, gzip.compress(data)[:-9], Content_Encoding="gzip")  # type: ignore[arg-type]


def not_squeezed(handler: object, data: bytes) -> None:
    send(handler, data, Content_Encoding="gzip")  # type: ignore[arg-type]


def strange(handler: object, data: bytes) -> None:
    send(handler, data, Content_Encoding="br")  # type: ignore[arg-type]


def longer(handler: object, data: bytes) -> None:
    send(handler, data + bytes(1))  # type: ignore[arg-type]


def shorter(handler: object, data: bytes) -> None:
    send(handler, data[:-1])  # type: ignore[arg-type]


def test_gzip_is_undone(copy: TileFolder) -> None:
    files = published(entries(300))
    with serving(files, dict.fromkeys(files, squeezed)) as address:
        fetch(address, copy)
    assert read_back(copy.root) == files


@pytest.mark.parametrize(
    ("misdeed", "error", "words"),
    [
        (static_server.redirect, FetchError, "answers 302"),
        (static_server.refused, FetchError, "answers 503"),
        (static_server.endless, FetchError, "sends more than"),
        (static_server.silent, FetchError, "failed"),
        (static_server.drip, FetchError, "takes longer"),
        (static_server.never_begins, FetchError, "takes longer"),
        (static_server.broken_off, FetchError, "failed"),
        (bomb, FetchError, "sends more than"),
        (half_squeezed, FetchError, "breaks off"),
        (not_squeezed, FetchError, "not the gzip"),
        (strange, FetchError, "compressed"),
        (longer, VerityError, "."),
        (shorter, FormatError, "."),
    ],
)
def test_what_a_server_should_not_do(
    copy: TileFolder,
    monkeypatch: pytest.MonkeyPatch,
    misdeed: Misdeed,
    error: type[VerityError],
    words: str,
) -> None:
    if misdeed is static_server.silent:
        monkeypatch.setattr(source, "READ_S", 0.2)
    if misdeed in (static_server.drip, static_server.never_begins):
        monkeypatch.setattr(source, "FILE_S", 0.3)
    for path in (
        (CHECKPOINT, "tile/0/000") if misdeed in (static_server.redirect, longer) else ("tile/entries/001.p/44",)
    ):
        with serving(published(entries(300)), {path: misdeed}) as address, pytest.raises(error, match=words) as caught:
            fetch(address, copy)
        assert caught.value.hint
    assert CHECKPOINT not in read_back(copy.root)


def test_nobody_there_and_what_is_no_source(copy: TileFolder, tmp_path: Path) -> None:
    with serving({}) as address:
        pass
    with pytest.raises(FetchError, match="failed"):
        fetch(address, copy)
    for wrong in ("ftp://example.org", str(tmp_path / "nothing"), "", "http://[::1", "https://exa mple:x/"):
        with pytest.raises(UsageError):
            fetch(wrong, copy)


def link(place: Path) -> None:
    target = place.with_name("elsewhere")
    place.rename(target)
    place.symlink_to(target)


def pipe(place: Path) -> None:
    import os

    place.unlink()
    os.mkfifo(place)


def large(place: Path) -> None:
    place.write_bytes(bytes(1 << 20))


@pytest.mark.parametrize("misdeed", [link, pipe, large])
@pytest.mark.parametrize("path", [CHECKPOINT, "tile/0/000"])
def test_what_a_folder_should_not_hold(
    copy: TileFolder, tmp_path: Path, path: str, misdeed: Callable[[Path], None]
) -> None:
    folder = write(published(entries(300)), tmp_path / "given")
    misdeed(folder / path)
    with pytest.raises(VerityError) as caught:
        update(copy, TileFolder(folder))
    assert caught.value.hint
    assert CHECKPOINT not in read_back(copy.root)
