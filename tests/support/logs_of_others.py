"""Logs in memory, honest or forked, whose heads are signed by any key: what a witness is shown."""

from __future__ import annotations

from collections.abc import Sequence

from memory_signer import MemorySigner

from verity.log import tree
from verity.log.checkpoint import Checkpoint, body_of, sign
from verity.log.note import ED25519, Line, Note, VerifierKey
from verity.log.submission import encode

KEY = MemorySigner(b"\x07" * 32)
ORIGIN = f"verity/{KEY.public.hex()}/0"


class SomeLog:
    """A log of leaves that are its number and ``twist`` from position ``since`` on: another twist, another history."""

    def __init__(
        self, twist: str = "", since: int = 0, *, origin: str = ORIGIN, signer: MemorySigner = KEY, largest: int = 40
    ) -> None:
        self.origin = origin
        self.signer = signer
        texts = [f"{n} {twist if n >= since else ''}" for n in range(largest)]
        self._leaves = [tree.hash_leaf(text.encode()) for text in texts]

    def tree(self, size: int) -> tree.MemoryTree:
        return tree.MemoryTree(self._leaves[:size])

    def root(self, size: int) -> bytes:
        return self.tree(size).root

    def head(self, size: int) -> str:
        """The signed head of the first ``size`` entries."""
        return sign(Checkpoint(self.origin, size, self.root(size)), self.signer)

    def proof(self, old: int, new: int) -> list[bytes]:
        return tree.consistency_proof(old, new, self.tree(new).node)

    def submission(self, old: int, new: int) -> bytes:
        """What an honest log would send."""
        return encode(old, self.proof(old, new), self.head(new))


def signed_under(checkpoint: Checkpoint, signers: Sequence[tuple[str, MemorySigner]]) -> str:
    """A head that keys of these names signed, extension lines and all."""
    body = body_of(checkpoint)
    lines = [
        Line(name, VerifierKey(name, ED25519, signer.public).id, signer.sign(body.encode())) for name, signer in signers
    ]
    return str(Note(body, lines))
