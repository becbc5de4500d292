"""READ FIRST. A node is one device at work: ask → run → receipt → sign → log. It wires the parts together.

The device without models, its key and log and what it says of them, is device.py.

ask("…")
  request    messages, parameters and nonce; the model's template and tokenizer turn them into prompt tokens
  intent     every field committed with a salt, signed, appended to the log, durable       (recorder)
  run        logits from the engine, a token from the sampler, until the answer is over    (engines, sampling)
  result     tokens, text and finish reason committed, signed, appended                    (recorder)
  bundle     receipt + log proof + disclosure: what somebody else needs to check it        (exporter)
verify(bundle)
  steps      make a report; the replay runs the model again in a process of its own        (verify, replayer)
issuer.issue("…") → promise(request) → issuer.reveal(request, intent) → ask(request=…)
  whoever will verify fixes the request, sees the signed intent, and only then tells the nonce
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

import msgspec

from verity import embedder, promises, scorer
from verity.answer import Answer, Stream, TypedAnswer, complete
from verity.conversation import Conversation
from verity.device import Device
from verity.embedder import Embedded, Embedder
from verity.engines.engine import Engine
from verity.engines.grammar import Grammar
from verity.engines.llama import DEFAULT_MICRO_BATCH
from verity.engines.network import Array
from verity.engines.numerics import NumericsStore
from verity.errors import UsageError
from verity.inference import FLUSH_EVERY, Inferred, Session, infer
from verity.loader import Loaded, LoadedNetwork, Loader, Wanted
from verity.opener import StateOpener
from verity.request import Request, asked_by, check_asked, make_request
from verity.rotation import Rotated
from verity.runner import Begin, Runner
from verity.scorer import Scored, Scorer
from verity.statements.bundle import SignedIntent
from verity.statements.keys import Signer
from verity.statements.receipt import Message, PreviousTurn
from verity.statements.request import Issued
from verity.store import catalogue
from verity.store.reading import Progress

_T = TypeVar("_T")


class Node(Device):
    """One device, opened, with its models. Use it in a ``with`` block, or close it; not to be shared by threads."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        engine: Engine | None = None,
        threads: int | None = None,
        context_size: int | None = None,
        micro_batch: int = DEFAULT_MICRO_BATCH,
        require_release: bool | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(home)
        self.numerics = NumericsStore(self._database)
        self._runner = Runner(self.recorder, self.exporter)
        self._embedder = Embedder(self.recorder, self.exporter)
        self._scorer = Scorer(self.recorder, self.exporter)
        self.states = StateOpener(self.exporter.receipts, self.recorder.states, self.load)
        options: dict[str, Any] = {"threads": threads, "micro_batch": micro_batch, "require_release": require_release}
        self._loader = Loader(
            self.blobs, self.numerics, self.recorder, engine, progress, context_size=context_size, **options
        )
        self._context_size = context_size
        self._active: Stream | None = None
        self._sessions: list[Session] = []

    def close(self) -> None:
        """Cut off what is still being written, free the models and close the database."""
        self._cut_off()
        for session in self._sessions:
            session.close("cancelled")
        self._loader.close()
        super().close()

    # --- ask ----------------------------------------------------------------------------------------------------------

    @overload
    def ask(self, prompt: str | Sequence[Message] = "", *, returns: type[_T], **options: Any) -> TypedAnswer[_T]: ...
    @overload
    def ask(self, prompt: str | Sequence[Message] = "", *, returns: None = None, **options: Any) -> Answer: ...
    @overload
    def ask(self, prompt: str | Sequence[Message] = "", *, returns: Any, **options: Any) -> TypedAnswer[Any]: ...
    def ask(self, prompt: str | Sequence[Message] = "", **options: Any) -> Answer:
        """Answer ``prompt`` and return the answer with its receipt. The options are those of ``stream``."""
        return complete(self.stream(prompt, **options))

    def stream(
        self,
        prompt: str | Sequence[Message] = "",
        *,
        model: str = catalogue.DEFAULT,
        system: str | None = None,
        max_tokens: int | None = None,
        stops: Sequence[str] = (),
        nonce: bytes | None = None,
        request: Issued | None = None,
        show: Sequence[str] = (),
        adapters: Sequence[Wanted] = (),
        grammar: Grammar | None = None,
        tools: Sequence[str] | Sequence[Callable[..., Any]] = (),
        returns: Any = None,
        raw: bool = False,
        previous: PreviousTurn | None = None,
        **sampling: float,
    ) -> Stream:
        """Answer ``prompt`` piece by piece.

        model       a name or digest; the default model is pulled on first use
        system      a system message before the prompt
        max_tokens  the most tokens to write; default 256, or what fits
        stops       strings that end the answer, and are not part of it
        nonce       16 to 64 bytes from whoever will verify; drawn by this device when there is none
        request     an issuer's, with its nonce: it fixes all of the above
        show        names of fields that the public receipt shows in clear; none by default
        adapters    names or digests of adapters that fit the model, or pairs of one and its scale; see docs/adapters.md
        grammar     what the answer may look like; it is enforced, and committed
        tools       functions that the model may call (see verity.functions); or texts of tools that the messages offer
                    already, for the record (see verity.tools)
        returns     the type that the answer must have, or a JSON Schema (see verity.typed)
        raw         give the prompt to the model as it is, without the chat template
        previous    the turn before, in a conversation
        sampling    the parameters of SamplingParameters: temperature, top_k, top_p, min_p, …

        Raises UsageError, ContextOverflow, ModelNotFound, StoreError, EngineError.
        """
        if request is not None:
            given = prompt or system or max_tokens or stops or nonce or sampling or adapters or grammar or tools
            if given or raw or returns is not None:
                raise UsageError("a request fixes prompt, nonce and parameters", "give the request alone")
            return self._answer(request, show)
        if returns is not None or any(map(callable, tools)):
            if grammar is not None:
                raise UsageError("what the answer must be is given twice", "give `grammar` alone")
            limits: dict[str, Any] = {"max_tokens": max_tokens, "stops": stops, "nonce": nonce, "show": show}
            chat = self.conversation(system=system, tools=tools, previous=previous, model=model, adapters=adapters)
            return chat.stream(prompt, returns=returns, raw=raw, **limits, **sampling)
        asked = check_asked(  # before a model is fetched and measured for what cannot be asked
            prompt,
            system=system,
            max_tokens=max_tokens,
            stops=stops,
            sampling=sampling,
            grammar=grammar,
            tools=list(tools),
            raw=raw,
            previous=previous,
        )
        loaded = self.load(model, adapters=adapters)
        asked = msgspec.structs.replace(asked, adapters=loaded.adapters)
        return self._start(loaded, make_request(loaded.engine, asked, nonce=nonce), show)

    def conversation(self, **options: Any) -> Conversation:
        """Turns that go on from each other. The options are ``system``, ``tools``, ``max_rounds`` (of calls in a turn;
        8 unless given) and those of ``stream``, for all turns. Raises UsageError."""
        return Conversation(self.stream, **options)

    def _start(self, loaded: Loaded, request: Request, show: Sequence[str], begin: Begin | None = None) -> Stream:
        self._active = self._runner.start(loaded, request, show, begin)
        return self._active

    def _cut_off(self) -> None:
        if self._active is not None:
            self._active.close()
        self._active = None

    def load(
        self, model: str = catalogue.DEFAULT, context_size: int | None = None, adapters: Sequence[Wanted] = ()
    ) -> Loaded:
        """Load a model now instead of at the first question; it computes with these adapters and no others.

        Raises ModelNotFound, AdapterNotFound, ReleaseRefused, DigestMismatch, UsageError, EngineError.

        An answer that nobody read to its end is cut off: the engine holds one sequence, and may be freed for another.
        """
        self._cut_off()
        return self._loader.load(model, context_size, adapters)

    # --- embed and score ----------------------------------------------------------------------------------------------

    def embed(
        self,
        texts: Sequence[str],
        *,
        model: str = catalogue.DEFAULT,
        pooling: str = "mean",
        normalisation: str = "l2",
        show: Sequence[str] = (),
    ) -> Embedded:
        """One vector for each text, with one receipt for all. An answer that nobody read to its end is cut off.

        pooling        ``mean`` of the hidden states after every token, or that after the ``last``
        normalisation  ``l2``: vectors of length 1; or ``none``
        show           names of fields that the public receipt shows in clear; none by default

        Raises UsageError, ContextOverflow (a text is never cut), ModelNotFound, StoreError, EngineError.
        """
        loaded = self.load(model)
        request = embedder.make_request(loaded.engine, texts, pooling, normalisation)
        begun = self._embedder.begin(loaded, request, show)
        return self._embedder.run(loaded, request, begun)

    def score(
        self,
        text: str | Sequence[Message],
        continuation: str | None = None,
        *,
        top: int = 5,
        raw: bool | None = None,
        system: str | None = None,
        model: str = catalogue.DEFAULT,
        adapters: Sequence[Wanted] = (),
        show: Sequence[str] = (),
    ) -> Scored:
        """How likely the model finds a text, token by token, and the ``top`` likeliest tokens after it; with a receipt.
        An answer that nobody read to its end is cut off.

        continuation  a given answer: what comes after ``text``, and is scored
        raw           whether ``text`` is scored as it is, or put into the chat template; a string is, unless there is a
                      ``system`` message

        The other options are those of ``stream`` and ``embed``. Raises UsageError, ContextOverflow (a text is never
        cut), ModelNotFound, AdapterNotFound, StoreError, EngineError.
        """
        as_it_is = (isinstance(text, str) and system is None) if raw is None else raw
        asked = check_asked(text, system=system, sampling={}, raw=as_it_is)
        loaded = self.load(model, adapters=adapters)
        asked = msgspec.structs.replace(asked, adapters=loaded.adapters)
        return self._scorer.run(loaded, scorer.make_request(loaded.engine, asked, continuation, top), show)

    # --- networks -----------------------------------------------------------------------------------------------------

    def network(self, model: str) -> LoadedNetwork:
        """Load a network now instead of with its first session. Raises as ``session`` does."""
        return self._loader.network(model)

    def session(self, model: str, *, show: Sequence[str] = (), flush_every: int = FLUSH_EVERY) -> Session:
        """A network in the ONNX format at work: every step on record, one receipt for all. See docs/onnx.md.

        model        a name or digest
        show         names of fields that the public receipt shows in clear; none by default
        flush_every  after so many steps, what was copied is hashed and written

        Raises ModelNotFound, UsageError, StoreError, EngineError.
        """
        session = Session(self.recorder, self.exporter, self.network(model), show=show, flush_every=flush_every)
        self._sessions = [s for s in self._sessions if s.finish is None] + [session]
        return session

    def infer(self, model: str, inputs: Mapping[str, Array], *, show: Sequence[str] = ()) -> Inferred:
        """One step of a network, with a receipt of its own. Raises as ``session`` and ``Session.run`` do."""
        return infer(self.session(model, show=show), inputs)

    # --- requests of others -------------------------------------------------------------------------------------------

    def promise(self, request: Issued, show: Sequence[str] = ()) -> SignedIntent:
        """Sign and log the intent to answer a request whose nonce is not known yet, and return it for the issuer.

        Raises UsageError, ContextOverflow, ModelNotFound, StoreError, EngineError.
        """
        if request.nonce is not None:
            raise UsageError("the request carries its nonce already", "answer it: `verity ask --request`")
        return promises.promise(self.recorder, self.exporter, self._load_for(request), request, show)

    def _answer(self, request: Issued, show: Sequence[str]) -> Stream:
        if request.nonce is None:
            raise UsageError("the request carries no nonce: its issuer wants a signed intent first", "see Node.promise")
        loaded = self._load_for(request)
        made = make_request(loaded.engine, asked_by(request.request), issued=request)
        if (intent := request.intent) is None:
            return self._start(loaded, made, show)
        return self._start(loaded, made, (), lambda fields: promises.resume(self.recorder, request, intent, fields))

    def _load_for(self, request: Issued) -> Loaded:
        promises.check_affordable(request, self._context_size)
        loaded = self.load(request.request.model, request.request.context_size)
        promises.check_fits(request, loaded)
        return loaded

    def rotate(self, recovery: Signer | None = None, *, keep_old: bool = False) -> Rotated:
        """As ``Device.rotate``; an answer that nobody read to its end is cut off."""
        self._cut_off()
        return super().rotate(recovery, keep_old=keep_old)
