"""The published log of a device that exchanged its key: both logs stay readable, each under its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import REPLY

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import SignatureError
from verity.log import device_copies
from verity.log.source import opened
from verity.log.tile_folder import TileFolder
from verity.log.tiles import parse_path
from verity.published_log import PublishedLog
from verity.store.database import Database


def test_both_logs_are_published(tmp_path: Path) -> None:
    with verity.open(tmp_path / "home", engine=ScriptedEngine(REPLY)) as node:
        node.ask("Before", max_tokens=2)
        node.publisher.publish(None)
        rotated = node.rotate()
    with verity.open(tmp_path / "home", engine=ScriptedEngine(REPLY)) as node, Database.open(node.home) as database:
        published = PublishedLog(database, node.key)
        assert published.index().count(b"vkey") == 1
        assert published.tile(0, parse_path("tile/0/000.p/1")) is not None
        exported = published.export(tmp_path / "out", publish=True)
        assert [each.head.origin for each in exported] == [f"verity/{rotated.old}/0", rotated.log]
        assert published.export(tmp_path / "out")[0].written == 0
    with opened(str(tmp_path / "out")) as source:
        for number, device in enumerate((rotated.old, rotated.new)):
            (origin,) = device_copies.mirror(source, TileFolder(tmp_path / device), device)
            assert origin == f"verity/{device}/{number}"
            for folder in (source, TileFolder(tmp_path / device)):
                assert not device_copies.fsck(folder, device)[origin].total
        with pytest.raises(SignatureError, match="no log of device"):
            device_copies.mirror(source, TileFolder(tmp_path / "other"), "ab" * 32)
