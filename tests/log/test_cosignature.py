from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import FormatError, SignatureError
from verity.log import cosignature as module
from verity.log.checkpoint import split
from verity.log.cosignature import check_cosignature, cosign, cosigned
from verity.log.note import COSIGNATURE, ED25519, Line, Note, VerifierKey, parse, parse_lines
from verity.statements.keys import Signer

PUBLISHED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"  # noqa: E501
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"  # noqa: E501
)
"""The example of C2SP tlog-cosignature. It tells no public key, so the form alone is checked here."""

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/witness.json").read_text())
BODY = "log.example\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"
NAME = "witness.example/w1"


# --- published vectors ------------------------------------------------------------------------------------------------


def test_the_published_example_has_our_form_and_time() -> None:
    checkpoint, note = split(PUBLISHED)
    assert (checkpoint.size, str(note)) == (20852163, PUBLISHED)
    line = note.lines[1]
    assert (line.key_id.hex(), len(line.signature)) == ("8d66cf3f", 72)
    assert int.from_bytes(line.signature[:8], "big") == 1679315147  # as the specification says beside it
    assert module.__doc__ is not None
    assert str(line).strip() in module.__doc__


def test_the_vectors_made_elsewhere() -> None:
    case = VECTORS["cosignature"]
    key = VerifierKey(case["name"], COSIGNATURE, bytes.fromhex(case["public"]))
    assert str(key) == case["vkey"]
    [line] = parse_lines(case["line"])
    assert check_cosignature(line, key, case["body"]) == case["time"]


# --- round trip -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**63 - 1))
def test_round_trip(signer: Signer, time_s: int) -> None:
    key = VerifierKey(NAME, COSIGNATURE, signer.public)
    line = cosign(BODY, NAME, signer, time_s)
    assert parse_lines(str(line)) == [line]
    assert check_cosignature(line, key, BODY) == time_s
    assert cosigned(Note(BODY, [line]), [key]) == {key: time_s}


# --- any flipped byte fails -------------------------------------------------------------------------------------------


def test_any_flipped_byte_fails(signer: Signer) -> None:
    key = VerifierKey(NAME, COSIGNATURE, signer.public)
    line = cosign(BODY, NAME, signer, 1_800_000_000)
    for at in range(72):
        changed = bytearray(line.signature)
        changed[at] ^= 1
        with pytest.raises((SignatureError, FormatError)):
            check_cosignature(line._replace(signature=bytes(changed)), key, BODY)
    for at in range(len(BODY)):
        with pytest.raises(SignatureError):
            check_cosignature(line, key, BODY[:at] + chr(ord(BODY[at]) ^ 1) + BODY[at + 1 :])


# --- the exact error class --------------------------------------------------------------------------------------------


def test_lines_and_keys_of_another_kind(signer: Signer, stranger: Signer) -> None:
    key, line = VerifierKey(NAME, COSIGNATURE, signer.public), cosign(BODY, NAME, signer, 1)
    for other in (
        VerifierKey(NAME, ED25519, signer.public),
        VerifierKey("another", COSIGNATURE, signer.public),
        VerifierKey(NAME, COSIGNATURE, stranger.public),
    ):
        with pytest.raises(FormatError, match="not a cosignature of the witness"):
            check_cosignature(line, other, BODY)
    for signature in (b"", line.signature[:-1], line.signature + b"\0"):
        with pytest.raises(FormatError):
            check_cosignature(line._replace(signature=signature), key, BODY)


def test_a_time_that_no_clock_has(signer: Signer) -> None:
    key, line = VerifierKey(NAME, COSIGNATURE, signer.public), cosign(BODY, NAME, signer, 2**63)
    with pytest.raises(FormatError, match="beyond"):
        check_cosignature(line, key, BODY)


def test_a_plain_signature_is_no_cosignature(signer: Signer) -> None:
    """A device signs heads of its own log, as a witness others': neither can be taken for the other."""
    key = VerifierKey(NAME, COSIGNATURE, signer.public)
    line = Line(NAME, key.id, (1).to_bytes(8, "big") + signer.sign(BODY.encode()))
    with pytest.raises(SignatureError):
        check_cosignature(line, key, BODY)


def test_lines_of_others_are_ignored_and_a_false_one_of_a_known_key_is_not(signer: Signer, stranger: Signer) -> None:
    key, other = (VerifierKey(NAME, COSIGNATURE, public) for public in (signer.public, stranger.public))
    good, theirs = cosign(BODY, NAME, signer, 1), cosign(BODY, NAME, stranger, 2)
    assert cosigned(Note(BODY, [theirs, good]), [key]) == {key: 1}
    assert cosigned(Note(BODY, [theirs]), [key]) == {}
    assert cosigned(Note(BODY, [theirs, good]), [key, other]) == {key: 1, other: 2}
    false = good._replace(signature=good.signature[:8] + bytes(64))
    with pytest.raises(SignatureError, match=r"cosignature of witness\.example/w1 does not hold"):
        cosigned(Note(BODY, [false]), [key])


def test_the_specification_shows_the_example() -> None:
    page = (Path(__file__).parents[2] / "spec/witness.md").read_text()
    assert VECTORS["cosignature"]["line"].strip() in page
    assert parse(VECTORS["cosignature"]["note"]).body == VECTORS["cosignature"]["body"]
