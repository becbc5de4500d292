"""Opens the states of this device's receipts, for whoever checks a segment: those that are kept, or computed again.

A state tells all text that it was made from: opening one is the same consent as a full disclosure.
"""

from __future__ import annotations

from collections.abc import Callable

from verity.errors import EngineError, UsageError
from verity.exporter import Exporter
from verity.loader import Loaded
from verity.statements.commitments import SEGMENT_FIELD
from verity.statements.receipt import convert_field
from verity.statements.segments import SegmentRoot, chain, cut, evaluated_length, pack
from verity.store.receipts import Private
from verity.store.states import States

_HINT = "verify with the device's file of states, or have its owner pull the model again"


class StateOpener:
    """``load`` gives the engine that a receipt's fields name: model, context size and adapters."""

    def __init__(self, exporter: Exporter, states: States, load: Callable[[Private], Loaded]) -> None:
        self._exporter = exporter
        self._states = states
        self._load = load

    def open(self, receipt_id: str, count: int | None = None, *, compute: bool = True) -> list[bytes]:
        """The packed rows of the first ``count`` segments of a receipt; of all, unless that is given.

        Without ``compute``, only what is kept. Raises UsageError when the receipt has no segments or was forgotten, or
        nothing is kept; EngineError when the model gives other states here than it gave then.
        """
        kept = self._exporter.receipts.get(receipt_id)
        secret, private = self._exporter.receipts.private(kept)
        if not private.segments:
            raise UsageError(f"receipt {kept.id} commits to no segments", "verify it as a whole instead")
        wanted = len(private.segments) if count is None else min(count, len(private.segments))
        chunks = self._states.open(kept.id, secret, wanted)
        if chunks is not None:
            return chunks
        if not compute:
            raise UsageError(f"the states of receipt {kept.id} are not kept any more", "its owner can compute them")
        made = self._compute(private)
        self._states.keep(kept.id, secret, made)
        return made[:wanted]

    def _compute(self, private: Private) -> list[bytes]:
        root = convert_field(private.result[SEGMENT_FIELD], SegmentRoot, SEGMENT_FIELD)
        tokens = [*private.intent["prompt_tokens"], *(token.id for token in private.tokens)]
        length = evaluated_length(len(private.intent["prompt_tokens"]), len(private.tokens))
        loaded = self._load(private)
        loaded.engine.reset()
        for _ in loaded.engine.advance_all(tokens[:length], skip=length):
            pass
        state = loaded.engine.state(0, cut(root.size, length))
        loaded.engine.reset()
        if state is None or chain(root.encoding, root.size, length, state.chunks) != [s.state for s in private.segments]:
            raise EngineError("this computer gives other states than the receipt commits to", _HINT)
        return [pack(rows) for rows in state.chunks]
