"""What a relying party expects: whom it trusts and which checks must pass. A TOML file, described in docs/verify.md.

    [trust]
    devices = ["<64 hex digits>"]           # keys that may sign; none: any key, and `signed` is then not made
    models = ["<BLAKE3 or SHA-256>"]        # models that may have answered

    [require]
    checks = ["signed", "logged", "replayed-exact"]

    [accept]
    numerics = ["<fingerprint>"]            # receipts that claim other numerics are refused

    [pin]                                   # disclosed fields that must have exactly this value
    "sampling/temperature" = 0.8

A bundle's own key is never trusted for being in the bundle.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from verity.errors import FormatError, UsageError
from verity.statements.keys import parse_key

CHECKS = (
    "receipt", "signed", "logged", "intent", "disclosure", "output", "engine", "model", "prompt", "nonce",
    "seed-origin", "pinned", "numerics", "replayed-exact", "replayed-statistical", "witnessed", "anchored",
    "hardware-bound", "spot-checked", "proven",
)  # fmt: skip
"""Every check that a policy may name. The last five come with later versions: until then they are `not made`."""

DEFAULT_CHECKS = ("receipt", "signed", "logged", "intent", "disclosure", "output", "engine", "replayed-exact")
_MAX_POLICY = 1 << 20


class _Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    devices: list[str] = []
    models: list[str] = []


class _Require(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    checks: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_CHECKS))


class _Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    numerics: list[str] = []


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module. ``without_replay`` drops the replay from what is required."""

    trust: _Trust = _Trust()
    require: _Require = _Require()
    accept: _Accept = _Accept()
    pin: dict[str, Any] = {}

    def __post_init__(self) -> None:
        for device in self.trust.devices:
            parse_key(device)
        unknown = sorted(set(self.require.checks) - set(CHECKS))
        if unknown:
            raise UsageError(f"the policy requires an unknown check: {unknown[0]}", f"known: {', '.join(CHECKS)}")

    def trusting(self, device: str | None, model: str | None) -> Policy:
        """The same policy with one more trusted device and model."""
        devices = [*self.trust.devices, *([device] if device else [])]
        models = [*self.trust.models, *([model] if model else [])]
        return msgspec.structs.replace(self, trust=_Trust(devices=devices, models=models))

    def without_replay(self) -> Policy:
        kept = [c for c in self.require.checks if not c.startswith("replayed")]
        return msgspec.structs.replace(self, require=_Require(checks=kept))


def read_policy(path: Path) -> Policy:
    """Read a policy file. Raises FormatError or UsageError."""
    hint = "the form of a policy file is described in docs/verify.md"
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_POLICY + 1)
        if len(text) > _MAX_POLICY:
            raise FormatError(f"{path} is larger than {_MAX_POLICY:,} bytes", hint)
        return msgspec.convert(tomllib.loads(text.decode("utf-8")), Policy, strict=True)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}", hint) from error
    except (ValueError, RecursionError) as error:  # TOML, UTF-8 and msgspec's validation errors
        raise FormatError(f"{path} is not a policy: {error}", hint) from error
