"""A published log is derived again: what is wrong, missing or too much in it is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_logs import KEY, ORIGIN, SIGNER, Files, entries, published, read_back, write
from static_server import serving

from verity.errors import FetchError, FormatError, LogError, SignatureError, UsageError
from verity.log import device_copies, log_index, source
from verity.log.fsck import MAX_PROBLEMS, Fsck
from verity.log.log_index import Index, decode_index, key_of, listed, open_head, parse_trusted
from verity.log.tile_folder import CHECKPOINT, INDEX, TileFolder

DEVICE = SIGNER.public.hex()


def problems(folder: Path) -> list[str]:
    return Fsck(TileFolder(folder), KEY).run().problems


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_an_honest_log(tmp_path: Path, size: int) -> None:
    checked = Fsck(TileFolder(write(published(entries(size)), tmp_path)), KEY).run()
    assert (checked.problems, checked.total) == ([], 0)
    assert checked.head is not None
    assert checked.head.size == size


@pytest.mark.parametrize("path", sorted(published(entries(600))))
@pytest.mark.parametrize(
    "edit", [lambda d: d[:50] + bytes([d[50] ^ 4]) + d[51:], lambda d: d[:-1], lambda d: d + b"\n"]
)
def test_every_file_counts(tmp_path: Path, path: str, edit: Callable[[bytes], bytes]) -> None:
    files = published(entries(600))
    write({**files, path: edit(files[path])}, tmp_path)
    assert problems(tmp_path)


@pytest.mark.parametrize("path", sorted(published(entries(600))))
def test_what_is_missing_is_named(tmp_path: Path, path: str) -> None:
    files = published(entries(600))
    del files[path]
    found = problems(write(files, tmp_path))
    assert any("missing" in problem or "no checkpoint" in problem for problem in found)


@pytest.mark.parametrize(
    "path", ["x", "tile/0/003", "tile/0/002.p/89", "tile/8/000", "tile/2/000.p/1", "tile/0/000.tmp", "tile/entries/9"]
)
def test_what_is_too_much_is_named(tmp_path: Path, path: str) -> None:
    folder = write({**published(entries(600)), path: b"x"}, tmp_path)
    (problem,) = problems(folder)
    assert path in problem


def test_tiles_of_earlier_heads_must_be_beginnings(tmp_path: Path) -> None:
    earlier = {path: data for path, data in published(entries(300)).items() if ".p/" in path}
    folder = write({**published(entries(600)), **earlier}, tmp_path)
    assert problems(folder) == []
    other = published(entries(300, fork_at=270))
    for path in ("tile/0/001.p/44", "tile/entries/001.p/44"):
        write({**earlier, path: other[path]}, tmp_path)
        (problem,) = problems(folder)
        assert path in problem
        write(earlier, tmp_path)


def test_many_problems_are_counted_and_some_are_told(tmp_path: Path) -> None:
    extra = {f"x{number}": b"" for number in range(MAX_PROBLEMS + 5)}
    checked = Fsck(TileFolder(write({**published(entries(2)), **extra}, tmp_path)), KEY).run()
    assert (len(checked.problems), checked.total) == (MAX_PROBLEMS, MAX_PROBLEMS + 5)


def test_over_http_and_with_nobody_there() -> None:
    files = published(entries(600))
    with serving(files) as address, source.opened(address) as given:
        assert not Fsck(given, KEY).run().total
    with pytest.raises(FetchError), source.opened(address) as given:
        Fsck(given, KEY).run()


# --- all epochs of a device -------------------------------------------------------------------------------------------


def device_files(sizes: dict[int, int]) -> Files:
    files = Files()
    lines = []
    for epoch, size in sizes.items():
        one = published(entries(size), origin=f"verity/{DEVICE}/{epoch}")
        files |= {f"{epoch}/{path}": data for path, data in one.items()}
        lines.append(listed(epoch, open_head(one[CHECKPOINT], key_of(DEVICE, epoch)), SIGNER.public))
    files[INDEX] = Index(lines).encode()
    return files


def test_all_epochs_are_copied_and_checked(tmp_path: Path) -> None:
    copy = TileFolder(tmp_path / "copy")
    for sizes in ({0: 3}, {0: 3, 17: 300}, {0: 3, 17: 301}):
        given = TileFolder(write(device_files(sizes), tmp_path / "given"))
        copied = device_copies.mirror(given, copy, DEVICE)
        assert {origin: one.head.size for origin, one in copied.items()} == {
            f"verity/{DEVICE}/{epoch}": size for epoch, size in sizes.items()
        }
        assert not any(one.total for one in device_copies.fsck(copy, DEVICE).values())
        held = read_back(copy.root)
        assert {path: held[path] for path in device_files(sizes)} == device_files(sizes)


def test_an_epoch_that_is_listed_no_longer(tmp_path: Path) -> None:
    copy = TileFolder(tmp_path / "copy")
    device_copies.mirror(device_files({0: 3, 17: 4}), copy, DEVICE)
    with pytest.raises(LogError, match="no longer lists epoch 17"):
        device_copies.mirror(device_files({0: 3}), copy, DEVICE)


def test_evidence_about_any_epoch_lies_at_the_top(tmp_path: Path) -> None:
    copy = TileFolder(tmp_path / "copy")
    device_copies.mirror(device_files({0: 3}), copy, DEVICE)
    forked = device_files({0: 3})
    other = published(entries(4, fork_at=0), origin=f"verity/{DEVICE}/0")
    with pytest.raises(LogError, match="two histories"):
        device_copies.mirror(Files({**forked, **{f"0/{path}": data for path, data in other.items()}}), copy, DEVICE)
    assert len(list(copy.root.glob("evidence-*.fork.json"))) == 1
    assert not any(one.total for one in device_copies.fsck(copy, DEVICE).values())


def test_more_than_the_index_lists(tmp_path: Path) -> None:
    folder = TileFolder(write({**device_files({0: 3}), "1/checkpoint": b""}, tmp_path))
    with pytest.raises(LogError, match=r"more in .* than its index lists: 1"):
        device_copies.fsck(folder, DEVICE)


def test_an_index_of_another_device_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(SignatureError):
        device_copies.mirror(device_files({0: 3}), TileFolder(tmp_path), "ab" * 32)
    with pytest.raises(UsageError, match=r"no index\.json"):
        device_copies.fsck(published(entries(3)), DEVICE)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"{}",
        b"[]",
        b'{"logs": [{}]}',
        b'{"logs": [], "more": 1}',
        Index([log_index.Listed("o", 1, 2, "k")] * 2).encode(),
        Index([log_index.Listed("o", -1, 2, "k")]).encode(),
        Index([log_index.Listed("o", 10**15, 2, "k")]).encode(),
        Index([log_index.Listed("o", epoch, 2, "k") for epoch in range(1001)]).encode(),
    ],
)
def test_what_is_no_index(wrong: bytes) -> None:
    with pytest.raises(FormatError):
        decode_index(wrong)


def test_whom_a_reader_trusts() -> None:
    assert parse_trusted(DEVICE.upper()) == DEVICE
    assert parse_trusted(str(KEY)) == KEY
    witness = KEY.__class__(ORIGIN, 4, SIGNER.public)
    for wrong in ("", "abc", DEVICE[:-1], str(witness), str(KEY)[:-4] + "AAA="):
        with pytest.raises(UsageError):
            parse_trusted(wrong)
