"""READ FIRST. A node is one device at work: ask → run → receipt → sign → log. It wires the parts together.

ask("…")
  request    messages, parameters and nonce; the model's template and tokenizer turn them into prompt tokens
  intent     every field committed with a salt, signed, appended to the log, durable       (recorder)
  run        logits from the engine, a token from the sampler, until the answer is over    (engines, sampling)
  result     tokens, text and finish reason committed, signed, appended                    (recorder)
  bundle     receipt + log proof + disclosure: what somebody else needs to check it
verify(bundle)
  steps      make a report; the replay runs the model again in a process of its own        (verify, replayer)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from verity.engines import SCRIPTED
from verity.engines.engine import Engine, Logits, Message
from verity.engines.llama import DEFAULT_MICRO_BATCH
from verity.engines.numerics import Numerics, NumericsStore
from verity.engines.output import Output
from verity.errors import UsageError
from verity.identity.device_key import DeviceKey
from verity.loader import Loaded, Loader
from verity.log.device_log import DeviceLog
from verity.recorder import Begun, Recorder, Token, inspect
from verity.request import Request, intent_fields, make_request, now
from verity.sampling.sampler import Sampler
from verity.statements.bundle import Bundle
from verity.store import catalogue
from verity.store.blobs import Blobs
from verity.store.bundles import save_bundle
from verity.store.database import Database
from verity.store.home import locate
from verity.store.reading import Progress


class Answer(msgspec.Struct, frozen=True):
    """One answer. ``receipt`` is the receipt's id, ``bundle`` all that somebody needs to check it."""

    text: str
    tokens: list[int]
    finish: str
    receipt: str
    bundle: Bundle
    numerics: Numerics
    engine: str

    @property
    def grade(self) -> str:
        """What the receipt can be checked for, in a few words."""
        if self.engine == SCRIPTED:
            return "signed, logged; written by the scripted engine, which no verification accepts"
        return "signed, logged, replayable " + ("bit for bit" if self.numerics.exact else "statistically only")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bundle, disclosure included (0600)."""
        return save_bundle(self.bundle, path)


class Stream(Iterator[str]):
    """Pieces of an answer's text as they come. ``answer`` is there when it is over, also when it was cut off.

    Leaving the loop early, an interrupt or an error cuts the answer off: the result is logged all the same, as
    ``cancelled`` or ``error`` with the tokens so far.
    """

    def __init__(self, run: Callable[[Stream], Generator[str, None, None]]) -> None:
        self.answer: Answer | None = None
        self._pieces = run(self)

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Cut the answer off here."""
        self._pieces.close()


