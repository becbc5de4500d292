"""What a relying party expects: whom it trusts and which checks must pass. A TOML file, described in docs/verify.md.

    [trust]
    devices = ["<64 hex digits>"]           # keys that may sign; none: any key, and `signed` is then not made
    models = ["<BLAKE3 or SHA-256>"]        # models that may have answered, and adapters
    releases = ["smollm2-135m-instruct"]    # the same by their names in the catalogue, which pins the digests
    origins = ["verity/<key>/0"]            # logs that the receipt may stand in
    issuers = ["<64 hex digits>"]           # keys whose signed requests count as one's own
    key_events = ["a.key-event.json"]       # what is known about keys; paths as seen from the policy's folder
    publishers = ["<64 hex digits>"]        # whose signed releases the model and all adapters must be in

    [require]
    checks = ["signed", "logged", "replayed-exact"]

    [accept]
    numerics = ["<fingerprint>"]            # receipts that claim other numerics are refused
    finishes = ["end", "stop", "length"]    # answers that ended otherwise are refused

    [witnesses]
    threshold = 2                           # how many operators must have cosigned; default: docs/witnesses.md
    [witnesses.operators]                   # who runs witnesses, and their keys (`verity witness key`)
    "Example Clinic" = ["w.example/1+<key id>+<base64>"]

    [hardware]
    registrars = ["<64 hex digits>"]        # keys whose word counts that a TPM vouches for a device
    level = "tpm-vendor-ek"                 # the least that they must say; default "tpm-unverified-ek"

    [pin]                                   # disclosed fields, or members of fields, that must have exactly this value
    "sampling/temperature" = 0.8            # TOML has no null: leave out the members of a table that are null
    "context/size" = 4096
    "grammar" = {}                          # null: no grammar

A bundle's own key is never trusted for being in the bundle.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from verity.errors import FormatError, UsageError
from verity.statements.bundle import Bundle
from verity.statements.keys import parse_key
from verity.statements.receipt import FINISHES
from verity.statements.release import Known
from verity.statements.request import Issued
from verity.statements.strict import decode_hex
from verity.store import catalogue
from verity.verify.calibration import Calibration
from verity.verify.key_events import KnownEvent
from verity.verify.operators import Operators
from verity.verify.spot import Spot

CHECKS = (
    "receipt", "signed", "key-current", "logged", "consistent", "intent", "intent-first", "disclosure", "output",
    "engine", "model", "released", "prompt", "request", "previous-turn", "nonce", "pinned", "numerics", "finish",
    "replayed-exact", "replayed-statistical", "spot-checked", "seed-origin", "witnessed", "hardware-bound", "anchored",
    "proven",
)  # fmt: skip
"""Every check that a policy may name. The last two come with later versions: until then they are `not made`."""

DEFAULT_CHECKS = ("receipt", "signed", "logged", "intent", "disclosure", "output", "engine", "replayed-exact")
_MAX_POLICY = 1 << 16
_MAX_PARTS = 32
_TEXT_OR_COMMENT = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|"(?:[^"\\\n]|\\.)*+"|\'\'\'.*?\'\'\'|\'[^\'\n]*+\'|#[^\n]*+', re.DOTALL
)
_LONG_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{_MAX_PARTS}}}")


class _Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    devices: list[str] = []
    models: list[str] = []
    releases: list[str] = []
    origins: list[str] = []
    issuers: list[str] = []
    key_events: list[str] = []
    publishers: list[str] = []


class _Require(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    checks: list[str] | None = None


class _Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    numerics: list[str] = []
    finishes: list[str] = []


class _Hardware(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    registrars: list[str] = []
    level: Literal["swtpm", "tpm-unverified-ek", "tpm-vendor-ek"] = "tpm-unverified-ek"


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module."""

    trust: _Trust = _Trust()
    require: _Require = _Require()
    accept: _Accept = _Accept()
    witnesses: Operators = Operators()
    hardware: _Hardware = _Hardware()
    pin: dict[str, Any] = {}

    def __post_init__(self) -> None:
        for key in (*self.trust.devices, *self.trust.issuers, *self.hardware.registrars):
            parse_key(key)
        for publisher in self.trust.publishers:
            decode_hex(publisher, 32, "publisher in the policy")
        for name in self.trust.releases:
            if name not in _released():
                raise UsageError(f"the policy trusts an unknown release: {name}", "name its digest under `models`")
        if odd := sorted(set(self.accept.finishes) - set(FINISHES)):
            raise UsageError(f"the policy accepts an unknown finish: {odd[0]}", f"known: {', '.join(FINISHES)}")
        unknown = sorted(set(self.require.checks or ()) - set(CHECKS))
        if unknown:
            raise UsageError(f"the policy requires an unknown check: {unknown[0]}", f"known: {', '.join(CHECKS)}")

    @property
    def models(self) -> list[str]:
        """The digests of all models that may have answered; none: any."""
        released = _released()
        return [*self.trust.models, *(released[name] for name in self.trust.releases)]

    def asked(self, expected: Expected) -> list[Operators]:
        """Whose cosignatures count, the policy's and the caller's: both must hold."""
        return [named for named in (self.witnesses, expected.witnesses) if named is not None and named.operators]

    def required(self, expected: Expected, *, replay: bool, ended: bool = False) -> list[str]:
        """The checks that must pass: those required, and one for everything that policy or caller name; and
        ``key-current`` where the trust in the receipt's key is known to have ``ended`` at some time.

        What somebody asked for and the bundle withholds must not pass for being left out.
        """
        named = {
            "signed": self.trust.devices or expected.device,
            "key-current": ended,
            "logged": self.trust.origins,
            "consistent": expected.checkpoint is not None,
            "model": self.models or expected.model or expected.adapters,
            "released": self.trust.publishers,
            "request": expected.request or self.trust.issuers,
            "intent-first": expected.request is not None and expected.request.intent,
            "prompt": expected.prompt is not None or expected.system is not None,
            "previous-turn": expected.previous is not None,
            "nonce": expected.nonce or expected.request or self.trust.issuers,
            "spot-checked": expected.spot is not None,
            "seed-origin": expected.request is not None and replay,  # a request is made to leave nothing to choose
            "witnessed": self.witnesses.operators or expected.witnesses is not None,
            "pinned": self.pin,
            "numerics": self.accept.numerics,
            "finish": self.accept.finishes,
            "hardware-bound": self.hardware.registrars,
        }
        asked = self.require.checks
        if asked is None:  # what is required by default goes without a replay when none is made; a policy's word stands
            asked = [name for name in DEFAULT_CHECKS if replay or name != "replayed-exact"]
        wanted = {*asked, *(name for name, value in named.items() if value)}
        return [name for name in CHECKS if name in wanted]


