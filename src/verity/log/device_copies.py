"""All epochs of one device's log, as an export lays them out: copied, and derived again. See log/log_index.py."""

from __future__ import annotations

import os

from verity.errors import LogError, SignatureError, UsageError
from verity.log import log_index
from verity.log.evidence import SUFFIX
from verity.log.fsck import Checked, Fsck
from verity.log.log_index import Index, decode_index, key_of
from verity.log.mirror import EVIDENCE, Mirror, Mirrored
from verity.log.note import VerifierKey
from verity.log.source import Below, Source
from verity.log.tile_folder import INDEX, TileFolder
from verity.store.home import guarded
from verity.store.reading import Progress


def mirror(
    source: Source, folder: TileFolder, key: str | VerifierKey, progress: Progress | None = None
) -> dict[str, Mirrored]:
    """Bring a copy up to date: of all logs of a device, or of the one with this key. By origin.

    Raises as ``Mirror.update`` does, and LogError when an epoch that the copy has is listed no longer.
    """
    if isinstance(key, VerifierKey):
        return {key.name: Mirror(folder, key).update(source, progress)}
    epochs = _listed(source, key)
    if gone := _epochs(folder) - set(epochs):
        raise LogError(
            f"the source no longer lists epoch {min(gone)} of this device, which the copy has",
            "it lost or hides a log: keep the copy, and try another source",
        )
    copied = {}
    for epoch in epochs:
        below = TileFolder(folder.root / str(epoch))
        one = Mirror(below, key_of(key, epoch), folder)
        copied[epoch] = one.update(Below(source, str(epoch)), progress)
    with folder.writing():
        lines = [log_index.listed(epoch, one.head, bytes.fromhex(key)) for epoch, one in copied.items()]
        folder.replace(INDEX, Index(lines).encode())
    return {one.head.origin: one for one in copied.values()}


def fsck(source: Source, key: str | VerifierKey, progress: Progress | None = None) -> dict[str, Checked]:
    """Derive again all logs of a device, or the one with this key. By origin. Raises FetchError, FormatError,
    LogError."""
    if isinstance(key, VerifierKey):
        return {key.name: Fsck(source, key).run(progress)}
    checked = {}
    for epoch in _listed(source, key):
        place = TileFolder(source.root / str(epoch)) if isinstance(source, TileFolder) else Below(source, str(epoch))
        checked[f"verity/{key}/{epoch}"] = Fsck(place, key_of(key, epoch)).run(progress)
    if isinstance(source, TileFolder) and (extra := _extra(source, _index(source))):
        raise LogError(f"there is more in {source.root} than its index lists: {extra}", "it belongs to no log")
    return checked


def _listed(source: Source, device: str) -> list[int]:
    """The epochs in which the device had this key: after a rotation it goes on under another."""
    epochs = sorted(log.epoch for log in _index(source).logs if log.origin == f"verity/{device}/{log.epoch}")
    if not epochs:
        raise SignatureError(f"the index lists no log of device {device[:16]}…", "check the address and the key")
    return epochs


def _index(source: Source) -> Index:
    data = source.read(INDEX, log_index.MAX_BYTES)
    if data is None:
        hint = (
            "give the folder or address that has an index.json (`verity serve --publish-log` has it below /log); "
            "for one log alone, its key: --key NAME+KEYID+BASE64"
        )
        raise UsageError("there is no index.json that lists a device's logs", hint)
    return decode_index(data)


def _epochs(folder: TileFolder) -> set[int]:
    return {int(name) for name in _names(folder) if name.isdecimal() and (folder.root / name).is_dir()}


def _names(folder: TileFolder) -> list[str]:
    with guarded(folder.root):
        return sorted(os.listdir(folder.root)) if folder.root.is_dir() else []


def _extra(folder: TileFolder, index: Index) -> str:
    epochs = {str(log.epoch) for log in index.logs}
    names = (name for name in _names(folder) if name != INDEX and name not in epochs)
    return ", ".join(name for name in names if not (name.startswith(EVIDENCE) and name.endswith(SUFFIX)))[:300]
