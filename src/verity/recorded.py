"""What a device puts on record beside answers: what all of it has in common, and the fields that say under what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from verity.engines import SCRIPTED
from verity.engines.engine import Engine
from verity.engines.network import Network
from verity.engines.numerics import Numerics
from verity.errors import UsageError
from verity.exporter import Exporter
from verity.loader import Loaded, LoadedNetwork
from verity.recorder import Begun
from verity.statements.adapters import AdapterUse
from verity.statements.bundle import Bundle
from verity.store import bundles
from verity.store.clock import now


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """``receipt`` is the receipt's id, ``bundle`` all that somebody needs to check it."""

    receipt: str
    bundle: Bundle
    numerics: Numerics
    engine: str

    @property
    def grade(self) -> str:
        """What the receipt can be checked for, in a few words."""
        return grade(self.engine, self.numerics)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bundle, disclosure included (0600)."""
        return bundles.save(self.bundle, path)


def grade(engine: str, numerics: Numerics) -> str:
    """What a receipt by this engine under these numerics can be checked for, in a few words."""
    if engine == SCRIPTED:
        return "signed, logged; made by the scripted engine, which no verification accepts"
    return "signed, logged, replayable bit for bit" if numerics.exact else "signed, logged"


def on_record(begun: Begun, exporter: Exporter, loaded: Loaded) -> dict[str, Any]:
    """The members of Recorded, once the result is logged. Raises StoreError, LogError."""
    return {
        "receipt": begun.id,
        "bundle": exporter.bundle(begun.id),
        "numerics": loaded.numerics,
        "engine": str(loaded.engine.description["name"]),
    }


def check_shown(show: Sequence[str], fields: dict[str, Any]) -> None:
    """Raises UsageError for a field to show that there is not."""
    if unknown := sorted(set(show) - set(fields)):
        raise UsageError(f"there is no field {unknown[0]!r} to show", f"the fields are {', '.join(sorted(fields))}")


def setting(
    loaded: Loaded | LoadedNetwork, computing: Engine | Network, adapters: Sequence[AdapterUse] = ()
) -> dict[str, Any]:
    """The fields of the intent that all have: under what it is computed, when it began; and None for features that are
    not in use. ``computing`` is the engine or network that is loaded."""
    return {
        "adapters": msgspec.to_builtins(list(adapters)),
        "batch": None,
        "context": dict(computing.context),
        "engine": dict(computing.description),
        "model": dict(loaded.model),
        "numerics": msgspec.to_builtins(loaded.numerics),
        "previous_turn": None,
        "request": None,
        "retention": None,
        "time/started": now(),
    }