def _released() -> dict[str, str]:
    return {entry.name: entry.blake3 for entry in catalogue.entries()}


class Expected(msgspec.Struct, frozen=True):
    """What the caller names beside the policy; where both name something, both must hold.

    ``device`` is a key (64 hex digits), ``model`` a BLAKE3 or SHA-256 digest, ``adapters`` such digests in order,
    ``nonce`` lower-case hex, ``request`` one that the caller names and ``issuer`` the key under which the caller
    issues, ``checkpoint`` a signed head that the caller kept, ``previous`` the bundle of the turn before,
    ``spot`` how many segments to replay, with whose states. ``calibrations`` are for the statistical check, and
    ``releases``, all that are known of the policy's publishers, for the check ``released``: they expect nothing.
    """

    device: str | None = None
    model: str | None = None
    adapters: list[str] = []
    prompt: str | None = None
    system: str | None = None
    nonce: str | None = None
    request: Issued | None = None
    issuer: str | None = None
    checkpoint: str | None = None
    previous: Bundle | None = None
    spot: Spot | None = None
    witnesses: Operators | None = None
    calibrations: list[Calibration] = []
    key_events: list[KnownEvent] = []
    releases: list[Known] = []


def read_policy(path: Path) -> Policy:
    """Read a policy file. Raises FormatError or UsageError."""
    hint = "the form of a policy file is described in docs/verify.md"
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_POLICY + 1)
        if len(text) > _MAX_POLICY:
            raise FormatError(f"{path} is larger than {_MAX_POLICY:,} bytes", hint)
        return msgspec.convert(tomllib.loads(_checked(text.decode("utf-8"))), Policy, strict=True)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}", hint) from error
    except (ValueError, RecursionError) as error:  # TOML, UTF-8 and msgspec's validation errors
        raise FormatError(f"{path} is not a policy: {str(error)[:300]}", hint) from error


def _checked(text: str) -> str:
    """Refuse keys of very many parts: tomllib's time and memory grow with the cube of their number."""
    if _LONG_KEY.search(_TEXT_OR_COMMENT.sub("_", text)):
        raise ValueError(f"a key has more than {_MAX_PARTS} parts")
    return text
