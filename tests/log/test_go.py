"""Go judges what this package writes: golang.org/x/mod/sumdb reads the checkpoints, proofs and tiles of a device's log,
and refuses what was tampered with. Whatever Go says of a case, this package says too."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import go_judge
import pytest
from go_judge import GoJudge
from made_logs import entries, read_back

from verity.errors import FormatError, LogError, ProofError, SignatureError, VerityError
from verity.identity.device_key import DeviceKey
from verity.log import tiles
from verity.log.checked_tiles import CheckedTiles
from verity.log.checkpoint import Checkpoint, open_checkpoint
from verity.log.device_log import DeviceLog, Draft
from verity.log.log_index import key_of
from verity.log.source import reader
from verity.log.tile_folder import TileFolder
from verity.log.tiles import ENTRIES, Tile
from verity.log.tree import MemoryTree, check_consistency, check_inclusion, consistency_proof, hash_leaf, root_at
from verity.published_log import PublishedLog
from verity.statements.receipt import Place
from verity.store.database import Database

if go_judge.MISSING:
    pytest.skip(go_judge.MISSING, allow_module_level=True)

SIZE = 600
Case = dict[str, Any]


class Exported(NamedTuple):
    """A device's log of SIZE entries, exported: the folder of its epoch, and what the device itself says."""

    folder: Path
    key: str
    public: bytes
    checkpoint: str
    head: Checkpoint
    entries: list[bytes]
    inclusion: dict[int, list[bytes]]
    consistency: dict[int, tuple[bytes, list[bytes]]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> GoJudge:
    return GoJudge(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("log")
    data = entries(SIZE)

    def build(place: Place) -> Draft:
        return Draft(data[place.index], hashlib.sha256(data[place.index]).digest()[:16], b"{}")

    with Database.open(folder) as database:
        key = DeviceKey.load(folder)
        log = DeviceLog(database, key)
        for _ in range(SIZE):
            log.append(build)
        head = PublishedLog(database, key).export(folder / "out")[0].head
        inclusion = {index: log.prove(index) for index in (0, 1, 255, 256, 511, 512, 598, 599)}
        consistency = {old: (log.root(old), log.prove_consistency(old)) for old in (1, 2, 255, 256, 257, 512, 599, 600)}
        place = folder / "out/0"
        checkpoint = (place / "checkpoint").read_text()
        return Exported(place, str(key_of(key.id, 0)), key.public, checkpoint, head, data, inclusion, consistency)


def flipped(data: bytes, at: int = 7) -> bytes:
    return data[:at] + bytes([data[at] ^ 2]) + data[at + 1 :]


# --- what this package says of a case ---------------------------------------------------------------------------------


def ours(case: Case) -> None:
    """Raises VerityError when this package refuses the case."""
    if case["kind"] == "note":
        head = open_checkpoint(case["note"], bytes.fromhex(case["public"]))
        assert case["note"].startswith(case["text"])
        assert head.size == SIZE
    elif case["kind"] == "inclusion":
        check_inclusion(case["index"], case["size"], hash_leaf(case["entry"]), case["proof"], case["root"])
    elif case["kind"] == "consistency":
        check_consistency(case["old_size"], case["size"], case["old_root"], case["root"], case["proof"])
    elif case["kind"] == "tiles":
        held = case["tiles"]

        def read(tile: Tile) -> bytes:
            if tile.path not in held:
                raise LogError("missing")
            return bytes(held[tile.path])

        node = CheckedTiles(Checkpoint("o", case["size"], case["root"]), read).node
        root_at(case["size"], node)
        if node(0, case["index"]) != hash_leaf(case["entry"]):
            raise ProofError("another entry")


def both(judge: GoJudge, good: list[Case], bad: list[Case]) -> None:
    """Go accepts the good cases and refuses the bad ones, and so does this package."""
    told = judge.verdicts([*good, *bad])
    assert told[: len(good)] == [""] * len(good)
    assert all(told[len(good) :]), [case for case, said in zip(bad, told[len(good) :], strict=True) if not said]
    for case in good:
        ours(case)
    for case in bad:
        with pytest.raises(VerityError) as caught:
            ours(case)
        assert isinstance(caught.value, FormatError | SignatureError | ProofError | LogError)


# --- the cases --------------------------------------------------------------------------------------------------------


def test_checkpoints(judge: GoJudge, exported: Exported) -> None:
    body = exported.checkpoint.partition("\n\n")[0] + "\n"
    good = {
        "kind": "note",
        "key": exported.key,
        "note": exported.checkpoint,
        "text": body,
        "public": exported.public.hex(),
    }
    other = key_of("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", 0)
    changed = [
        {"note": exported.checkpoint.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n"), "text": body.replace("600", "601")},
        {"note": exported.checkpoint.replace("/0\n", "/1\n"), "text": body.replace("/0\n", "/1\n")},
        {"note": exported.checkpoint[:-1]},
        {"note": exported.checkpoint.replace("\n\n", "\n")},
        {"note": body + "\n"},
        {"note": exported.checkpoint[:-8] + "AAAA" + exported.checkpoint[-4:]},
        {"key": str(other), "public": other.public.hex()},
    ]
    both(judge, [good], [{**good, **change} for change in changed])


def test_inclusion(judge: GoJudge, exported: Exported) -> None:
    good, bad = [], []
    for index, proof in exported.inclusion.items():
        case = {"kind": "inclusion", "index": index, "size": SIZE, "root": exported.head.root, "proof": proof}
        case["entry"] = exported.entries[index]
        good.append(case)
        bad += [
            {**case, "entry": flipped(exported.entries[index])},
            {**case, "root": flipped(exported.head.root)},
            {**case, "proof": [flipped(proof[0]), *proof[1:]]},
            {**case, "proof": [*proof[:-1], flipped(proof[-1])]},
            {**case, "proof": proof[:-1]},
            {**case, "proof": [*proof, bytes(32)]},
            {**case, "index": index ^ 1},
            {**case, "index": SIZE},
        ]
    both(judge, good, bad)


def test_consistency(judge: GoJudge, exported: Exported) -> None:
    good, bad = [], []
    for old, (root, proof) in exported.consistency.items():
        case = {"kind": "consistency", "old_size": old, "old_root": root, "size": SIZE, "proof": proof}
        case["root"] = exported.head.root
        good.append(case)
        bad += [
            {**case, "old_root": flipped(root)},
            {**case, "root": flipped(exported.head.root)},
            {**case, "proof": [*proof, bytes(32)]},
        ]
        if proof:
            bad += [
                {**case, "proof": [flipped(proof[0]), *proof[1:]]},
                {**case, "proof": proof[:-1]},
                {**case, "old_size": old - 1 or 3},
            ]
    both(judge, good, bad)


def test_tiles(judge: GoJudge, exported: Exported) -> None:
    files = {path: data for path, data in read_back(exported.folder).items() if path.startswith("tile/")}
    hashes = {path: data for path, data in files.items() if "entries" not in path}
    good, bad = [], []
    for index in (0, 255, 256, 511, 512, 599):
        case = {"kind": "tiles", "size": SIZE, "root": exported.head.root, "index": index, "tiles": hashes}
        case["entry"] = exported.entries[index]
        good.append(case)
        leaf = Tile(0, index // 256, min(256, SIZE - index // 256 * 256)).path
        bad += [
            {**case, "entry": flipped(exported.entries[index])},
            {**case, "root": flipped(exported.head.root)},
            {**case, "tiles": {**hashes, leaf: flipped(hashes[leaf], 32 * (index % 256) + 3)}},
            {**case, "tiles": {**hashes, leaf: hashes[leaf][:-32]}},
            {**case, "tiles": {path: data for path, data in hashes.items() if path != leaf}},
            {**case, "tiles": {**hashes, "tile/1/000.p/2": flipped(hashes["tile/1/000.p/2"])}},
        ]
    both(judge, good, bad)


def test_every_hash_and_path_of_every_tile(judge: GoJudge, exported: Exported) -> None:
    tree = MemoryTree(map(hash_leaf, exported.entries))
    good, bad = [], []
    for tile in tiles.tiles_of(SIZE):
        if tile.level == ENTRIES:
            continue
        data = (exported.folder / tile.path).read_bytes()
        told = [tree.node(8 * tile.level, place) for place in range(256 * tile.number, tile.stop)]
        case = {"kind": "tile", **tile._asdict(), "path": tile.path, "tiles": {tile.path: data}, "proof": told}
        good.append(case)
        bad += [{**case, "tiles": {tile.path: flipped(data)}}, {**case, "tiles": {tile.path: data[:-1]}}]
    for tile in (Tile(0, 1234067), Tile(0, 999, 1), Tile(1, 1000, 255), Tile(5, 0, 3), Tile(0, 10**12)):
        case = {"kind": "path", **tile._asdict(), "path": tile.path}
        good.append(case)
        bad.append({**case, "number": tile.number + 1})
    told_by_go = judge.verdicts([*good, *bad])
    assert told_by_go[: len(good)] == [""] * len(good)
    assert all(told_by_go[len(good) :])


def test_go_reads_the_entries_as_the_leaves(judge: GoJudge, exported: Exported) -> None:
    """Entry bundles are not Go's: what they hold is, by the leaves' hashes."""
    found: list[bytes] = []
    for number in range(3):
        tile = Tile(ENTRIES, number, min(256, SIZE - 256 * number))
        found += tiles.decode_bundle(tile, (exported.folder / tile.path).read_bytes())
    assert found == exported.entries
    files = {p: d for p, d in read_back(exported.folder).items() if p.startswith("tile/") and "entries" not in p}
    case = {"kind": "tiles", "size": SIZE, "root": exported.head.root, "tiles": files}
    indices = range(0, SIZE, 29)
    assert judge.verdicts([{**case, "index": i, "entry": found[i]} for i in indices]) == [""] * len(indices)


def test_proofs_that_this_package_makes_from_tiles(judge: GoJudge, exported: Exported) -> None:
    read = CheckedTiles(exported.head, reader(TileFolder(exported.folder)))
    cases = []
    for old in (1, 100, 256, 300, 599):
        proof = consistency_proof(old, SIZE, read.node)
        root = root_at(old, read.node)
        cases.append({"kind": "consistency", "old_size": old, "old_root": root, "size": SIZE, "proof": proof})
    assert judge.verdicts([{**case, "root": exported.head.root} for case in cases]) == [""] * len(cases)
