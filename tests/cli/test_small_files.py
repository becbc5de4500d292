"""Checkpoints, proofs, passphrases and nonces that the command line is given: read or refused by one error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verity.cli.log_public import _read_proof
from verity.cli.terminal import read_checkpoint, read_passphrase, read_schema
from verity.engines.grammar import json_schema
from verity.errors import FormatError, UsageError
from verity.sampling.noise import read_nonce

NOTE = json.loads((Path(__file__).parents[2] / "spec/vectors/checkpoint.json").read_text())["example"]["note"]
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
NOTES = st.lists(st.sampled_from([*NOTE.splitlines(True), "\n", "7\n", "— a AAAAAAA=\n", "\0", "\r\n"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


def write(folder: Path, data: bytes) -> str:
    path = folder / "given"
    path.write_bytes(data)
    return str(path)


@ONE_FOLDER
@given(st.binary(max_size=400) | NOTES.map("".join).map(str.encode))
def test_any_checkpoint_is_read_as_it_is_or_refused(tmp_path: Path, data: bytes) -> None:
    try:
        text = read_checkpoint(write(tmp_path, data))
    except FormatError:
        return
    assert text.encode() == data


def test_a_checkpoint_is_not_cut(tmp_path: Path) -> None:
    assert read_checkpoint(write(tmp_path, NOTE.encode())) == NOTE
    for data in (NOTE.encode() + b" " * (1 << 16), b"", b"\xff", NOTE.encode()[:-1]):
        with pytest.raises(FormatError):
            read_checkpoint(write(tmp_path, data))
    with pytest.raises(FormatError):
        read_checkpoint(str(tmp_path / "missing"))


@ONE_FOLDER
@given(st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode)
       | st.fixed_dictionaries({"consistency": JSON}).map(json.dumps).map(str.encode))  # fmt: skip
def test_any_proof_is_a_list_of_texts_or_refused(tmp_path: Path, data: bytes) -> None:
    try:
        proof, root = _read_proof(write(tmp_path, data), (NOTE, NOTE))
    except FormatError:
        return
    assert proof.path == json.loads(data)["consistency"]
    assert proof.size == 8
    assert root is None or root == json.loads(data)["from_root"]


@ONE_FOLDER
@given(st.binary(max_size=40) | st.text(max_size=2000).map(str.encode))
def test_any_passphrase_is_the_file_without_its_line_end_or_refused(tmp_path: Path, data: bytes) -> None:
    try:
        passphrase = read_passphrase(False, write(tmp_path, data), confirm=False)
    except UsageError:
        return
    assert passphrase == data.decode().rstrip("\r\n")


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\xff", b"x" * 1025, "é".encode() * 600])
def test_what_is_no_passphrase(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UsageError):
        read_passphrase(False, write(tmp_path, data), confirm=False)


def test_no_passphrase_was_asked_for() -> None:
    assert read_passphrase(False, None, confirm=True) is None


@given(st.text(st.characters(exclude_categories=())) | st.text("0123456789abcdefABCDEF", min_size=28, max_size=132))
def test_any_nonce_is_read_back_or_refused(text: str) -> None:
    try:
        nonce = read_nonce(text)
    except UsageError:
        return
    assert nonce.hex() == text
    assert 16 <= len(nonce) <= 64


@given(st.binary(min_size=16, max_size=64))
def test_every_nonce_is_read(nonce: bytes) -> None:
    assert read_nonce(nonce.hex()) == nonce


def test_unread() -> None:
    unread: Any = read_nonce
    for text in ("", "0" * 31, "0" * 30, "0" * 130, "0" * 32 + "\n", "A" * 32, "٠" * 32):
        with pytest.raises(UsageError):
            unread(text)


@ONE_FOLDER
@given(st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode)
       | st.fixed_dictionaries({"type": JSON, "enum": JSON, "$ref": JSON}).map(json.dumps).map(str.encode))  # fmt: skip
def test_any_schema_is_read_as_it_is_or_refused(tmp_path: Path, data: bytes) -> None:
    try:
        text = read_schema(write(tmp_path, data))
        assert json_schema(text).source == text
    except (FormatError, UsageError):
        return
    assert text.encode() == data
