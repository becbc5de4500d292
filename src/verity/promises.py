"""Answers to requests that somebody else issued: what the device may do for them, and how it goes on with a promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verity.errors import UsageError
from verity.exporter import Exporter
from verity.loader import Loaded
from verity.recorded import check_shown
from verity.recorder import Begun, Recorder
from verity.request import asked_by, intent_fields, make_request
from verity.statements.bundle import SignedIntent
from verity.statements.request import IntentName, Issued
from verity.statements.strict import canonical

MAX_ASKED_CONTEXT = 1 << 13
"""Tokens: a request by somebody else gets no larger context unless the owner allows it."""


def check_affordable(request: Issued, allowed: int | None) -> None:
    """Raises UsageError for a context larger than the owner's own or MAX_ASKED_CONTEXT: memory is his to give."""
    size = request.request.context_size
    if size > max(allowed or 0, MAX_ASKED_CONTEXT):
        raise UsageError(f"the request wants a context of {size:,} tokens", f"allow it with --context {size}")


def check_fits(request: Issued, loaded: Loaded) -> None:
    """Raises UsageError when this engine is not what the request is for."""
    wanted = (request.request.model, request.request.context_size)
    if (loaded.model["blake3"], loaded.engine.context_size) != wanted:
        raise UsageError("the request is for another model or context size than this engine has", "use another engine")


def promise(
    recorder: Recorder, exporter: Exporter, loaded: Loaded, request: Issued, show: Sequence[str]
) -> SignedIntent:
    """Sign and log the intent to answer ``request``. Raises UsageError, ContextOverflow, StoreError, EngineError."""
    made = make_request(loaded.engine, asked_by(request.request), issued=request)
    fields = intent_fields(made, loaded.engine, loaded.model, loaded.numerics)
    check_shown(show, fields)
    begun = recorder.begin(fields, show, promised=True, request=request.envelope)
    begun.hold.release()
    return exporter.intent(begun.id)


def resume(recorder: Recorder, request: Issued, intent: IntentName, fields: dict[str, Any]) -> Begun:
    """Go on with a promise, now that its nonce is known. Raises UsageError when ``fields`` are not those promised."""
    begun = recorder.resume(intent, request.envelope)
    fields["time/started"] = begun.private.intent["time/started"]
    if canonical(fields) != canonical(begun.private.intent):
        begun.hold.release()
        raise UsageError("model, engine or numerics are no longer those of the signed intent", "ask for a new request")
    return begun
