"""The canonical request: everything that a device could vary, fixed and signed by whoever will verify.

    {"_type": in-toto, "predicateType": "verity:request/v1",
     "subject": [{"name": "verity:request:<id>", "digest": {"sha256": salted digest}}],
     "predicate": {"id": 32 hex digits, "salt": the same, "request": {…}, "nonce": hex, "intent": {"id", "sha256"}}}

in a DSSE envelope, ``*.request.json``. Without ``nonce`` it asks for a signed intent first; issued again with the nonce
and that intent's name, it is what the device may then answer. Specified in spec/request.md.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from typing import Any

import msgspec

from verity.errors import FormatError
from verity.statements.commitments import ID_BYTES, SALT_BYTES
from verity.statements.dsse import Envelope, seal
from verity.statements.in_toto import InToto, Subject
from verity.statements.keys import Signer
from verity.statements.receipt import INTENT_FIELDS, ROLES, Message, input_field
from verity.statements.strict import canonical, decode_hex, load

REQUEST = "verity:request/v1"
MAX_REQUEST_BYTES = 4 << 20
MAX_MESSAGES = 1024
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z", re.ASCII)
SAMPLING = "sampling/"
_DOMAIN = b"verity/request/v1\x00"
_NONCE = re.compile(r"([0-9a-f]{2}){16,64}", re.ASCII)


class CanonicalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked for, complete: no member has a default.

    ``context_size`` and ``max_tokens`` are in tokens, ``model`` is a BLAKE3 digest, ``clock`` the time (RFC 3339, UTC)
    for templates that ask for one, ``sampling`` all parameters by name. ``adapters``, ``tools`` and ``grammar`` are
    empty until a later version has them; ``choices`` is 1.
    """

    adapters: list[str]
    choices: int
    clock: str
    context_size: int
    grammar: None
    max_tokens: int
    messages: list[Message]
    model: str
    sampling: dict[str, int | float]
    stops: list[str]
    tools: list[str]

    def pins(self) -> dict[str, Any]:
        """What a receipt that answers this must say, by field, or by field and member (``context/size``).

        The template's clock is not among them: it depends on whether the model's template asks for one.
        """
        return {
            "adapters": self.adapters,
            "choice": {"index": 0, "of": self.choices},
            "context/size": self.context_size,
            "grammar": self.grammar,
            "limits/max_tokens": self.max_tokens,
            "limits/stops": self.stops,
            "model/blake3": self.model,
            "tools": self.tools,
            **{SAMPLING + name: value for name, value in self.sampling.items()},
            **{input_field(i): msgspec.to_builtins(message) for i, message in enumerate(self.messages)},
        }

    def digest(self, issuer: bytes, request_id: bytes, salt: bytes) -> str:
        """How receipts name it (64 hex digits): salted, so that a receipt that shows it does not tell the prompt."""
        return hashlib.sha256(_DOMAIN + issuer + request_id + salt + canonical(self)).hexdigest()


class IntentName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The intent that a nonce was revealed for: its receipt id and statement digest."""

    id: str
    sha256: str


class _Predicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    id: str
    salt: str
    request: CanonicalRequest
    nonce: str | msgspec.UnsetType = msgspec.UNSET
    intent: IntentName | msgspec.UnsetType = msgspec.UNSET


class Issued(msgspec.Struct, frozen=True):
    """A request whose signature by ``issuer`` (a device key) holds. Whether to trust him is the reader's business."""

    envelope: Envelope
    issuer: str
    id: str
    salt: str
    request: CanonicalRequest
    nonce: bytes | None
    intent: IntentName | None

    @property
    def name(self) -> dict[str, str]:
        """Field ``request`` of a receipt that answers this."""
        parts = (bytes.fromhex(part) for part in (self.issuer, self.id, self.salt))
        return {"id": self.id, "sha256": self.request.digest(*parts)}


def issue(
    request_id: bytes,
    salt: bytes,
    request: CanonicalRequest,
    signer: Signer,
    nonce: bytes | None = None,
    intent: IntentName | None = None,
) -> Envelope:
    """Sign a request; id and salt are 16 bytes. Raises FormatError for one that no reader would accept."""
    predicate = _Predicate(
        id=request_id.hex(),
        salt=salt.hex(),
        request=request,
        nonce=msgspec.UNSET if nonce is None else nonce.hex(),
        intent=msgspec.UNSET if intent is None else intent,
    )
    subject = Subject(
        name=f"verity:request:{predicate.id}", digest={"sha256": request.digest(signer.public, request_id, salt)}
    )
    statement = InToto.of(predicate, REQUEST, subject)
    envelope = seal(canonical(statement), signer)
    read_request(envelope)
    return envelope


def read_request(source: bytes | Envelope) -> Issued:
    """Read a request and check its signature by the key that it names. Raises FormatError, SignatureError."""
    what = "request"
    envelope = load(source, Envelope, limit=2 * MAX_REQUEST_BYTES, what=what) if isinstance(source, bytes) else source
    issuer = envelope.device()
    statement = load(envelope.check(issuer), InToto[_Predicate], limit=MAX_REQUEST_BYTES, what=what)
    predicate = statement.predicate
    if not statement.is_of(REQUEST):
        raise FormatError("this is not a request", "`verity nonce` makes one")
    request_id = decode_hex(predicate.id, ID_BYTES, "request's id")
    salt = decode_hex(predicate.salt, SALT_BYTES, "request's salt")
    _check(predicate.request)
    digest = predicate.request.digest(bytes.fromhex(issuer), request_id, salt)
    expected = Subject(f"verity:request:{predicate.id}", {"sha256": digest})
    if statement.subject != [expected]:
        raise FormatError("the request's subject is not the digest of what it asks for")
    nonce, intent = predicate.nonce, predicate.intent
    if isinstance(nonce, str) and not _NONCE.fullmatch(nonce):
        raise FormatError("the request's nonce is not 16 to 64 bytes in lower-case hexadecimal")
    if isinstance(intent, IntentName):
        if not isinstance(nonce, str):
            raise FormatError("the request names an intent and no nonce")
        decode_hex(intent.id, ID_BYTES, "intent's receipt id")
        decode_hex(intent.sha256, 32, "intent's digest")
    return Issued(
        envelope=envelope,
        issuer=issuer,
        id=predicate.id,
        salt=predicate.salt,
        request=predicate.request,
        nonce=bytes.fromhex(nonce) if isinstance(nonce, str) else None,
        intent=intent if isinstance(intent, IntentName) else None,
    )


def _check(request: CanonicalRequest) -> None:
    decode_hex(request.model, 32, "model's BLAKE3 digest")
    if request.adapters or request.tools or request.choices != 1:
        raise FormatError("the request asks for adapters, tools or several answers, which this version does not have")
    if not 0 < request.context_size < 1 << 31 or not 0 < request.max_tokens < 1 << 31:
        raise FormatError("the request's context size or number of tokens is out of range")
    try:
        datetime.datetime.fromisoformat(request.clock if TIME.fullmatch(request.clock) else "")
    except ValueError as error:
        raise FormatError("the request's clock is not a time in UTC (RFC 3339)") from error
    if {SAMPLING + name for name in request.sampling} != {f for f in INTENT_FIELDS if f.startswith(SAMPLING)}:
        raise FormatError("the request does not name every sampling parameter, or others")
    if not 0 < len(request.messages) <= MAX_MESSAGES:
        raise FormatError(f"a request has 1 to {MAX_MESSAGES} messages")
    if any(message.role not in ROLES or message.type != "text" for message in request.messages):
        raise FormatError("the request has a message of an unknown role or type")
