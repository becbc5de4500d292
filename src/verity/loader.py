"""Load a model from the store into an engine, and know its numerics: measured once per model, library and processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from verity.engines.engine import AdapterFile, Engine
from verity.engines.llama import LlamaEngine
from verity.engines.network import Network, measure_network, setting_of_network
from verity.engines.numerics import Numerics, NumericsStore, measure, setting_of, write_declared
from verity.errors import FormatError, ModelNotFound, UsageError
from verity.recorder import Recorder
from verity.statements.adapters import AdapterUse, check_adapters
from verity.statements.receipt import NUMERICS
from verity.store import catalogue
from verity.store.adapters import Adapters
from verity.store.admission import Admission
from verity.store.blobs import Blobs, Model
from verity.store.clock import now
from verity.store.pull import pull
from verity.store.reading import Progress

Wanted = str | tuple[str, float]
"""An adapter's name or digest, or one with its scale; without one it is 1."""


class Loaded(msgspec.Struct, frozen=True):
    """An engine with its model's digests (field ``model``), the adapters in use, and the numerics of both together."""

    engine: Engine
    model: dict[str, Any]
    numerics: Numerics
    adapters: list[AdapterUse] = []


class LoadedNetwork(msgspec.Struct, frozen=True):
    """A network with its model's digests (field ``model``) and its numerics."""

    network: Network
    model: dict[str, Any]
    numerics: Numerics


