"""Proofs in one text file: one form, and true of one entry in one place of one log."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_logs import KEY, ORIGIN, SIGNER, entries, published
from memory_signer import MemorySigner

from verity.errors import FormatError, ProofError, SignatureError
from verity.log import cosignature, note, tlog_proof
from verity.log.checkpoint import split
from verity.log.log_index import key_of
from verity.log.tile_folder import CHECKPOINT
from verity.log.tlog_proof import TlogProof, check, check_device, parse
from verity.log.tree import MemoryTree, hash_leaf

ENTRIES = entries(7)
DEVICE = SIGNER.public.hex()


def proof(index: int = 4, extra: bytes | None = bytes(16)) -> TlogProof:
    tree = MemoryTree(map(hash_leaf, ENTRIES))
    return TlogProof(index, tuple(tree.inclusion(index)), published(ENTRIES)[CHECKPOINT].decode(), extra)


def test_the_form() -> None:
    """C2SP tlog-proof, "Format"."""
    lines = str(proof()).split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra AAAAAAAAAAAAAAAAAAAAAA==", "index 4"]
    assert [len(base64.b64decode(line)) for line in lines[3:6]] == [32, 32, 32]
    assert lines[6:9] == ["", ORIGIN, "7"]
    assert str(proof(extra=None)).split("\n")[1] == "index 4"


@pytest.mark.parametrize("index", range(7))
@pytest.mark.parametrize("extra", [None, b"", bytes(16), bytes(16 << 10)])
def test_round_trip_and_check(index: int, extra: bytes | None) -> None:
    made = proof(index, extra)
    assert parse(str(made).encode()) == made
    assert check(made, ENTRIES[index], KEY).size == 7
    assert check_device(made, ENTRIES[index], DEVICE).origin == ORIGIN


def test_a_log_of_one_entry_needs_no_hashes() -> None:
    made = TlogProof(0, (), published(ENTRIES[:1])[CHECKPOINT].decode())
    assert check(parse(str(made).encode()), ENTRIES[0], KEY).size == 1


def test_cosignatures_travel_along() -> None:
    made = proof()
    said = split(made.checkpoint)[1]
    witness = MemorySigner(b"\x09" * 32)
    line = cosignature.cosign(said.body, "witness.example/w", witness, 1_700_000_000)
    signed = TlogProof(made.index, made.path, str(note.with_lines(said, [line])), made.extra)
    again = parse(str(signed).encode())
    assert check(again, ENTRIES[4], KEY).size == 7
    key = note.VerifierKey("witness.example/w", note.COSIGNATURE, witness.public)
    assert cosignature.cosigned(split(again.checkpoint)[1], [key]) == {key: 1_700_000_000}


def test_another_entry_place_log_or_key() -> None:
    made = proof()
    for wrong in (ENTRIES[3], b"", ENTRIES[4] + b"\0"):
        with pytest.raises(ProofError):
            check(made, wrong, KEY)
    for index in (0, 5, 7, 2**62):
        with pytest.raises(ProofError):
            check(TlogProof(index, made.path, made.checkpoint), ENTRIES[4], KEY)
    with pytest.raises(FormatError, match="is of the log"):
        check(made, ENTRIES[4], key_of(DEVICE, 1))
    with pytest.raises(SignatureError):
        check(made, ENTRIES[4], KEY.__class__(ORIGIN, 1, bytes(32)))
    with pytest.raises(SignatureError, match="not one of device"):
        check_device(made, ENTRIES[4], "ab" * 32)
    foreign = published(ENTRIES, origin="example.org/log")[CHECKPOINT].decode()
    with pytest.raises(SignatureError, match="not one of device"):
        check_device(TlogProof(4, made.path, foreign), ENTRIES[4], DEVICE)


def test_any_flipped_bit_is_seen() -> None:
    data = str(proof()).encode()
    extra = range(len("c2sp.org/tlog-proof@v1\n"), data.index(b"index"))
    for at in range(len(data)):
        wrong = data[:at] + bytes([data[at] ^ 1 << at % 7]) + data[at + 1 :]
        try:
            read = parse(wrong)
            check(read, ENTRIES[4], KEY)
        except (FormatError, ProofError, SignatureError):
            continue
        assert at in extra  # "applications must not implicitly trust the extra data"
        assert read.extra != bytes(16)


def edits() -> dict[str, str]:
    text = str(proof())
    head, _, checkpoint = text.partition("\n\n")
    return {
        "empty": "",
        "no magic": text.partition("\n")[2],
        "another version": text.replace("@v1", "@v2"),
        "a leading zero": text.replace("index 4", "index 04"),
        "a sign": text.replace("index 4", "index +4"),
        "no index": text.replace("index 4\n", ""),
        "an index of 2^63": text.replace("index 4", f"index {2**63}"),
        "two extras": text.replace("index", "extra AAAA\nindex"),
        "extra after the index": text.replace("extra AAAAAAAAAAAAAAAAAAAAAA==\nindex 4", "index 4\nextra AAAA"),
        "extra that is no base64": text.replace("extra AAAA", "extra ****"),
        "extra that is too long": str(proof(extra=bytes((16 << 10) + 1))),
        "a short hash": head[:-4] + "\n\n" + checkpoint,
        "64 hashes": "\n".join([*head.split("\n")[:3], *["A" * 43 + "="] * 64]) + "\n\n" + checkpoint,
        "no empty line": head + "\n" + checkpoint,
        "two empty lines": head + "\n\n\n" + checkpoint,
        "no checkpoint": head + "\n\n",
        "a checkpoint without signatures": head + "\n\n" + checkpoint.partition("\n\n")[0] + "\n",
        "CR LF": text.replace("\n", "\r\n"),
        "no last newline": text[:-1],
        "a line after it": text + "\n",
        "a tab for the space": text.replace("index ", "index\t"),
    }


@pytest.mark.parametrize("wrong", edits().values(), ids=edits())
def test_what_is_no_proof(wrong: str) -> None:
    with pytest.raises(FormatError):
        parse(wrong.encode())


def test_size_and_encoding() -> None:
    with pytest.raises(FormatError, match="at most"):
        parse(bytes(tlog_proof.MAX_BYTES + 1))
    with pytest.raises(FormatError, match="UTF-8"):
        parse(b"\xff")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_proof_or_refused(data: bytes) -> None:
    text = str(proof()).encode()
    at = len(data) % len(text)
    for given_bytes in (data, text[:at] + data + text[at + len(data) // 2 :]):
        try:
            read = parse(given_bytes)
        except FormatError:
            continue
        assert str(read).encode() == given_bytes
