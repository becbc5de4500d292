from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import ProofError
from verity.log import tree

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/merkle.json").read_text())
LEAVES = [tree.hash_leaf(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
WHOLE = tree.MemoryTree(LEAVES)


def raw(text: str) -> bytes:
    return base64.b64decode(text)


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=f"{at}-{case['desc']}") for at, case in enumerate(cases)]


def leaf_hashes(count: int) -> list[bytes]:
    return [tree.hash_leaf(b"leaf %d" % at) for at in range(count)]


# --- published vectors ------------------------------------------------------------------------------------------------

# Certificate Transparency's reference tests, as in transparency-dev/merkle.
ROOT_OF_8 = "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg="
ROOT_OF_6 = "duZ9rbzfHhDht03cYIq9L5jfsW+851J3tSMqEn8gh+8="
FROM_6_TO_8 = [
    "DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o=",
    "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=",
    "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=",
]
LEAF_5 = "QnGia+DYqE8L1UyMMC58s6O10fpngKQLzOKHNHfatlg="
LEAF_5_IN_8 = ["vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=", *FROM_6_TO_8[1:]]


def test_published_values() -> None:
    assert tree.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert WHOLE.root == tree.root_of(LEAVES) == raw(ROOT_OF_8)
    assert tree.root_at(6, WHOLE.node) == tree.root_of(LEAVES[:6]) == raw(ROOT_OF_6)
    assert tree.consistency_proof(6, 8, WHOLE.node) == [raw(digest) for digest in FROM_6_TO_8]
    assert LEAVES[5] == raw(LEAF_5)
    assert WHOLE.inclusion(5) == [raw(digest) for digest in LEAF_5_IN_8]


def test_the_vectors_are_many_and_their_roots_ours() -> None:
    assert len(VECTORS["inclusion"]) + len(VECTORS["consistency"]) >= 150
    assert [raw(root) for root in VECTORS["roots"]] == [tree.root_of(LEAVES[:size]) for size in range(9)]


@pytest.mark.parametrize("case", named(VECTORS["inclusion"]))
def test_inclusion_vectors(case: dict[str, Any]) -> None:
    proof = [raw(digest) for digest in case["proof"]]
    arguments = (case["leafIdx"], case["treeSize"], raw(case["leafHash"]), proof, raw(case["root"]))
    if case["wantErr"]:
        with pytest.raises(ProofError):
            tree.check_inclusion(*arguments)
    else:
        tree.check_inclusion(*arguments)
        assert tree.inclusion_proof(case["leafIdx"], case["treeSize"], WHOLE.node) == proof


@pytest.mark.parametrize("case", named(VECTORS["consistency"]))
def test_consistency_vectors(case: dict[str, Any]) -> None:
    proof = [raw(digest) for digest in case["proof"]]
    arguments = (case["size1"], case["size2"], raw(case["root1"]), raw(case["root2"]), proof)
    if case["wantErr"]:
        with pytest.raises(ProofError):
            tree.check_consistency(*arguments)
    else:
        tree.check_consistency(*arguments)
        assert tree.consistency_proof(case["size1"], case["size2"], WHOLE.node) == proof


# --- round trips ------------------------------------------------------------------------------------------------------


