"""Writes one answer on the device's engine: intent → run → result → bundle. However it ends, that is on record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

from verity.answer import Answer, Stream
from verity.engines.output import Output
from verity.errors import VerityError
from verity.exporter import Exporter
from verity.generation import Generation, finished, write
from verity.loader import Loaded
from verity.recorded import check_shown
from verity.recorder import Begun, Recorder
from verity.request import Request, intent_fields

Begin = Callable[[dict[str, Any]], Begun]


class Runner:
    """Answers of one device, one at a time."""

    def __init__(self, recorder: Recorder, exporter: Exporter) -> None:
        self._recorder = recorder
        self._exporter = exporter

    def start(self, loaded: Loaded, request: Request, show: Sequence[str], begin: Begin | None = None) -> Stream:
        """An answer that is written as it is read. ``begin`` goes on with an intent that is logged already.

        Raises UsageError for a field to show that there is not; reading raises EngineError, StoreError.
        """
        fields = intent_fields(request, loaded.engine, loaded.model, loaded.numerics)
        check_shown(show, fields)
        envelope = request.issued.envelope if request.issued else None

        def run(stream: Stream) -> Generator[str, None, None]:
            begun = begin(fields) if begin else self._recorder.begin(fields, show, request=envelope)
            yield from self._run(stream, request, loaded, begun)

        return Stream(run)

    def _run(self, stream: Stream, request: Request, loaded: Loaded, begun: Begun) -> Generator[str, None, None]:
        """Tokens and result. However it ends, the result is logged with the tokens so far."""
        answer: Generation | None = None
        cut_off_by = "error"
        try:
            answer = Generation(loaded.engine, request)
            yield from write(loaded.engine, request, answer)
        except (GeneratorExit, KeyboardInterrupt):
            cut_off_by = "cancelled"
            raise
        finally:
            stream.answer = self._record(begun, request, answer, cut_off_by, loaded)

    def _record(
        self, begun: Begun, request: Request, answer: Generation | None, cut_off_by: str, loaded: Loaded
    ) -> Answer:
        if answer is not None:
            with contextlib.suppress(VerityError):  # without its states the answer is on record all the same
                answer.close()
        output = answer.output if answer is not None else Output(request.max_tokens, ())
        finish = output.finish or cut_off_by
        result = finished(request, answer, finish)
        self._recorder.finish(begun, result.fields, result.tokens, result.evaluated)
        bundle = self._exporter.bundle(begun.id)
        engine = str(loaded.engine.description["name"])
        return Answer(output.text, output.tokens, finish, begun.id, bundle, loaded.numerics, engine, result.calls)
