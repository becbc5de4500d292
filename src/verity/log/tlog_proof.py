"""A proof in one text file that an entry is in a log: C2SP tlog-proof (https://c2sp.org/tlog-proof), read strictly.

    c2sp.org/tlog-proof@v1
    extra kTjmVwKjP0Sk1mUNUsYvRA==
    index 1
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=

    verity/…/0
    2
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

    — verity/…/0 hI2DJw…

``extra`` is for whoever reads: of a proof that Verity writes it is the entry's salt, so that a holder of the envelope
can make the entry (spec/log.md). The hashes are the path, from the leaf's sibling up. Then the log's checkpoint, with
the lines of its witnesses. Specified, as far as C2SP leaves it open, in spec/tiles.md.
"""

from __future__ import annotations

import base64
import re

import msgspec

from verity.errors import FormatError, SignatureError
from verity.log import note
from verity.log.checkpoint import Checkpoint, split
from verity.log.heads import device_of, key_of
from verity.log.log_index import open_head
from verity.log.note import VerifierKey, unbase64
from verity.log.tree import HASH_SIZE, SIZE_LIMIT, check_inclusion, hash_leaf
from verity.statements.bundle import LogPart
from verity.statements.strict import decode_base64, decode_hex

MAX_PATH = 63
MAX_EXTRA = 16 << 10
MAX_BYTES = note.MAX_BYTES + (32 << 10)
SUFFIX = ".tlog-proof"

_MAGIC = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)


class TlogProof(msgspec.Struct, frozen=True):
    """``index`` and ``path`` (32 bytes each) place an entry in the tree of ``checkpoint``; ``extra`` is not vouched for
    by anybody; None where there is none."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = [] if self.extra is None else [f"extra {_base64(self.extra)}"]
        return "\n".join([_MAGIC, *extra, f"index {self.index}", *map(_base64, self.path), "", self.checkpoint])


def of_bundle(log: LogPart) -> tuple[TlogProof, TlogProof]:
    """The proofs for the intent and the result of a bundle, which carries the same in another form. Raises FormatError
    for hashes and salts that are not written as they must be; whether they hold is not checked."""
    intent, result = (
        TlogProof(
            index=proof.index,
            path=tuple(decode_hex(digest, HASH_SIZE, "hash of the log proof") for digest in proof.path),
            checkpoint=log.checkpoint,
            extra=decode_base64(proof.salt, "entry's salt"),
        )
        for proof in (log.intent, log.result)
    )
    return intent, result


def parse(data: bytes) -> TlogProof:
    """Read a proof; that it has the form of one is checked, and nothing else is. Raises FormatError."""
    if len(data) > MAX_BYTES:
        raise FormatError(f"a proof has at most {MAX_BYTES:,} bytes")
    try:
        text = data.decode()
    except UnicodeError as error:
        raise FormatError("the proof is not UTF-8 text") from error
    head, empty, checkpoint = text.partition("\n\n")  # no line before the checkpoint is empty
    lines = head.split("\n")
    extra = None
    if len(lines) > 1 and lines[1].startswith("extra "):
        extra = unbase64(lines.pop(1).removeprefix("extra "), "the proof's extra data")
    index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    if lines[0] != _MAGIC or index is None or not empty or int(index[1]) >= SIZE_LIMIT:
        raise FormatError(f"this is not a proof: {_MAGIC}, extra, index, hashes, an empty line, a checkpoint")
    path = tuple(unbase64(line, "a hash of the proof") for line in lines[2:])
    if len(path) > MAX_PATH or any(len(digest) != HASH_SIZE for digest in path) or len(extra or b"") > MAX_EXTRA:
        raise FormatError(f"a proof has at most {MAX_PATH} hashes of {HASH_SIZE} bytes, and {MAX_EXTRA:,} bytes beside")
    split(checkpoint, extensions=True)
    proof = TlogProof(int(index[1]), path, checkpoint, extra)
    if str(proof).encode() != data:
        raise FormatError("the proof would not be written back as it was read")
    return proof


def check(proof: TlogProof, entry: bytes, key: VerifierKey) -> Checkpoint:
    """The head of the log with this key, in which ``entry`` (the leaf's data) stands where the proof says.

    Raises SignatureError or FormatError for a checkpoint that is not of that log, ProofError when it does not stand
    there.
    """
    head = open_head(proof.checkpoint, key)
    check_inclusion(proof.index, head.size, hash_leaf(entry), proof.path, head.root)
    return head


def check_device(proof: TlogProof, entry: bytes, device: str) -> Checkpoint:
    """The same for a log of a device, of whatever epoch."""
    origin = split(proof.checkpoint)[0].origin
    key = key_of(origin) if device_of(origin) == device else None
    if key is None:
        raise SignatureError(f"the checkpoint is of the log {origin[:120]}, which is not one of device {device[:16]}…")
    return check(proof, entry, key)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