class Loader:
    """Holds at most one model, beside networks, which are small. A ``given`` engine is used instead of llama.cpp,
    whatever model is asked for; it says itself, by its attribute ``model``, which one it is (as ScriptedEngine does).

    Nothing is loaded, or used again, that the owner's rules refuse (store/admission.py); ``require_release`` goes
    before what they say. Whatever finds, loads or uses raises ReleaseRefused, and FormatError for rules that cannot be
    read.
    """

    def __init__(
        self,
        blobs: Blobs,
        numerics: NumericsStore,
        recorder: Recorder,
        given: Any = None,
        progress: Progress | None = None,
        *,
        context_size: int | None = None,
        fetches: bool = True,
        require_release: bool | None = None,
        **options: Any,
    ) -> None:
        self._fetches = fetches
        self._blobs = blobs
        self._numerics = numerics
        self._recorder = recorder
        self._given = given
        self._progress = progress
        self._context_size = context_size
        self._options = options
        self._admission = Admission(blobs, require_release)
        self._held: tuple[tuple[str, int | None], Engine, dict[str, Any]] | None = None
        self._networks: dict[str, LoadedNetwork] = {}

    def network(self, model: str) -> LoadedNetwork:
        """The network of this name or digest, in the ONNX format. It stays loaded.

        Raises ModelNotFound, UsageError, DigestMismatch, EngineError.
        """
        from verity.engines.onnx import OnnxNetwork

        name, found = self._blobs.resolve(model)
        self._admission.model(name, found.sha256)
        if found.blake3 not in self._networks:
            path = self._blobs.open(found.blake3).path
            described = _described(name, found)
            network = OnnxNetwork(path)
            setting = setting_of_network(network)
            numerics = self._numerics.declared(found.blake3).get(setting)
            if numerics is None:
                numerics = measure_network(lambda: OnnxNetwork(path), self._measuring)
                self._declare(network.description, network.context, described, setting, numerics)
            self._networks[found.blake3] = LoadedNetwork(network, described, numerics)
        return self._networks[found.blake3]

    def load(self, model: str, context_size: int | None = None, adapters: Sequence[Wanted] = ()) -> Loaded:
        """The model of this name or digest, in a context of this many tokens (default: as the loader was made), with
        these adapters and no others.

        Raises ModelNotFound, AdapterNotFound, UsageError, DigestMismatch, FetchError, EngineError.
        """
        wanted = model, context_size or self._context_size
        if self._held is None or (self._held[0] != wanted and self._given is None):
            self._held = (wanted, *self._opened(*wanted))
        _, engine, described = self._held
        self.admit(described)  # what was loaded may have been revoked since
        return self._using(engine, described, self.adapters(described["blake3"], adapters))

    def _opened(self, model: str, context_size: int | None) -> tuple[Engine, dict[str, Any]]:
        described = self.find(model)
        self.admit(described)
        if self._given is not None:
            return self._given, described
        path = self._blobs.open(described["blake3"]).path
        self._free()
        return LlamaEngine(path, context_size=context_size, **self._options), described

    def adapters(self, model: str, wanted: Sequence[Wanted]) -> list[AdapterUse]:
        """What these names or digests, with or without a scale, mean for the model of this BLAKE3 digest.

        Raises AdapterNotFound, and UsageError for one that fits another model, for an impossible scale, and for more
        than there may be.
        """
        uses = []
        for each in wanted:
            name, scale = (each, 1.0) if isinstance(each, str) else each
            if type(scale) not in (int, float):
                raise UsageError(f"the scale of the adapter {name} is no number", "give one, as in (name, 0.5)")
            known = Adapters(self._blobs).resolve(name)
            digests = {"blake3": known.blake3, "sha256": known.sha256, "base": known.base}
            uses.append(AdapterUse(name=known.name, size=known.size, scale=scale, **digests))
        try:
            check_adapters(uses, model)
        except FormatError as error:
            raise UsageError(str(error), error.hint) from error
        return uses

    def use(self, loaded: Loaded, adapters: Sequence[AdapterUse]) -> Loaded:
        """The same model, computing with these adapters and no others; their numerics are measured if they are new.

        If they differ from those in use, what the engine's sequences hold was computed under others: reset them. New
        ones are measured, which forgets all sequences. Raises EngineError, StoreError.
        """
        return self._using(loaded.engine, loaded.model, adapters)

    def _using(self, engine: Engine, model: dict[str, Any], adapters: Sequence[AdapterUse]) -> Loaded:
        engine.use_adapters(self.files(adapters))
        return Loaded(engine, model, self._measured(engine, model, adapters), list(adapters))

    def files(self, adapters: Sequence[AdapterUse]) -> list[AdapterFile]:
        """Where they are. Raises ModelNotFound, DigestMismatch."""
        for adapter in adapters:
            self._admission.adapter(adapter)
        return [AdapterFile(a.blake3, self._blobs.open(a.blake3).path, a.scale) for a in adapters]

    def close(self) -> None:
        """Free the model, unless its engine was given, and the networks."""
        self._free()
        for loaded in self._networks.values():
            loaded.network.close()
        self._networks = {}

    def admit(self, model: Mapping[str, Any]) -> None:
        """Raise ReleaseRefused unless the model of this field ``model`` may (still) be used."""
        self._admission.model(model["name"], model["sha256"])

    def _free(self) -> None:
        if self._held is not None and self._given is None:
            self._held[1].close()
        self._held = None

    def find(self, model: str) -> dict[str, Any]:
        """Field ``model`` for this name or digest; the default model is pulled if it is not here, unless the loader
        was made with ``fetches`` false.

        Raises ModelNotFound, FetchError.
        """
        if self._given is not None:
            return dict(self._given.model)
        try:
            name, found = self._blobs.resolve(model)
        except ModelNotFound:
            known = catalogue.find(model)
            if known is None or known.name != catalogue.DEFAULT or not self._fetches:
                raise
            self._admission.model(known.name, known.sha256)  # before it is fetched for nothing
            found = pull(known.name, self._blobs, progress=self._progress)
            name = found.name
        return _described(name, found)

    def _measured(self, engine: Engine, model: dict[str, Any], adapters: Sequence[AdapterUse]) -> Numerics:
        """The fingerprint, from the device's memory or measured now and declared in its log."""
        setting = setting_of(engine)
        known = self._numerics.declared(model["blake3"]).get(setting)
        if known is not None:
            return known
        numerics = measure(engine, self._measuring)
        self._declare(engine.description, engine.context, model, setting, numerics, adapters)
        return numerics

    def _measuring(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(done, total, "measuring numerics")

    def _declare(
        self,
        engine: Mapping[str, Any],
        context: Mapping[str, Any],
        model: Mapping[str, Any],
        setting: str,
        numerics: Numerics,
        adapters: Sequence[AdapterUse] = (),
    ) -> None:
        """Say in the log what was measured, and remember it."""
        fields = {
            "context": dict(context),
            "engine": dict(engine),
            "model": dict(model),
            "numerics": msgspec.to_builtins(numerics),
            "time/started": now(),
        }
        if adapters:
            fields["adapters"] = msgspec.to_builtins(list(adapters))
        self._recorder.declare(
            NUMERICS,
            "numerics",
            fields,
            lambda connection, _: write_declared(connection, model["blake3"], setting, numerics),
        )


def _described(name: str, model: Model) -> dict[str, Any]:
    """Field ``model``."""
    return {"name": name, "blake3": model.blake3, "sha256": model.sha256, "size": model.size}