class Node:
    """One device, opened. Use it in a ``with`` block, or close it. Not to be shared between threads."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        engine: Engine | None = None,
        threads: int | None = None,
        context_size: int | None = None,
        micro_batch: int = DEFAULT_MICRO_BATCH,
        progress: Progress | None = None,
    ) -> None:
        self.home = locate(home)
        self.key = DeviceKey.load(self.home)
        self._database = Database.open(self.home)
        self.log = DeviceLog(self._database, self.key)
        self.blobs = Blobs(self.home, self._database)
        self.numerics = NumericsStore(self._database)
        self.recorder = Recorder(self._database, self.log, self.key)
        self._loader = Loader(
            self.blobs,
            self.numerics,
            self.recorder,
            engine,
            progress,
            threads=threads,
            context_size=context_size,
            micro_batch=micro_batch,
        )
        self._active: Stream | None = None

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut off an answer that is still being written, free the model and close the database."""
        self._cut_off()
        self._loader.close()
        self._database.close()

    # --- ask ----------------------------------------------------------------------------------------------------------

    def ask(self, prompt: str | Sequence[Message], **options: Any) -> Answer:
        """Answer ``prompt`` and return the answer with its receipt. The options are those of ``stream``."""
        stream = self.stream(prompt, **options)
        for _ in stream:
            pass
        assert stream.answer is not None
        return stream.answer

    def stream(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str = catalogue.DEFAULT,
        system: str | None = None,
        max_tokens: int | None = None,
        stops: Sequence[str] = (),
        nonce: bytes | None = None,
        show: Sequence[str] = (),
        **sampling: float,
    ) -> Stream:
        """Answer ``prompt`` piece by piece.

        model       a name or digest; the default model is pulled on first use
        system      a system message before the prompt
        max_tokens  the most tokens to write; default 256, or what fits
        stops       strings that end the answer, and are not part of it
        nonce       16 to 64 bytes from whoever will verify; drawn by this device when there is none
        show        names of fields that the public receipt shows in clear; none by default
        sampling    the parameters of SamplingParameters: temperature, top_k, top_p, min_p, …

        Raises UsageError, ContextOverflow, ModelNotFound, StoreError, EngineError.
        """
        loaded = self.load(model)
        request = make_request(
            loaded.engine,
            prompt,
            system=system,
            max_tokens=max_tokens,
            stops=stops,
            nonce=nonce,
            sampling=sampling,
        )
        fields = intent_fields(request, loaded.engine, loaded.model, loaded.numerics)
        if unknown := sorted(set(show) - set(fields)):
            raise UsageError(f"there is no field {unknown[0]!r} to show", f"the fields are {', '.join(sorted(fields))}")
        self._active = Stream(lambda stream: self._run(stream, request, loaded, fields, show))
        return self._active

    def _cut_off(self) -> None:
        if self._active is not None:
            self._active.close()
        self._active = None

    def load(self, model: str = catalogue.DEFAULT) -> Loaded:
        """Load a model now instead of at the first question. Raises ModelNotFound, DigestMismatch, EngineError.

        An answer that nobody read to its end is cut off: the engine holds one sequence, and may be freed for another.
        """
        self._cut_off()
        return self._loader.load(model)

    def check_log(self, old_checkpoint: str | None = None) -> list[str]:
        """Re-derive the whole log, and return the problems found: none when it is sound.

        With a checkpoint that somebody kept, also whether the log only grew since; raises FormatError or SignatureError
        when it is no checkpoint of this device.
        """
        return self.log.check(old_checkpoint, inspect)

    def _run(
        self, stream: Stream, request: Request, loaded: Loaded, fields: dict[str, Any], show: Sequence[str]
    ) -> Generator[str, None, None]:
        """Intent, tokens, result. However it ends, the result is logged with the tokens so far."""
        begun = self.recorder.begin(fields, show)
        output = Output(request.max_tokens, request.stops)
        cut_off_by = "error"
        try:
            yield from self._generate(loaded.engine, request, output)
        except (GeneratorExit, KeyboardInterrupt):
            cut_off_by = "cancelled"
            raise
        finally:
            stream.answer = self._record(begun, output, output.finish or cut_off_by, loaded)

    @staticmethod
    def _generate(engine: Engine, request: Request, output: Output) -> Iterator[str]:
        sampler = Sampler(request.parameters, request.seed, request.prompt_tokens)
        engine.reset()
        logits: Logits = engine.advance(request.prompt_tokens)
        while True:
            token = sampler.draw(logits)
            output.push(token, engine.piece(token), engine.is_end(token))
            if text := output.fresh():
                yield text
            if output.finish is not None:
                return
            logits = engine.advance([token])

    def _record(self, begun: Begun, output: Output, finish: str, loaded: Loaded) -> Answer:
        tokens = [Token(id=t, piece=p) for t, p in zip(output.tokens, output.pieces, strict=True)]
        fields: dict[str, Any] = {
            "output/finish": finish,
            "output/segments": None,
            "output/text": output.text,
            "output/tool_calls": [],
            "time/finished": now(),
        }
        self.recorder.finish(begun, fields, tokens)
        bundle = self.recorder.bundle(begun.id)
        engine = str(loaded.engine.description["name"])
        return Answer(output.text, output.tokens, finish, begun.id, bundle, loaded.numerics, engine)
