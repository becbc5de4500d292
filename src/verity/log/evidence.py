"""That a log's key signed two histories: evidence that proves itself to whoever knows the key; see spec/witness.md.

    {"checkpoints": [note, note], "prefix": {"root": hex, "path": [hex, …]}}

Two heads of one size with two roots are enough. Of two sizes, the smaller first, ``prefix`` says which root the larger
tree had when it had the smaller size: another than was signed, though the larger root follows from it. Whoever holds
such a file need not be believed, so nobody signs it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from verity.errors import FormatError, ProofError, UsageError
from verity.log import note, tree
from verity.log.checkpoint import Checkpoint, split
from verity.log.heads import key_of, signed_by
from verity.log.note import VerifierKey
from verity.log.submission import MAX_PROOF
from verity.statements.strict import canonical, decode_hex, load

MAX_BYTES = 2 * note.MAX_BYTES + (1 << 14)
SUFFIX = ".fork.json"


class Prefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The root (hex) that the larger tree had at the smaller size, and the consistency proof (hex) from there."""

    root: str
    path: list[str]


class Fork(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Two signed heads of one log, the smaller first; ``prefix`` when their sizes differ."""

    checkpoints: tuple[str, str]
    prefix: Prefix | msgspec.UnsetType = msgspec.UNSET

    def encode(self) -> bytes:
        """The file's bytes."""
        return canonical(self) + b"\n"


def decode_fork(data: bytes) -> Fork:
    """Read evidence from its bytes. Raises FormatError; whether it proves anything is for ``check_fork``."""
    return load(data, Fork, limit=MAX_BYTES, what="evidence of a fork")


def fork_of(first: str, second: str, node: tree.Node | None = None) -> Fork:
    """The evidence in two heads, in either order; for two sizes, ``node`` reads the larger one's tree.

    No signature is checked here. Raises ProofError when they do not contradict each other, FormatError.
    """
    smaller, larger = sorted((first, second), key=lambda text: _read(text).size)
    old, new = _read(smaller), _read(larger)
    if node is None or old.size == new.size:
        return fork_by_proof(smaller, larger, ())
    path = tree.consistency_proof(old.size, new.size, node)
    return fork_by_proof(smaller, larger, path, tree.root_at(old.size, node))


def fork_by_proof(smaller: str, larger: str, path: Sequence[bytes], root: bytes | None = None) -> Fork:
    """The evidence in two heads and the consistency proof that the larger one's history gives from the smaller size.

    ``root`` is that history's root at the smaller size. It need not be told where the proof holds it: at every size but
    a power of two. No signature is checked here. Raises ProofError when they prove no fork, FormatError.
    """
    old, new = _read(smaller), _read(larger)
    prefix: Prefix | msgspec.UnsetType = msgspec.UNSET
    if old.size != new.size:
        root = root if root is not None else tree.prefix_root(old.size, new.size, path)
        if root is None:
            raise ProofError("the proof does not say which root the larger log had at the smaller size")
        prefix = Prefix(root.hex(), [digest.hex() for digest in path])
    fork = Fork((smaller, larger), prefix)
    _check_contradiction(fork, old, new)
    return fork


def check_fork(fork: Fork, key: VerifierKey | None = None) -> str:
    """Say in a sentence what the evidence proves. ``key`` is the log's; a device's log names its own.

    Raises FormatError for what cannot be read, UsageError when the key is not known, SignatureError when the log did
    not sign both heads, ProofError when they do not contradict each other.
    """
    (old, first), (new, second) = (split(text, extensions=True) for text in fork.checkpoints)
    named = key_of(old.origin)
    if named is None and key is None:
        raise UsageError(f"the log {old.origin} does not name its key", "name it with --key, as one word")
    if key is not None and named is not None and key.public != named.public:
        raise UsageError(f"the log {old.origin} is signed by the key in its name, not by the one given", "")
    keys = [known for known in (named, key) if known is not None]
    for said in (first, second):
        signed_by(said, keys)
    _check_contradiction(fork, old, new)
    if old.size == new.size:
        return f"The key of the log {old.origin} signed two logs of {old.size} entries, with two roots."
    return (
        f"The key of the log {old.origin} signed a log of {old.size} entries and one of {new.size} "
        "that does not begin with it."
    )


def _check_contradiction(fork: Fork, old: Checkpoint, new: Checkpoint) -> None:
    if old.origin != new.origin:
        raise ProofError("the two heads are of two logs: they need not agree")
    if old.size > new.size:
        raise FormatError("the smaller of two heads stands first in evidence of a fork")
    if isinstance(fork.prefix, Prefix):
        if old.size == new.size:
            raise FormatError("two heads of one size need no proof between them")
        _check_prefix(fork.prefix, old, new)
    elif old.size != new.size:
        raise ProofError("nothing shows what the larger log had at the smaller size")
    elif old.root == new.root:
        raise ProofError("the two heads agree: one size, one root")


def _check_prefix(prefix: Prefix, old: Checkpoint, new: Checkpoint) -> None:
    if len(prefix.path) > MAX_PROOF:
        raise FormatError(f"a proof has at most {MAX_PROOF} hashes")
    if old.size == 0:
        raise ProofError("every log begins with no entries")
    root = decode_hex(prefix.root, tree.HASH_SIZE, "root of the evidence")
    path = [decode_hex(digest, tree.HASH_SIZE, "hash in the evidence") for digest in prefix.path]
    # Where the old size is a power of two the path starts at the old root. It is stated, so it is bound by the new one.
    tree.check_consistency(old.size, new.size, root, new.root, path)
    if root == old.root:
        raise ProofError("the larger log begins with the smaller one")


def _read(text: str) -> Checkpoint:
    return split(text, extensions=True)[0]
