"""Asks devices for answers that they could not choose: canonical requests, and nonces for signed intents.

A request pins everything that a device could vary. Its nonce goes with it; or, in the strongest mode, the device signs
and logs its intent first, and only then learns the nonce. One request is given one nonce, for one intent: whoever could
collect several would pick the answer that it likes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

import msgspec

from verity.engines.llama import DEFAULT_CONTEXT, MAX_CONTEXT
from verity.errors import FormatError, LogError, ModelNotFound, UsageError
from verity.identity.device_key import DeviceKey
from verity.request import DEFAULT_MAX_TOKENS, check_asked
from verity.statements.bundle import SignedIntent
from verity.statements.commitments import ID_BYTES, SALT_BYTES
from verity.statements.receipt import INTENT, Message, read_statement, statement_digest
from verity.statements.request import CanonicalRequest, IntentName, Issued, issue, read_request
from verity.store import catalogue
from verity.store.blobs import Blobs
from verity.store.clock import now
from verity.store.database import Database
from verity.verify.logged import check_intent

NONCE_BYTES = 32
CONTEXT_STEP = 256
"""llama.cpp rounds a context up to a multiple of it (tokens)."""
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Issuer:
    """The requests of one device."""

    def __init__(self, database: Database, key: DeviceKey, blobs: Blobs) -> None:
        self._database = database
        self._key = key
        self._blobs = blobs

    def issue(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str = catalogue.DEFAULT,
        context_size: int = DEFAULT_CONTEXT,
        clock: str | None = None,
        late: bool = False,
        system: str | None = None,
        max_tokens: int | None = None,
        stops: Sequence[str] = (),
        **sampling: float,
    ) -> Issued:
        """Sign a request to answer ``prompt``; the options are those of ``Node.stream``.

        model         a name that this device or the catalogue knows, or a BLAKE3 digest
        context_size  in tokens; rounded up to CONTEXT_STEP
        clock         what a template is told that asks for the time (RFC 3339, UTC); default: now
        late          without a nonce: the device answers with a signed intent, and ``reveal`` gives the nonce for it

        Raises UsageError, ModelNotFound, FormatError.
        """
        if not 0 < context_size <= MAX_CONTEXT:
            raise UsageError(
                f"a context of {context_size} tokens is not possible (1 to {MAX_CONTEXT:,})", "choose less"
            )
        asked = check_asked(prompt, system=system, max_tokens=max_tokens, stops=stops, sampling=sampling)
        request = CanonicalRequest(
            adapters=[],
            choices=1,
            clock=clock or now(),
            context_size=-(-context_size // CONTEXT_STEP) * CONTEXT_STEP,
            grammar=None,
            max_tokens=asked.max_tokens or DEFAULT_MAX_TOKENS,
            messages=asked.messages,
            model=self._digest_of(model),
            sampling=msgspec.to_builtins(asked.parameters),
            stops=asked.stops,
            tools=[],
        )
        request_id, salt = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SALT_BYTES)
        nonce = None if late else secrets.token_bytes(NONCE_BYTES)
        issued = read_request(issue(request_id, salt, request, self._key, nonce))
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO requests VALUES (?, ?, NULL, NULL)", (issued.id, now()))
        return issued

    def _digest_of(self, model: str) -> str:
        if (known := catalogue.find(model)) is not None:
            return known.blake3
        try:
            return self._blobs.resolve(model)[1].blake3
        except ModelNotFound:
            if not _DIGEST.fullmatch(model):
                raise
            return model

    def reveal(self, issued: Issued, signed: SignedIntent, device: str) -> Issued:
        """The same request with a nonce, for this intent of this device (64 hex digits) and no other.

        Asked again for the same intent it returns what it returned before. Raises UsageError when the request is not
        this device's, has its nonce already, or was answered with another intent; FormatError, SignatureError or
        LogError when the intent is not signed by ``device`` and in its log.
        """
        if issued.issuer != self._key.id or issued.nonce is not None:
            raise UsageError(
                "this is not a request of this device that waits for an intent", "see `verity nonce --late`"
            )
        intent = self._checked(signed, device)
        with self._database.transaction() as connection:
            query = "SELECT intent, revealed FROM requests WHERE id = ?"
            row = connection.execute(query, (issued.id,)).fetchone()
            if row is None:
                raise UsageError(f"this device did not issue the request {issued.id}", "use the home that issued it")
            named, nonce = row
            if named is None:
                nonce = secrets.token_bytes(NONCE_BYTES)
                update = "UPDATE requests SET intent = ?, revealed = ? WHERE id = ?"
                connection.execute(update, (intent.sha256, nonce, issued.id))
            elif named != intent.sha256:
                hint = "a request is answered once: issue a new one"
                raise UsageError("the nonce was revealed for another intent already", hint)
        parts = bytes.fromhex(issued.id), bytes.fromhex(issued.salt)
        return read_request(issue(*parts, issued.request, self._key, nonce, intent))

    @staticmethod
    def _checked(signed: SignedIntent, device: str) -> IntentName:
        payload = signed.intent.check(device)
        statement = read_statement(payload, INTENT)
        try:
            check_intent(signed, statement, device)
        except (FormatError, LogError) as error:
            raise LogError(
                f"the intent is not in the device's log: {error}", "reveal nothing; ask for it again"
            ) from error
        return IntentName(statement.predicate.id, statement_digest(payload))