@given(st.data())
def test_inclusion_of_any_leaf_in_any_prefix(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaf_hashes(70)
    node = tree.MemoryTree(leaves).node
    proof = tree.inclusion_proof(index, size, node)
    root = tree.root_of(leaves[:size])
    tree.check_inclusion(index, size, leaves[index], proof, root)
    assert tree.root_from_inclusion(index, size, leaves[index], proof) == root
    assert proof == tree.MemoryTree(leaves[:size]).inclusion(index)
    other = data.draw(st.integers(0, 70).filter(lambda at: at != index))
    with pytest.raises(ProofError):
        tree.check_inclusion(other, size, leaves[index], proof, root)


@given(st.integers(0, 70), st.integers(0, 70))
def test_consistency_between_any_sizes(one: int, two: int) -> None:
    old, new = sorted((one, two))
    leaves = leaf_hashes(new)
    proof = tree.consistency_proof(old, new, tree.MemoryTree(leaves).node)
    before, after = tree.root_of(leaves[:old]), tree.root_of(leaves)
    tree.check_consistency(old, new, before, after, proof)
    if old < new:
        with pytest.raises(ProofError):
            tree.check_consistency(old, new, after, before, proof)
        with pytest.raises(ProofError, match="old tree has"):
            tree.check_consistency(new, old, after, before, proof)


def test_growing_leaf_by_leaf_gives_every_root() -> None:
    stored: dict[tuple[int, int], bytes] = {}

    def node(level: int, position: int) -> bytes:
        return stored[level, position]

    leaves = leaf_hashes(70)
    for index, leaf in enumerate(leaves):
        added = {(level, position): digest for level, position, digest in tree.new_nodes(index, leaf, node)}
        assert not added.keys() & stored.keys()
        stored |= added
        assert tree.root_at(index + 1, node) == tree.root_of(leaves[: index + 1])
    assert stored == {
        place: tree.MemoryTree(leaves).node(*place)
        for place in ((level, position) for level in range(7) for position in range(70 >> level))
    }


# --- any flipped byte fails -------------------------------------------------------------------------------------------


@given(st.data())
def test_a_changed_inclusion_proof_fails(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaf_hashes(size)
    whole = tree.MemoryTree(leaves)
    parts = [leaves[index], whole.root, *whole.inclusion(index)]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = changed(parts[at], data)
    with pytest.raises(ProofError):
        tree.check_inclusion(index, size, parts[0], parts[2:], parts[1])


@given(st.data())
def test_a_changed_consistency_proof_fails(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(0, new))
    leaves = leaf_hashes(new)
    proof = tree.consistency_proof(old, new, tree.MemoryTree(leaves).node)
    parts = [tree.root_of(leaves[:old]), tree.root_of(leaves), *proof]
    # From size 0 a verifier learns nothing about the new root, so there only the old one can be wrong.
    at = data.draw(st.integers(0, len(parts) - 1 if old else 0))
    parts[at] = changed(parts[at], data)
    with pytest.raises(ProofError):
        tree.check_consistency(old, new, parts[0], parts[1], parts[2:])


def changed(digest: bytes, data: st.DataObject) -> bytes:
    """Another value of any length."""
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, 31))
        return digest[:at] + bytes([digest[at] ^ data.draw(st.integers(1, 255))]) + digest[at + 1 :]
    return data.draw(st.sampled_from([b"", digest[:-1], digest + b"\0"]))


# --- the exact error class --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (0, -1), (0, 1 << 63), (1 << 64, 3)])
def test_an_index_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ProofError):
        tree.inclusion_proof(index, size, WHOLE.node)
    with pytest.raises(ProofError):
        tree.root_from_inclusion(index, size, LEAVES[0], [])


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3), (0, 1 << 63), (1 << 70, 1 << 71), (-2, -1)])
def test_sizes_that_cannot_be(old: int, new: int) -> None:
    with pytest.raises(ProofError):
        tree.consistency_proof(old, new, WHOLE.node)
    with pytest.raises(ProofError):
        tree.check_consistency(old, new, WHOLE.root, WHOLE.root, [])


def test_builders_never_return_half_a_proof() -> None:
    with pytest.raises(ProofError, match="no complete subtree"):
        tree.inclusion_proof(0, 9, WHOLE.node)
    with pytest.raises(ProofError, match="where SHA-256 has 32"):
        tree.inclusion_proof(0, 2, lambda _level, _position: b"short")
    with pytest.raises(ProofError, match="where SHA-256 has 32"):
        tree.consistency_proof(1, 2, lambda _level, _position: b"")
    with pytest.raises(ProofError):
        tree.new_nodes(-1, LEAVES[0], WHOLE.node)
    with pytest.raises(ProofError):
        tree.new_nodes(0, b"", WHOLE.node)
    with pytest.raises(ProofError):
        tree.root_at(-1, WHOLE.node)
    with pytest.raises(ProofError):
        tree.root_of([b"not a hash"])
    with pytest.raises(ProofError):
        tree.MemoryTree([b"not a hash"])
    with pytest.raises(ProofError):
        tree.hash_children(LEAVES[0], LEAVES[1] + b"\0")
    with pytest.raises(ProofError):
        tree.MemoryTree([]).inclusion(0)


def test_the_empty_tree() -> None:
    assert tree.MemoryTree([]).root == tree.root_of([]) == tree.root_at(0, WHOLE.node) == tree.EMPTY_ROOT


def test_the_vectors_are_what_their_maker_writes(tmp_path: Path) -> None:
    maker = Path(__file__).with_name("make_vectors.py")
    subprocess.run([sys.executable, str(maker), str(tmp_path)], check=True, timeout=60)
    for name in ("merkle.json", "checkpoint.json"):
        committed = Path(__file__).parents[2] / "spec/vectors" / name
        assert (tmp_path / name).read_bytes() == committed.read_bytes()
