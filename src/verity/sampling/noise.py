"""Counter-based Gumbel noise: a pure function of seed, output position and token. Specified in spec/sampling.md.

A verifier that holds the seed needs no sampler state: it asks for the noise of any token at any position. The noise of
token t at position p is −ln(−ln u), where u comes from output number t of SplitMix64 (Steele, Lea, Flood 2014, the
generator of Java's SplittableRandom) keyed for that position by HMAC-SHA256.
"""

from __future__ import annotations

import functools
import hmac
import re
import struct

import numpy as np
import numpy.typing as npt

from verity.errors import UsageError

_NONCE = re.compile(r"([0-9a-f]{2}){16,64}", re.ASCII)
_SEED_DOMAIN = b"verity/seed/v1"
_NOISE_DOMAIN = b"verity/noise/v1"
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S12 = (np.uint64(n) for n in (30, 27, 31, 12))
_ONE = np.uint64(1)

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]


def read_nonce(text: str) -> bytes:
    """A nonce from its text: 16 to 64 bytes in lower-case hexadecimal. Raises UsageError."""
    if not _NONCE.fullmatch(text):
        raise UsageError("a nonce is 16 to 64 bytes in hexadecimal", "32 random bytes are a good one")
    return bytes.fromhex(text)


def derive_seed(nonce: bytes, choice: int = 0) -> bytes:
    """The 32-byte seed of answer number ``choice`` to a request. Nothing of the prompt enters it: a public digest of a
    short prompt would tell the prompt to whoever can guess it."""
    return hmac.digest(nonce, _SEED_DOMAIN + struct.pack(">I", choice), "sha256")


def position_key(seed: bytes, position: int) -> np.uint64:
    """The SplitMix64 seed for output position ``position`` (0 for the first generated token)."""
    block = hmac.digest(seed, _NOISE_DOMAIN + struct.pack(">Q", position), "sha256")
    return np.uint64(int.from_bytes(block[:8], "little"))


def words(key: np.uint64, tokens: Words) -> Words:
    """SplitMix64's outputs number ``tokens`` (uint64, any shape) under ``key``. Larger words mean larger noise."""
    return _mix((tokens + _ONE) * _GAMMA + key)


def all_words(key: np.uint64, size: int) -> Words:
    """``words`` for every token of a vocabulary of ``size``."""
    return _mix(_steps(size) + key)


@functools.lru_cache(maxsize=4)
def _steps(size: int) -> Words:
    return np.arange(1, size + 1, dtype=np.uint64) * _GAMMA


def _mix(state: Words) -> Words:
    """SplitMix64's output function, in place: passes over a whole vocabulary are what untruncated sampling costs."""
    scratch = state >> _S30
    state ^= scratch
    state *= _MIX_1
    np.right_shift(state, _S27, out=scratch)
    state ^= scratch
    state *= _MIX_2
    np.right_shift(state, _S31, out=scratch)
    state ^= scratch
    return state


def gumbel(random_words: Words) -> Floats:
    """Standard Gumbel noise from 64-bit words: u = (⌊w / 4096⌋ + ½) · 2⁻⁵², exact in float64 and inside (0, 1)."""
    uniform = ((random_words >> _S12).astype(np.float64) + 0.5) * 2.0**-52
    noise: Floats = -np.log(-np.log(uniform))
    return noise
