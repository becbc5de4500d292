"""What a log sends to a witness, read strictly: C2SP tlog-witness, add-checkpoint; specified in spec/witness.md.

    old 2
    QmFzZTY0IG9mIDMyIGJ5dGVzLCBhIGhhc2ggYSBsaW4=
    (more hashes of the consistency proof, a line each; an empty line; then the checkpoint with its signature lines)

The proof leads from the size that the witness is believed to know to that of the checkpoint.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import NamedTuple

from verity.errors import FormatError
from verity.log import note
from verity.log.checkpoint import Checkpoint, split
from verity.log.note import Note
from verity.log.tree import HASH_SIZE, SIZE_LIMIT

MAX_PROOF = 63
"""Hashes of a proof (tlog-witness): a path in a tree of fewer than 2^63 leaves has no more."""

MAX_BYTES = note.MAX_BYTES + 4096
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)


class Submission(NamedTuple):
    """``old`` is the size that the proof starts from; ``note`` is the checkpoint with all its signature lines."""

    old: int
    proof: list[bytes]
    checkpoint: Checkpoint
    note: Note


def encode(old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
    """The request's body, for a checkpoint that has the form of one."""
    lines = [f"old {old}\n", *(f"{base64.b64encode(digest).decode()}\n" for digest in proof)]
    return f"{''.join(lines)}\n{checkpoint}".encode()


def decode(data: bytes) -> Submission:
    """Read a request's body. Raises FormatError; no signature and no proof is checked."""
    if len(data) > MAX_BYTES:
        raise FormatError(f"the request has more than {MAX_BYTES} bytes")
    try:
        head, empty, checkpoint = data.decode().partition("\n\n")
    except UnicodeError as error:
        raise FormatError("the request is not UTF-8 text") from error
    first, *hashes = head.split("\n")
    match = _OLD.fullmatch(first)
    if not empty or match is None or (old := int(match[1])) >= SIZE_LIMIT:
        raise FormatError("a request begins with “old N”, N being a tree's size, and has an empty line after the proof")
    if len(hashes) > MAX_PROOF:
        raise FormatError(f"a proof has at most {MAX_PROOF} hashes")
    proof = [note.unbase64(line, "a hash of the proof") for line in hashes]
    if any(len(digest) != HASH_SIZE for digest in proof):
        raise FormatError(f"a hash of the proof does not have {HASH_SIZE} bytes")
    return Submission(old, proof, *split(checkpoint, extensions=True))
