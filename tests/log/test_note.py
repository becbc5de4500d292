from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import FormatError
from verity.log.note import (
    COSIGNATURE,
    ED25519,
    MAX_KEY,
    MAX_SIGNATURES,
    Line,
    Note,
    VerifierKey,
    parse,
    parse_key,
    parse_lines,
    with_lines,
)
from verity.statements.keys import Signer, check_signature

QUASIMODO = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"  # noqa: E501
)
"""The example of C2SP signed-note: its text has an empty line, so the last one parts text and signatures."""

NAMES = st.text(st.characters(exclude_characters="+", exclude_categories=("Z", "C")), min_size=1, max_size=20)


# --- published vectors ------------------------------------------------------------------------------------------------


def test_the_published_note_is_read_and_written_byte_for_byte() -> None:
    note = parse(QUASIMODO)
    assert note.body.endswith("\n\ned è subito sera.\n")
    assert [(line.name, line.key_id.hex(), len(line.signature)) for line in note.lines] == [
        ("quasimodo.example/salvatore", "367ba04b", 64)
    ]
    assert str(note) == QUASIMODO


def test_published_keys() -> None:
    # Go's checksum database, and golang.org/x/mod/sumdb/note, whose note is signed by it.
    key = parse_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = parse(
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    [line] = note.lines
    assert key.made(line)
    check_signature(key.public, note.body.encode(), line.signature)
    assert parse_key("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8").kind == ED25519


# --- round trip -------------------------------------------------------------------------------------------------------


@given(NAMES, st.sampled_from([ED25519, COSIGNATURE]))
def test_keys_read_back(signer: Signer, name: str, kind: int) -> None:
    key = VerifierKey(name, kind, signer.public)
    assert parse_key(str(key)) == key


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.just("\n"), max_size=40),
    st.lists(st.builds(Line, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)), min_size=1,
             max_size=MAX_SIGNATURES, unique_by=lambda line: line[:2]),
)  # fmt: skip
def test_notes_read_back(body: str, lines: list[Line]) -> None:
    note = Note(body + "\n", lines)
    assert parse(str(note)) == note
    assert parse_lines("".join(map(str, lines))) == lines


def test_lines_are_added_and_take_the_place_of_one_of_their_key() -> None:
    first, second = Line("a", b"abcd", b"1"), Line("b", b"abcd", b"1")
    note = Note("text\n", [first])
    assert with_lines(note, [second]).lines == [first, second]
    assert with_lines(note, [first._replace(signature=b"2")]).lines == [Line("a", b"abcd", b"2")]


# --- any flipped byte fails -------------------------------------------------------------------------------------------


def test_any_flipped_byte_of_a_key_fails_or_is_another_key(signer: Signer) -> None:
    key = VerifierKey("witness.example/w1", COSIGNATURE, signer.public)
    word = str(key).encode()
    for at in range(len(word)):
        for bit in (0x01, 0x20, 0x80):
            changed = word[:at] + bytes([word[at] ^ bit]) + word[at + 1 :]
            with pytest.raises(FormatError):
                parse_key(changed.decode("latin-1"))


# --- the exact error class --------------------------------------------------------------------------------------------


def _word(name: str, kind: int, public: bytes) -> str:
    return str(VerifierKey(name, kind, public))


@pytest.mark.parametrize(
    "word",
    [
        "", "+", "a+b", "a+00000000+", "a+0000000g+AQ==", _word("a", 2, bytes(32)), _word("a", 6, b"\x07" * 32),
        _word("a", 1, b"\x07" * 31), _word("a", 1, b"\x07" * 33), _word("", 1, b"\x07" * 32),
        _word("a b", 1, b"\x07" * 32),
        _word("a\n", 1, b"\x07" * 32), _word("a", 1, b"\x01" + bytes(31)), _word("a" * MAX_KEY, 1, b"\x07" * 32),
        _word("a", 1, b"\x07" * 32).upper(), _word("a", 1, b"\x07" * 32) + "=", _word("a", 1, b"\x07" * 32)[:-1],
    ],
    ids=range(17),
)  # fmt: skip
def test_what_is_no_key(word: str) -> None:
    with pytest.raises(FormatError):
        parse_key(word)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "text",
    [
        "", "text\n", "text\n\n", "text\n— a AAAAAAA=\n", f"text\n\n— a {_encoded(bytes(5))}",
        f"\n\n- a {_encoded(bytes(5))}\n",
        f"text\n\n— a {_encoded(bytes(4))}\n", f"text\n\n— a  {_encoded(bytes(5))}\n",
        f"text\n\n— a+b {_encoded(bytes(5))}\n",
        f"text\n\n— {_encoded(bytes(5))}\n", "text\n\n— a !!!!\n", "text\n\n— a AAAAAAB=\n",
        "text\n\n" + f"— a {_encoded(bytes(5))}\n" * 2,
        "text\n\n" + "".join(f"— a{n} {_encoded(bytes(5))}\n" for n in range(MAX_SIGNATURES + 1)),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_is_no_note(text: str) -> None:
    with pytest.raises(FormatError):
        parse(text)


@given(st.binary(max_size=200) | st.text(st.characters(exclude_categories=()), max_size=200))
def test_arbitrary_input_has_one_error(text: bytes | str) -> None:
    try:
        note = parse(text)
    except FormatError:
        return
    assert str(note) == (text if isinstance(text, str) else text.decode())


@given(st.text(st.characters(exclude_categories=()), max_size=100))
def test_arbitrary_words_have_one_error(word: str) -> None:
    with pytest.raises(FormatError):
        parse_key(word)
