"""What a relying party expects: whom it trusts and which checks must pass. A TOML file, described in docs/verify.md.

    [trust]
    devices = ["<64 hex digits>"]           # keys that may sign; none: any key, and `signed` is then not made
    models = ["<BLAKE3 or SHA-256>"]        # models that may have answered

    [require]
    checks = ["signed", "logged", "replayed-exact"]

    [accept]
    numerics = ["<fingerprint>"]            # receipts that claim other numerics are refused

    [pin]                                   # disclosed fields that must have exactly this value
    "sampling/temperature" = 0.8            # TOML has no null: leave out the members of a table that are null

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
_MAX_POLICY = 1 << 16


class _Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    devices: list[str] = []
    models: list[str] = []


class _Require(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    checks: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_CHECKS))


class _Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    numerics: list[str] = []


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module."""

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

    def required(self, expected: Expected, *, replay: bool) -> list[str]:
        """The checks that must pass: those required, and one for everything that policy or caller name.

        What somebody asked for and the bundle withholds must not pass for being left out.
        """
        named = {
            "signed": self.trust.devices or expected.device,
            "model": self.trust.models or expected.model,
            "prompt": expected.prompt is not None or expected.system is not None,
            "nonce": expected.nonce,
            "pinned": self.pin,
            "numerics": self.accept.numerics,
        }
        wanted = {*self.require.checks, *(name for name, value in named.items() if value)}
        return [name for name in CHECKS if name in wanted and (replay or not name.startswith("replayed"))]


class Expected(msgspec.Struct, frozen=True):
    """What the caller names beside the policy; where both name something, both must hold.

    ``device`` is a key (64 hex digits), ``model`` a BLAKE3 or SHA-256 digest, ``nonce`` lower-case hex.
    """

    device: str | None = None
    model: str | None = None
    prompt: str | None = None
    system: str | None = None
    nonce: str | None = None


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
