"""A bundle: one JSON file, ``*.verity.json``, with all that somebody needs to check an output.

    {"receipt":    {"intent": DSSE envelope, "result": DSSE envelope},            public
     "log":        {"checkpoint": C2SP text, "intent": {…proof}, "result": {…}},  public
     "disclosure": {"intent": [openings], "result": [openings], "tokens": [...]}} private; may be absent

A signed intent, ``*.intent.json``, is what its issuer gets before the nonce is known:

    {"intent": DSSE envelope, "checkpoint": C2SP text, "proof": {…}}              public

Nothing in them is trusted for being there. ``verity.verify`` decides.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from verity.errors import FormatError
from verity.statements.commitments import Opening, decode_salt
from verity.statements.dsse import Envelope
from verity.statements.steps import Step, Tensor
from verity.statements.strict import decode_base64, encode_base64, load

MAX_BUNDLE_BYTES = 32 << 20
MAX_INTENT_BYTES = 4 << 20
MAX_TOKENS = 1 << 17
MAX_OPENED_STEPS = 1 << 17
SUFFIX = ".verity.json"
_KEY_DOMAIN = b"verity/disclosure-key/v1\x00"


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    intent: Envelope
    result: Envelope


class LogProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That one envelope stands in the log: leaf index, the entry's salt (base64), audit path (hex, leaf to root)."""

    index: int
    salt: str
    path: list[str]


class Consistency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That the log only grew since it had ``size`` entries: a consistency proof (hex) to the bundle's checkpoint."""

    size: int
    path: list[str]


class SignedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registrar's word on a TPM's key, and that it stands in the registrar's log (statements/hardware.py)."""

    hardware: Envelope
    checkpoint: str
    proof: LogProof

    def encode(self) -> bytes:
        """The file's bytes."""
        return msgspec.json.encode(self) + b"\n"


class HardwareProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A TPM's quote over the device's key and the checkpoint beside it; ``attest``, ``signature`` and ``event_log`` in
    base64, each PCR as its index and value (hex)."""

    record: SignedRecord
    attest: str
    signature: str
    pcrs: list[tuple[int, str]]
    event_log: str | msgspec.UnsetType = msgspec.UNSET

    def encode(self) -> bytes:
        """JSON, to be kept beside the checkpoint."""
        return msgspec.json.encode(self)


class LogPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    checkpoint: str
    intent: LogProof
    result: LogProof
    consistency: Consistency | msgspec.UnsetType = msgspec.UNSET
    hardware: HardwareProof | msgspec.UnsetType = msgspec.UNSET


class TokenOpening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Output token ``index``: its ``id``, its bytes and salt (base64); ``path`` (hex) when others are withheld."""

    id: int
    index: int
    piece: str
    salt: str
    path: list[str] | msgspec.UnsetType = msgspec.UNSET


class SegmentOpening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a verifier cannot make himself of a segment: the digests (hex) of the state at its end and, under a grammar,
    of what was allowed there; and its salt (base64). All segments are opened, in order, or none."""

    salt: str
    state: str
    grammar: str = ""


class TensorOpening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A typed array; ``data`` are its elements in C order, little-endian, in base64."""

    name: str
    dtype: str
    shape: list[int]
    data: str

    @classmethod
    def of(cls, tensor: Tensor) -> TensorOpening:
        return cls(tensor.name, tensor.dtype, list(tensor.shape), encode_base64(tensor.data))

    def tensor(self) -> Tensor:
        """Raises FormatError when its elements are not in base64; whether they fit is not checked."""
        return Tensor(self.name, self.dtype, tuple(self.shape), decode_base64(self.data, "elements of a tensor"))


class StepOpening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Step ``index`` of a network: what it was given and what it gave, the caller's ``note`` if there is one, the salt
    (base64); ``path`` (hex) when others are withheld."""

    index: int
    inputs: list[TensorOpening]
    outputs: list[TensorOpening]
    salt: str
    note: Any = None
    path: list[str] | msgspec.UnsetType = msgspec.UNSET

    def step(self) -> Step:
        """The step that it opens. Raises FormatError for what is written in another way than it must be."""
        if not 0 <= self.index < 1 << 32:
            raise FormatError("a step's index is out of range")
        return Step(self.index, [t.tensor() for t in self.inputs], [t.tensor() for t in self.outputs], self.note)


class Disclosure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``request`` is the issuer's, for readers who trust the issuer; it holds the whole prompt and the nonce."""

    intent: list[Opening]
    result: list[Opening]
    tokens: list[TokenOpening] = []
    segments: list[SegmentOpening] = []
    steps: list[StepOpening] = []
    request: Envelope | msgspec.UnsetType = msgspec.UNSET


def disclosure_key(receipt_id: bytes, disclosure: Disclosure) -> str:
    """What shows that somebody holds a disclosure with every field opened, without showing any: SHA-256 (hex) over the
    salts, which nobody else knows. Raises FormatError when a field is withheld."""
    hasher = hashlib.sha256(_KEY_DOMAIN + receipt_id)
    for line in (*disclosure.intent, *disclosure.result):
        if not isinstance(line.salt, str):
            raise FormatError(f"the field {line.field!r} is withheld", "ask for a bundle with everything opened")
        hasher.update(line.field.encode() + b"\x00" + decode_salt(line.salt))
    return hasher.hexdigest()


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    receipt: Receipt
    log: LogPart
    disclosure: Disclosure | msgspec.UnsetType = msgspec.UNSET

    def encode(self) -> bytes:
        """The file's bytes."""
        return msgspec.json.encode(self) + b"\n"


class SignedIntent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module."""

    intent: Envelope
    checkpoint: str
    proof: LogProof

    def encode(self) -> bytes:
        """The file's bytes."""
        return msgspec.json.encode(self) + b"\n"


def decode_signed_intent(data: bytes) -> SignedIntent:
    """Read a signed intent from its bytes. Raises FormatError."""
    return load(data, SignedIntent, limit=MAX_INTENT_BYTES, what="signed intent")


def decode_bundle(data: bytes) -> Bundle:
    """Read a bundle from its bytes. Raises FormatError."""
    bundle = load(data, Bundle, limit=MAX_BUNDLE_BYTES, what="Verity bundle")
    if bundle.disclosure is not msgspec.UNSET and len(bundle.disclosure.tokens) > MAX_TOKENS:
        raise FormatError(f"a bundle opens at most {MAX_TOKENS:,} tokens")
    if bundle.disclosure is not msgspec.UNSET and len(bundle.disclosure.steps) > MAX_OPENED_STEPS:
        raise FormatError(f"a bundle opens at most {MAX_OPENED_STEPS:,} steps")
    return bundle
