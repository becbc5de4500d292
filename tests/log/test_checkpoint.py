from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verity import errors
from verity.errors import FormatError, SignatureError
from verity.log import checkpoint as module
from verity.log.checkpoint import Checkpoint, open_checkpoint, parse_body, sign
from verity.log.note import key_id, parse, parse_key
from verity.statements.keys import Signer, check_signature

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/checkpoint.json").read_text())
PUBLIC = bytes.fromhex(VECTORS["public"])
EXAMPLE = VECTORS["example"]
GOOD: str = EXAMPLE["note"]


# --- published vectors ------------------------------------------------------------------------------------------------


def test_key_ids_published_elsewhere() -> None:
    # Go's checksum database, and the example of golang.org/x/mod/sumdb/note, which C2SP signed-note generalises.
    for published in (
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ):
        name, expected, key = published.split("+", 2)
        kind_and_key = base64.b64decode(key)
        assert kind_and_key[:1] == b"\x01"
        assert key_id(name, 1, kind_and_key[1:]).hex() == expected
        assert str(parse_key(published)) == published


def test_a_note_published_elsewhere_has_our_framing() -> None:
    note = (
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    body, [line] = parse(note)
    public = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]
    assert line.key_id == key_id(line.name, 1, public)
    check_signature(public, body.encode(), line.signature)


def test_the_example_is_written_byte_for_byte(signer: Signer) -> None:
    head = Checkpoint(EXAMPLE["origin"], EXAMPLE["size"], bytes.fromhex(EXAMPLE["root"]))
    assert signer.public == PUBLIC
    assert sign(head, signer) == GOOD
    assert open_checkpoint(GOOD, PUBLIC) == head


def test_the_example_in_the_documentation(signer: Signer) -> None:
    assert module.__doc__ is not None
    example = "".join(line[4:] or "\n" for line in module.__doc__.splitlines(True) if line[:4] in ("    ", "\n"))
    head = Checkpoint("example.org/device", 8, bytes.fromhex(EXAMPLE["root"]))
    assert sign(head, signer) == example.strip() + "\n"


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["desc"])
def test_vectors(case: dict[str, Any], signer: Signer) -> None:
    if case["error"] is None:
        head = open_checkpoint(case["note"], PUBLIC)
        assert case["note"].startswith(sign(head, signer).rpartition("\n\n")[0])
    else:
        with pytest.raises(getattr(errors, case["error"])) as caught:
            open_checkpoint(case["note"], PUBLIC)
        assert type(caught.value).__name__ == case["error"]


# --- round trip -------------------------------------------------------------------------------------------------------


@given(st.data(), st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_round_trip(signer: Signer, data: st.DataObject, size: int, root: bytes) -> None:
    origin = data.draw(st.text(st.characters(exclude_characters="+", exclude_categories=("Z", "C")), min_size=1))
    if "://" in origin:
        return
    head = Checkpoint(origin, size, root)
    note = sign(head, signer)
    assert open_checkpoint(note, signer.public) == open_checkpoint(note.encode(), signer.public) == head
    assert parse_body(note.partition("\n\n")[0] + "\n") == head


# --- any flipped byte fails -------------------------------------------------------------------------------------------


def test_any_flipped_byte_fails() -> None:
    note = GOOD.encode()
    for at in range(len(note)):
        for bit in (0x01, 0x20, 0x80):
            with pytest.raises((FormatError, SignatureError)):
                open_checkpoint(note[:at] + bytes([note[at] ^ bit]) + note[at + 1 :], PUBLIC)


def test_any_dropped_or_doubled_byte_fails() -> None:
    note = GOOD.encode()
    for at in range(len(note)):
        for changed in (note[:at] + note[at + 1 :], note[: at + 1] + note[at:]):
            with pytest.raises((FormatError, SignatureError)):
                open_checkpoint(changed, PUBLIC)


# --- the exact error class --------------------------------------------------------------------------------------------


def test_another_key_is_told_from_a_wrong_signature(stranger: Signer) -> None:
    with pytest.raises(SignatureError, match="is not signed by device key"):
        open_checkpoint(GOOD, stranger.public)
    with pytest.raises(SignatureError, match="does not hold"):
        open_checkpoint(GOOD.replace("\n8\n", "\n7\n"), PUBLIC)


@pytest.mark.parametrize("public", [b"", b"short", bytes(33)])
def test_a_public_key_of_the_wrong_size(public: bytes) -> None:
    with pytest.raises(SignatureError):
        open_checkpoint(GOOD, public)


@pytest.mark.parametrize(
    "head",
    [
        Checkpoint("", 1, bytes(32)),
        Checkpoint("a\nb", 1, bytes(32)),
        Checkpoint("\ud800", 1, bytes(32)),
        Checkpoint("http://a", 1, bytes(32)),
        Checkpoint("a", -1, bytes(32)),
        Checkpoint("a", 2**63, bytes(32)),
        Checkpoint("a", 1, bytes(31)),
    ],
)
def test_what_could_not_be_read_is_not_signed(head: Checkpoint, signer: Signer) -> None:
    with pytest.raises(FormatError):
        sign(head, signer)


def test_the_size_cap() -> None:
    line = "— big " + base64.b64encode(bytes(49_152)).decode() + "\n"
    with pytest.raises(FormatError, match="65536 are allowed"):
        open_checkpoint(GOOD + line, PUBLIC)
    assert open_checkpoint(GOOD + line.replace("A" * 4000, "", 1), PUBLIC).size == 8


@given(st.binary() | st.text(st.characters(exclude_categories=())))
@example("\ud800\n1\n")
@example(b"\xff")
def test_arbitrary_input_has_only_two_errors(note: bytes | str) -> None:
    with pytest.raises((FormatError, SignatureError)):
        open_checkpoint(note, PUBLIC)
    with pytest.raises(FormatError):
        parse_body(note if isinstance(note, str) else note.decode("latin-1"))


@given(st.lists(st.sampled_from([*GOOD.splitlines(True), "\n", "8\n", "— a AAAAAAA=\n", "—", " ", "\u2028"])))
def test_pieces_of_notes_have_only_two_errors(pieces: list[str]) -> None:
    try:
        head = open_checkpoint("".join(pieces), PUBLIC)
    except (FormatError, SignatureError):
        return
    assert head == open_checkpoint(GOOD, PUBLIC)


def test_the_specification_shows_the_example() -> None:
    specification = (Path(__file__).parents[2] / "spec/log.md").read_text()
    assert f"```\n{GOOD}```\n" in specification
