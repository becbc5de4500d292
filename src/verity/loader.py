"""Load a model from the store into an engine, and know its numerics: measured once per model, library and processor."""

from __future__ import annotations

from typing import Any

import msgspec

from verity.engines.engine import Engine
from verity.engines.llama import LlamaEngine
from verity.engines.numerics import Numerics, NumericsStore, measure, setting_of, write_declared
from verity.errors import ModelNotFound
from verity.recorder import Recorder
from verity.statements.receipt import NUMERICS
from verity.store import catalogue
from verity.store.blobs import Blobs
from verity.store.clock import now
from verity.store.pull import pull
from verity.store.reading import Progress


class Loaded(msgspec.Struct, frozen=True):
    """An engine with its model's digests (field ``model``) and its measured numerics."""

    engine: Engine
    model: dict[str, Any]
    numerics: Numerics


class Loader:
    """Holds at most one model. A ``given`` engine is used instead of llama.cpp, whatever model is asked for; it says
    itself, by its attribute ``model``, which one it is (as ScriptedEngine does)."""

    def __init__(
        self,
        blobs: Blobs,
        numerics: NumericsStore,
        recorder: Recorder,
        given: Any = None,
        progress: Progress | None = None,
        *,
        context_size: int | None = None,
        **options: Any,
    ) -> None:
        self._blobs = blobs
        self._numerics = numerics
        self._recorder = recorder
        self._given = given
        self._progress = progress
        self._context_size = context_size
        self._options = options
        self._held: tuple[tuple[str, int | None], Loaded] | None = None

    def load(self, model: str, context_size: int | None = None) -> Loaded:
        """The model of this name or digest, in a context of this many tokens (default: as the loader was made).

        Raises ModelNotFound, DigestMismatch, FetchError, EngineError.
        """
        wanted = model, context_size or self._context_size
        if self._held is not None and (self._held[0] == wanted or self._given is not None):
            return self._held[1]
        if self._given is not None:
            engine, described = self._given, dict(self._given.model)
        else:
            described = self._find(model)
            path = self._blobs.open(described["blake3"]).path
            self.close()
            engine = LlamaEngine(path, context_size=wanted[1], **self._options)
        loaded = Loaded(engine, described, self._measured(engine, described))
        self._held = (wanted, loaded)
        return loaded

    def close(self) -> None:
        """Free the model, unless its engine was given."""
        if self._held is not None and self._given is None:
            self._held[1].engine.close()
        self._held = None

    def _find(self, model: str) -> dict[str, Any]:
        try:
            name, found = self._blobs.resolve(model)
        except ModelNotFound:
            known = catalogue.find(model)
            if known is None or known.name != catalogue.DEFAULT:
                raise
            found = pull(known.name, self._blobs, progress=self._progress)
            name = found.name
        return {"name": name, "blake3": found.blake3, "sha256": found.sha256, "size": found.size}

    def _measured(self, engine: Engine, model: dict[str, Any]) -> Numerics:
        """The fingerprint, from the device's memory or measured now and declared in its log."""
        setting = setting_of(engine)
        known = self._numerics.declared(model["blake3"]).get(setting)
        if known is not None:
            return known
        tell = self._progress or (lambda *_: None)
        numerics = measure(engine, lambda done, total: tell(done, total, "measuring numerics"))
        fields = {
            "context": engine.context,
            "engine": engine.description,
            "model": model,
            "numerics": msgspec.to_builtins(numerics),
            "time/started": now(),
        }
        self._recorder.declare(
            NUMERICS,
            "numerics",
            fields,
            lambda connection, _: write_declared(connection, model["blake3"], setting, numerics),
        )
        return numerics
