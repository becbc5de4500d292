"""A witness's signature on somebody else's checkpoint: C2SP tlog-cosignature, the Ed25519 kind; see spec/witness.md.

    — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==

After the key id come 8 bytes of time, then the Ed25519 signature of ``cosignature/v1``, ``time T`` and the
checkpoint's body, a line each. It says: as of T (seconds since 1970), by the witness's clock, this was the largest head
of this log that it had seen, and every head before was a beginning of it.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable

from verity.errors import FormatError, SignatureError
from verity.log.note import COSIGNATURE, Line, Note, VerifierKey
from verity.statements.keys import Signer, check_signature

_TIME_LIMIT = 1 << 63
_LENGTH = 8 + 64


def cosign(body: str, name: str, signer: Signer, time_s: int) -> Line:
    """The line by which the witness of this name says that it saw the head with this body at ``time_s``."""
    key = VerifierKey(name, COSIGNATURE, signer.public)
    return Line(name, key.id, time_s.to_bytes(8, "big") + signer.sign(_message(body, time_s)))


def check_cosignature(line: Line, key: VerifierKey, body: str) -> int:
    """The time, in seconds since 1970, that this witness's line over this body states.

    Raises FormatError for a line or key of another kind, SignatureError when the signature does not hold.
    """
    if key.kind != COSIGNATURE or not key.made(line) or len(line.signature) != _LENGTH:
        raise FormatError(f"this is not a cosignature of the witness {key.name}")
    time_s = int.from_bytes(line.signature[:8], "big")
    if time_s >= _TIME_LIMIT:
        raise FormatError("the cosignature's time is beyond 2^63 - 1 seconds")
    check_signature(key.public, _message(body, time_s), line.signature[8:])
    return time_s


def cosigned(note: Note, keys: Iterable[VerifierKey]) -> dict[VerifierKey, int]:
    """Which of these witnesses signed the note, and when. Lines of others are ignored (signed-note, "Signatures").

    Raises SignatureError or FormatError when a line of one of them does not hold: then somebody tampered.
    """
    found = {}
    for key in keys:
        for line in note.lines:
            if key.kind == COSIGNATURE and key.made(line):
                try:
                    found[key] = check_cosignature(line, key, note.body)
                except SignatureError as error:
                    raise SignatureError(f"the cosignature of {key.name} does not hold") from error
    return found


def _message(body: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{body}".encode()
