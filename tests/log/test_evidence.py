from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs_of_others import KEY, ORIGIN, SomeLog
from memory_signer import MemorySigner

from verity import errors
from verity.errors import FormatError, ProofError, SignatureError, UsageError, VerityError
from verity.log import tree
from verity.log.evidence import MAX_BYTES, Fork, Prefix, check_fork, decode_fork, fork_by_proof, fork_of
from verity.log.note import ED25519, VerifierKey
from verity.log.witness import Witness
from verity.log.witness_logs import KnownLogs
from verity.store.database import Database

FILE = Path(__file__).parents[2] / "spec/vectors/witness.json"
VECTORS = json.loads(FILE.read_text())
LOG, FORK = SomeLog(), SomeLog("forked", since=2)


# --- vectors made elsewhere -------------------------------------------------------------------------------------------


def test_the_vectors_are_what_the_script_makes(tmp_path: Path) -> None:
    maker = Path(__file__).with_name("make_witness_vectors.py")
    subprocess.run([sys.executable, maker, tmp_path], check=True)
    assert (tmp_path / "witness.json").read_text() == FILE.read_text()


def test_the_witness_answers_as_the_vectors_say(database: Database) -> None:
    said = VECTORS["cosignature"]
    KnownLogs(database).add(
        VerifierKey(VECTORS["log"]["origin"], ED25519, bytes.fromhex(VECTORS["log"]["origin"][7:71]))
    )
    signer = MemorySigner(bytes.fromhex(said["private"]))
    witness = Witness(database, signer, said["name"], clock=lambda: said["time"])
    assert str(witness.key) == said["vkey"]
    for case in VECTORS["requests"]:
        answer = witness.add_checkpoint(case["request"].encode())
        assert answer.status == case["status"], case["desc"]
        assert case["answer"] in (None, answer.body), case["desc"]


@pytest.mark.parametrize("case", VECTORS["forks"], ids=lambda case: case["desc"])
def test_forks(case: dict[str, Any]) -> None:
    data = json.dumps(case["fork"]).encode()
    if case["error"] is None:
        assert "signed" in check_fork(decode_fork(data))
        return
    with pytest.raises(getattr(errors, case["error"])) as caught:
        check_fork(decode_fork(data))
    assert type(caught.value).__name__ == case["error"]


# --- building and round trip ------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 39))
def test_any_two_heads_of_two_histories_are_evidence(old: int, new: int, since: int) -> None:
    """From every position on where they part, at all sizes, in either order of the heads."""
    other = SomeLog("other", since=since)
    old, new = sorted((old, new))
    first, second = LOG.head(old), other.head(new)
    node = other.tree(new).node
    if since >= old:  # the larger log does begin with the smaller one
        with pytest.raises(ProofError):
            fork_of(first, second, node)
        return
    fork = fork_of(second, first, node)
    assert decode_fork(fork.encode()) == fork
    assert check_fork(fork).startswith(f"The key of the log {ORIGIN} signed")
    if old & (old - 1) and old < new:
        assert fork_by_proof(first, second, other.proof(old, new)) == fork


@given(st.integers(2, 40), st.integers(1, 39), st.data())
def test_no_evidence_can_be_made_against_an_honest_log(new: int, old: int, data: st.DataObject) -> None:
    """Whatever root and path somebody states: the honest prefix alone leads to the head, and it is no contradiction."""
    old = min(old, new - 1)
    honest = LOG.proof(old, new)
    hashes = [LOG.root(old), FORK.root(old), *honest, *FORK.proof(old, new), bytes(32)]
    path = data.draw(st.lists(st.sampled_from(hashes), min_size=len(honest), max_size=len(honest)) | st.just(honest))
    prefix = Prefix(data.draw(st.sampled_from(hashes)).hex(), [digest.hex() for digest in path])
    with pytest.raises(ProofError):
        check_fork(Fork((LOG.head(old), LOG.head(new)), prefix))


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_old_root_in_a_proof(old: int, new: int) -> None:
    old, new = sorted((old, new))
    told = tree.prefix_root(old, new, LOG.proof(old, new))
    assert told == (None if old == new or old & (old - 1) == 0 else LOG.root(old))


# --- any flipped byte fails -------------------------------------------------------------------------------------------


def test_any_flipped_byte_fails() -> None:
    good = fork_of(LOG.head(5), FORK.head(9), FORK.tree(9).node).encode().strip()
    check_fork(decode_fork(good))
    for at in range(len(good)):
        for bit in (0x01, 0x20):
            changed = good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :]
            with pytest.raises((FormatError, SignatureError, ProofError, UsageError)):
                check_fork(decode_fork(changed))


# --- the exact error class --------------------------------------------------------------------------------------------


def test_logs_that_do_not_name_their_key() -> None:
    logs = [SomeLog(twist, origin="log.example") for twist in ("a", "b")]
    fork = fork_of(logs[0].head(5), logs[1].head(5))
    with pytest.raises(UsageError, match="does not name its key"):
        check_fork(fork)
    assert check_fork(fork, VerifierKey("log.example", ED25519, KEY.public))
    with pytest.raises(SignatureError):
        check_fork(fork, VerifierKey("log.example", ED25519, MemorySigner(b"\x05" * 32).public))


def test_a_device_is_judged_by_its_own_key_alone() -> None:
    stranger = MemorySigner(b"\x05" * 32)
    logs = [SomeLog(twist, signer=stranger) for twist in ("a", "b")]
    fork = fork_of(logs[0].head(5), logs[1].head(5))
    with pytest.raises(SignatureError):
        check_fork(fork)
    with pytest.raises(UsageError, match="by the key in its name"):
        check_fork(fork, VerifierKey(ORIGIN, ED25519, stranger.public))


def test_heads_that_agree_are_no_evidence() -> None:
    for second in (LOG.head(5), LOG.head(9)):
        with pytest.raises(ProofError):
            fork_of(LOG.head(5), second, LOG.tree(9).node)
    with pytest.raises(ProofError):
        fork_by_proof(LOG.head(4), FORK.head(9), FORK.proof(4, 9))


def test_the_size_cap() -> None:
    with pytest.raises(FormatError, match="larger than"):
        decode_fork(b" " * (MAX_BYTES + 1))
    with pytest.raises(FormatError, match="at most 63"):
        check_fork(Fork((LOG.head(5), FORK.head(9)), Prefix("00" * 32, ["00" * 32] * 64)))


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_fork(data)


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=40), min_size=2, max_size=2))
def test_arbitrary_heads(heads: list[str]) -> None:
    with pytest.raises(VerityError) as caught:
        check_fork(Fork((heads[0], heads[1])))
    assert isinstance(caught.value, FormatError)
