"""Opens the states of this device's receipts, for whoever checks a segment: those that are kept, or computed again.

A state tells all text that it was made from: opening one is the same consent as a full disclosure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from verity.errors import EngineError, UsageError
from verity.loader import Loaded
from verity.statements.commitments import SEGMENT_FIELD
from verity.statements.receipt import convert_field
from verity.statements.segments import SegmentRoot, chain, cut, evaluated_length, pack
from verity.statements.states import encode_states
from verity.store.home import guarded, write_atomically
from verity.store.receipts import Private, Receipts
from verity.store.states import States


class StateOpener:
    """A StateSource (verify/spot.py) for the receipts of one device. ``load`` is ``Node.load``."""

    def __init__(self, receipts: Receipts, states: States, load: Callable[..., Loaded]) -> None:
        self._receipts = receipts
        self._states = states
        self._load = load

    def __call__(self, receipt_id: str, segments: Sequence[int] | None = None) -> list[bytes]:
        """The packed rows of the segments of a receipt before the last of ``segments``, or of all. What is not kept
        is computed again.

        Raises UsageError when the receipt has no segments or was forgotten, ModelNotFound, StoreError, and EngineError
        when the model gives other states here than it gave then.
        """
        receipt, secret, private = self._find(receipt_id)
        count = max(segments) if segments is not None else None
        chunks = self._states.open(receipt, secret, count)
        if chunks is not None:
            return chunks
        made = self._compute(private)
        self._states.keep(receipt, secret, made)
        return made[:count]

    def kept(self, receipt_id: str, segments: Sequence[int]) -> list[bytes] | None:
        """The same, if they are kept. Raises UsageError."""
        receipt, secret, _ = self._find(receipt_id)
        return self._states.open(receipt, secret, max(segments))

    def export(self, receipt_id: str, path: str | os.PathLike[str]) -> Path:
        """Write all states of a receipt to a file (0600), for offline spot checks of its bundle. Raises likewise."""
        target, chunks = Path(path), self(receipt_id)
        with guarded(target):
            write_atomically(target, encode_states(self._receipts.get(receipt_id).id, chunks))
        return target

    def _find(self, receipt_id: str) -> tuple[str, bytes, Private]:
        kept = self._receipts.get(receipt_id)
        secret, private = self._receipts.private(kept)
        if not private.segments:
            raise UsageError(f"receipt {kept.id} commits to no segments", "verify it as a whole instead")
        return kept.id, secret, private

    def _compute(self, private: Private) -> list[bytes]:
        """Under the model, the context size and the adapters that the receipt names."""
        root = convert_field(private.result[SEGMENT_FIELD], SegmentRoot, SEGMENT_FIELD)
        fields, prompt = private.intent, private.intent["prompt_tokens"]
        tokens = [*prompt, *(token.id for token in private.tokens)]
        length = evaluated_length(len(prompt), len(private.tokens))
        adapters = [(adapter["blake3"], adapter["scale"]) for adapter in fields["adapters"]]
        engine = self._load(fields["model"]["blake3"], fields["context"]["size"], adapters).engine
        engine.reset()
        for _ in engine.advance_all(tokens[:length], skip=length):
            pass
        state = engine.state(0, cut(root.size, length))
        engine.reset()
        committed = [segment.state for segment in private.segments]
        if state is None or chain(root.encoding, root.size, length, state.chunks) != committed:
            hint = "compute them on the computer that answered, with its build of llama.cpp"
            raise EngineError("this computer gives other states than the receipt commits to", hint)
        return [pack(rows) for rows in state.chunks]
