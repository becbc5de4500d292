"""Device keys: their text form, and keys under which anybody could sign."""

from __future__ import annotations

import pytest
from memory_signer import MemorySigner

from verity.errors import FormatError, SignatureError
from verity.statements.keys import check_signature, parse_key

P = 2**255 - 19
SMALL = [
    "00" * 32,
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
]
"""Points of order 4, 1, 2, 8 and 8; their mirror images have the sign bit set."""
NOT_CANONICAL = ["ed" + "ff" * 30 + "7f", "ee" + "ff" * 30 + "7f", "ff" * 32]


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("text", [*SMALL, *NOT_CANONICAL])
def test_keys_under_which_anybody_could_sign_are_refused(text: str, sign: int) -> None:
    key = bytearray.fromhex(text)
    key[31] |= sign
    with pytest.raises(FormatError, match="anybody could sign"):
        parse_key(key.hex())


def test_sound_keys() -> None:
    for seed in range(32):
        signer = MemorySigner(bytes([seed]) * 32)
        assert parse_key(signer.public.hex()) == signer.public
        check_signature(signer.public, b"m", signer.sign(b"m"))
        with pytest.raises(SignatureError):
            check_signature(signer.public, b"n", signer.sign(b"m"))


@pytest.mark.parametrize("text", ["", "ab", "AB" * 32, "g" * 64, "ab" * 33, " " + "ab" * 31 + "a", "٣" * 64])
def test_other_text_is_no_key(text: str) -> None:
    with pytest.raises(FormatError, match="64 lower-case"):
        parse_key(text)
