"""The published log as static files: complete, in order, resumable, and never over other content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_logs import read_back

from verity.errors import LogError, UsageError
from verity.identity.device_key import DeviceKey
from verity.log.checkpoint import parse_note
from verity.log.device_log import DeviceLog, Draft
from verity.log.fsck import Fsck
from verity.log.log_index import key_of
from verity.log.tile_folder import TileFolder
from verity.published_log import PublishedLog
from verity.statements.receipt import Place
from verity.store.database import Database


def build(place: Place) -> Draft:
    return Draft(hashlib.sha256(f"{place.origin} {place.index}".encode()).digest(), bytes(16), b"{}")


class Device:
    def __init__(self, home: Path) -> None:
        self.home, self.database, self.key = home, Database.open(home), DeviceKey.load(home)
        self.published = PublishedLog(self.database, self.key)

    def append(self, count: int, epoch: int = 0) -> None:
        for _ in range(count):
            DeviceLog(self.database, self.key, epoch).append(build)

    def sound(self, folder: Path, epoch: int = 0) -> bool:
        return not Fsck(TileFolder(folder / str(epoch)), key_of(self.key.id, epoch)).run().total


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    (tmp_path / "home").mkdir()
    device = Device(tmp_path / "home")
    yield device
    device.database.close()


def test_an_empty_log_has_nothing_to_publish(device: Device, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        device.published.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_first_export_publishes_and_later_ones_only_when_told(device: Device, tmp_path: Path) -> None:
    out = tmp_path / "out"
    device.append(3)
    assert device.published.export(out)[0].written == 2
    assert sorted(read_back(out)) == ["0/checkpoint", "0/tile/0/000.p/3", "0/tile/entries/000.p/3", "index.json"]
    assert (out / "0/checkpoint").stat().st_mode & 0o777 == 0o644
    device.append(2)
    again = device.published.export(out)[0]
    assert (again.head.size, again.written, again.kept) == (3, 0, 2)
    told = device.published.export(out, publish=True)[0]
    assert (told.head.size, told.written) == (5, 2)
    assert device.sound(out)


def test_what_lies_in_the_folder_is_what_a_fresh_export_would_write(device: Device, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for count in (1, 254, 1, 1, 300):
        device.append(count)
        device.published.export(out, publish=True)
        assert device.sound(out)
    device.published.export(tmp_path / "fresh")
    grown, fresh = read_back(out), read_back(tmp_path / "fresh")
    assert {path: grown[path] for path in fresh} == fresh
    assert all(".p/" in path for path in set(grown) - set(fresh))  # of earlier heads


def test_all_epochs_are_listed(device: Device, tmp_path: Path) -> None:
    device.append(2)
    device.append(1, epoch=1700000000000)
    exported = device.published.export(tmp_path / "out")
    listed = json.loads((tmp_path / "out/index.json").read_text())["logs"]
    assert [(row["epoch"], row["size"]) for row in listed] == [(0, 2), (1700000000000, 1)]
    assert [row["origin"] for row in listed] == [each.head.origin for each in exported]
    assert all(row["vkey"].startswith(row["origin"] + "+") for row in listed)
    assert device.sound(tmp_path / "out")
    assert device.sound(tmp_path / "out", 1700000000000)


class Killed(BaseException):
    pass


def test_killed_between_any_two_files_the_next_run_completes(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.append(260)
    device.published.export(tmp_path / "whole", publish=True)
    whole = read_back(tmp_path / "whole")
    replace = TileFolder.replace
    for survive in range(len(whole) + 1):
        left = [survive]

        def once(self: TileFolder, path: str, data: bytes, left: list[int] = left) -> None:
            if not left[0]:
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                (self.root / path).with_name(f".{Path(path).name}.x.tmp").write_bytes(data[:1])  # half a file
                raise Killed
            left[0] -= 1
            replace(self, path, data)

        out = tmp_path / f"out{survive}"
        monkeypatch.setattr(TileFolder, "replace", once)
        try:
            device.published.export(out)
        except Killed:
            held = read_back(out)
            shown = parse_note(held["0/checkpoint"]).size if "0/checkpoint" in held else 0
            assert shown in (0, 260)
            assert shown == 0 or len([p for p in held if "tile/" in p and "tmp" not in p]) == 5
        monkeypatch.setattr(TileFolder, "replace", replace)
        device.published.export(out)
        assert read_back(out) == whole


@pytest.mark.parametrize("path", ["0/tile/0/000.p/5", "0/tile/entries/000.p/5"])
def test_other_content_is_evidence_and_stays(device: Device, tmp_path: Path, path: str) -> None:
    device.append(5)
    out = tmp_path / "out"
    device.published.export(out)
    (out / path).write_bytes(b"x" * len((out / path).read_bytes()))
    before = read_back(out)
    with pytest.raises(LogError, match="something else"):
        device.published.export(out)
    assert read_back(out) == before


def test_a_tile_that_was_lost_is_written_again(device: Device, tmp_path: Path) -> None:
    device.append(257)
    out = tmp_path / "out"
    device.published.export(out)
    whole = read_back(out)
    for path in ("0/tile/0/000", "0/tile/entries/000", "0/tile/1/000.p/1"):
        (out / path).unlink()
        assert device.published.export(out)[0].written == 1
    assert read_back(out) == whole
    (out / "0/tile/0/000").write_bytes(b"short")
    with pytest.raises(LogError, match="something else"):
        device.published.export(out)


def test_a_folder_of_another_device_or_history_is_refused(device: Device, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Device(tmp_path / "other")
    other.append(2)
    other.published.export(tmp_path / "out")
    device.append(2)
    with pytest.raises(LogError, match="not a checkpoint of this device"):
        device.published.export(tmp_path / "out")
    other.append(2)
    other.published.export(tmp_path / "out", publish=True)
    with other.database.transaction() as connection:
        connection.execute("DELETE FROM published WHERE size > 2")
    with pytest.raises(LogError, match="holds 4 entries, and the published head counts 2"):
        other.published.export(tmp_path / "out")
    other.database.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE log_blocks SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND position = 0",
        "UPDATE log_blocks SET hashes = substr(hashes, 33)",
        "UPDATE log_entries SET entry = zeroblob(32) WHERE position = 1",
        "UPDATE log_entries SET entry = x'00' WHERE position = 1",
        "DELETE FROM log_entries WHERE position = 2",
    ],
)
def test_what_is_damaged_on_the_disk_is_not_published(device: Device, tmp_path: Path, damage: str) -> None:
    device.append(5)
    with device.database.transaction() as connection:
        assert connection.execute(damage).rowcount
    with pytest.raises(LogError):
        device.published.export(tmp_path / "out", publish=True)
    assert not [path for path in read_back(tmp_path / "out") if path.endswith("checkpoint")]
