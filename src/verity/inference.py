"""Steps of a network with a receipt: the intent is logged before the first, one result covers them all.

A step is what a robot or a headset makes a thousand times a second, so it costs hardly more than the network itself:
what went in and came out is copied, and that is all. ``flush`` hashes, seals and writes what was copied, and so does
every so-manieth step. One receipt is two entries in the log, however many steps there are; each can be shown alone.
Formats: spec/inference.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from verity.endings import inference_ending
from verity.engines import ONNX
from verity.engines.network import Array
from verity.errors import UsageError
from verity.exporter import Exporter, Selection
from verity.loader import LoadedNetwork
from verity.recorded import Recorded, check_shown, grade, setting
from verity.recorder import Recorder
from verity.statements.bundle import Bundle
from verity.statements.receipt import INFERENCE, input_field
from verity.statements.steps import MAX_STEP_BYTES, MAX_STEPS, encode_note, join_step, tensor_head
from verity.steps import StepTree

FLUSH_EVERY = 1000
"""Steps. Hashing and writing that many small ones takes some 10 ms and one sync of the disk."""
_FLUSH_BYTES = 8 << 20


class _Made(NamedTuple):
    """A step as it was copied: shapes and bytes of the arrays, in the network's order."""

    inputs: list[tuple[tuple[int, ...], bytes]]
    outputs: list[tuple[tuple[int, ...], bytes]]
    note: bytes


class Inferred(Recorded, frozen=True, kw_only=True):
    """The outputs of one step with their receipt."""

    outputs: dict[str, Array]


class Session:
    """A network at work, every step on record. Use it in a ``with`` block, or close it; not from several threads.

    ``receipt`` is the receipt's id. A session that is left by an exception ends as ``cancelled`` (Ctrl-C) or ``error``.
    If the process dies, what was flushed is on record, and the device closes the receipt as ``aborted``.
    """

    def __init__(
        self,
        recorder: Recorder,
        exporter: Exporter,
        loaded: LoadedNetwork,
        *,
        show: Sequence[str] = (),
        flush_every: int = FLUSH_EVERY,
    ) -> None:
        if flush_every < 1:
            raise UsageError("a session is flushed after every step at most", "flush_every must be 1 or more")
        fields = intent_fields(loaded)
        check_shown(show, fields)
        self._network = loaded.network
        self._recorder = recorder
        self._exporter = exporter
        self._flush_every = flush_every
        self._names = [form.name for form in loaded.network.inputs]
        self._forms = [*loaded.network.inputs, *loaded.network.outputs]
        self._made: list[_Made] = []
        self._size = 0
        self._begun = recorder.begin(fields, show, kind=INFERENCE)
        self._writer = recorder.steps.writer(self._begun.id, self._begun.secret)
        self._tree = StepTree(self._begun.id, self._begun.secret)
        self.finish: str | None = None
        self.receipt = self._begun.id
        self.numerics = loaded.numerics

    @property
    def steps(self) -> int:
        """How many there are so far."""
        return self._tree.count + len(self._made)

    @property
    def durable(self) -> int:
        """How many of them outlive this process."""
        return self._tree.count

    @property
    def grade(self) -> str:
        """What the receipt can be checked for, in a few words."""
        return grade(ONNX, self.numerics)

    def run(self, inputs: Mapping[str, Array], note: Any = None) -> dict[str, Array]:
        """One step: the network's outputs, by name. ``note`` is any JSON value to put on record with it (a time, say).

        Arrays have the network's own types: nothing is converted. Raises UsageError for inputs that it does not take,
        and when the session is over; EngineError; FormatError for a note that is no JSON; and what ``flush`` raises,
        if it is time to: then the step is not on record.
        """
        if self.finish is not None:
            raise UsageError("the session is over", "begin another: Node.session")
        written = encode_note(note) if note is not None else b""
        outputs = self._network.run(inputs)
        given = [(array.shape, array.tobytes()) for array in map(inputs.__getitem__, self._names)]
        gave = [(array.shape, array.tobytes()) for array in outputs.values()]
        size = sum([len(data) for _, data in given]) + sum([len(data) for _, data in gave])
        if size > MAX_STEP_BYTES or self.steps >= MAX_STEPS:
            raise _too_much(size)
        self._made.append(_Made(given, gave, written))
        self._size += size
        if len(self._made) >= self._flush_every or self._size >= _FLUSH_BYTES:
            self.flush()
        return outputs

    def flush(self) -> None:
        """Hash, seal and write the steps so far; when this returns, they are durable. Raises StoreError: then the
        session is over, and those that were durable before are on record."""
        if not self._made:
            return
        made, self._made, self._size = self._made, [], 0
        bodies = [self._body(step) for step in made]
        try:
            self._writer.append(bodies)
        except BaseException:
            self.close("error")
            raise
        self._tree.append(bodies)

    def _body(self, step: _Made) -> bytes:
        parts = [
            (tensor_head(form.name, form.dtype, shape), data)
            for form, (shape, data) in zip(self._forms, [*step.inputs, *step.outputs], strict=True)
        ]
        return join_step(parts[: len(self._names)], parts[len(self._names) :], step.note)

    def close(self, finish: str = "end") -> None:
        """Flush, and log the result. Nothing happens if the session is over. Raises StoreError, LogError."""
        if self.finish is not None:
            return
        self.flush()
        if self.finish is None:
            self.finish = finish
            self._writer.close()
            self._recorder.finish(self._begun, inference_ending(finish, self._tree.field()), [])

    def bundle(self, steps: tuple[int, int] | None = None) -> Bundle:
        """The bundle of a session that is over, with all steps opened, or those from one number up to another.

        Raises UsageError while the session goes on, and for more steps than a bundle can hold.
        """
        return self._exporter.bundle(self.receipt, Selection(everything=steps is None, steps=steps))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close("end" if kind is None else "cancelled" if issubclass(kind, KeyboardInterrupt) else "error")


def infer(session: Session, inputs: Mapping[str, Array]) -> Inferred:
    """One step, and the end of its session."""
    with session:
        outputs = session.run(inputs)
    return Inferred(
        outputs=outputs, receipt=session.receipt, bundle=session.bundle(), numerics=session.numerics, engine=ONNX
    )


def intent_fields(loaded: LoadedNetwork) -> dict[str, Any]:
    """Every field of the intent (spec/inference.md). None and [] say that a later version's feature is not in use."""
    network = loaded.network
    return {
        "outputs": msgspec.to_builtins(list(network.outputs)),
        **setting(loaded, network),
        **{input_field(i): msgspec.to_builtins(form) for i, form in enumerate(network.inputs)},
    }


def _too_much(size: int) -> UsageError:
    if size > MAX_STEP_BYTES:
        return UsageError(f"a step of {size:,} bytes is larger than {MAX_STEP_BYTES:,}", "give the input in parts")
    return UsageError(f"a session has at most {MAX_STEPS:,} steps", "begin another")
