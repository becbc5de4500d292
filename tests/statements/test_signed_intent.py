"""Signed intents: what the issuer of a request gets before telling the nonce."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import FormatError, LogError, SignatureError
from verity.statements.bundle import MAX_INTENT_BYTES, SignedIntent, decode_signed_intent
from verity.statements.receipt import INTENT, read_statement
from verity.verify.logged import check_intent

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/receipt.json").read_text())
WHOLE: dict[str, Any] = {
    "intent": VECTORS["bundle"]["receipt"]["intent"],
    "checkpoint": VECTORS["bundle"]["log"]["checkpoint"],
    "proof": VECTORS["bundle"]["log"]["intent"],
}
JUNK: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.just({}) | st.just([{}])
)


def read(value: Any) -> SignedIntent:
    return decode_signed_intent(json.dumps(value).encode())


def check(signed: SignedIntent) -> None:
    check_intent(signed, read_statement(signed.intent.check(VECTORS["public"]), INTENT), VECTORS["public"])


def test_a_sound_one_is_read_written_and_stands_in_the_log() -> None:
    signed = read(WHOLE)
    assert json.loads(signed.encode()) == WHOLE
    assert decode_signed_intent(signed.encode()) == signed
    check(signed)


@pytest.mark.parametrize("member", WHOLE)
def test_every_member_is_needed(member: str) -> None:
    with pytest.raises(FormatError):
        read({name: value for name, value in WHOLE.items() if name != member})
    with pytest.raises(FormatError):
        read(WHOLE | {"other": 1})


def test_the_size_cap() -> None:
    with pytest.raises(FormatError, match="larger than"):
        decode_signed_intent(b" " * (MAX_INTENT_BYTES + 1))


def test_any_flipped_byte_fails() -> None:
    data = read(WHOLE).encode()
    for at in range(len(data) - 1):  # but for the newline at the end
        with pytest.raises((FormatError, LogError, SignatureError)):
            check(decode_signed_intent(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]))


@given(
    st.sampled_from([*WHOLE, "proof/index", "proof/salt", "proof/path", "intent/payload", "intent/signatures"]), JUNK
)
def test_any_member_replaced_fails(path: str, junk: Any) -> None:
    changed = json.loads(json.dumps(WHOLE))
    parent, _, last = path.rpartition("/")
    holder = changed[parent] if parent else changed
    if holder[last] == junk:
        return
    holder[last] = junk
    with pytest.raises((FormatError, LogError, SignatureError)):
        check(read(changed))


@given(st.binary(max_size=300) | JUNK.map(json.dumps).map(str.encode))
def test_arbitrary_bytes_have_only_one_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_signed_intent(data)
