"""From what a caller of ``verity.verify`` names, to what the verifier then expects: names into digests, files into what
they say, and what the device of ``home`` knows besides."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from verity.challenge import beside, source_of
from verity.engines.numerics import NumericsStore
from verity.errors import UsageError
from verity.identity.device_key import KEY_FILE, DeviceKey
from verity.statements.bundle import Bundle
from verity.statements.release import Known
from verity.statements.request import Issued
from verity.store import catalogue
from verity.store.adapters import Adapters
from verity.store.blobs import Blobs
from verity.store.bundles import read_key_events
from verity.store.database import DATABASE_FILE, Database
from verity.store.home import find, locate
from verity.store.key_events import events_in
from verity.store.releases import Releases
from verity.verify.calibration import Calibration, open_calibration
from verity.verify.key_events import KnownEvent, check_event, known
from verity.verify.policy import Policy
from verity.verify.spot import Spot, StateSource
from verity.verify.standing import heirs

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@contextlib.contextmanager
def stores(home: str | os.PathLike[str] | None) -> Iterator[tuple[Blobs, NumericsStore]]:
    """The models of the device of ``home``, and what was measured of them."""
    folder = locate(home)
    with Database.open(folder) as database:
        yield Blobs(folder, database), NumericsStore(database)


def itself(
    home: str | os.PathLike[str] | None, rules: Policy, bundle: Bundle, events: Sequence[KnownEvent]
) -> str | None:
    """The device that signed this, when nobody else is named and it is the one at ``home``, or was before its key was
    exchanged; verifying never makes a key."""
    own = own_key(home) if not rules.trust.devices else None
    device = bundle.receipt.intent.device()
    if own is None:
        return None
    return device if own in heirs(device, [event.dated((), 0.0) for event in events]).keys else None


def known_events(
    home: str | os.PathLike[str] | None, files: Sequence[str | os.PathLike[str]], rules: Policy, folder: Path
) -> list[KnownEvent]:
    """What is known about keys: in these files, in those that a policy lists, as seen from its folder, and at ``home``.

    Raises FormatError, LogError, SignatureError for an event that does not hold, StoreError.
    """
    paths = [*map(Path, files), *(folder / name for name in rules.trust.key_events)]
    found = [known(kept) for kept in events_in(find(home))]
    return found + [check_event(signed) for path in paths for signed in read_key_events(path)]


def adapter_digests(adapters: Sequence[str], home: str | os.PathLike[str] | None) -> list[str]:
    """The digests of adapters that are named by digest, or by name on this device. Raises AdapterNotFound."""
    if all(_DIGEST.fullmatch(adapter) for adapter in adapters):
        return list(adapters)
    with stores(home) as (blobs, _):
        return [a if _DIGEST.fullmatch(a) else Adapters(blobs).resolve(a).blake3 for a in adapters]


def digest_of(model: str | None, home: str | os.PathLike[str] | None) -> str | None:
    """The digest of a model that is named by digest, or by name. Raises ModelNotFound."""
    if model is None or _DIGEST.fullmatch(model):
        return model
    known = catalogue.find(model)
    if known is not None:  # the catalogue's names mean its digests everywhere
        return known.blake3
    with stores(home) as (blobs, _):
        return blobs.resolve(model)[1].blake3


def releases_of(rules: Policy, home: str | os.PathLike[str] | None) -> list[Known]:
    """All that this device knows of the publishers whom the policy names."""
    if not rules.trust.publishers or not (find(home) / DATABASE_FILE).exists():
        return []
    with stores(home) as (blobs, _):
        return Releases(blobs.database).by(rules.trust.publishers)


def calibrations_of(given: Calibration | str | os.PathLike[str] | None) -> list[Calibration]:
    """The calibration that was given, or that of a file. Raises FormatError."""
    if given is None:
        return []
    return [given if isinstance(given, Calibration) else open_calibration(Path(given))]


def challenge_of(
    count: int | None, states: str | os.PathLike[str] | StateSource | None, source: Any, bundle: Bundle, *, also: bool
) -> Spot | None:
    """How many segments to replay, with whose states. Raises UsageError."""
    if count is None:
        if states is not None:
            raise UsageError("states are for a spot check", "say how many segments to check: --spot K")
        return None
    if type(count) is not int or count < 1:
        raise UsageError("a spot check is of one segment or more", "leave --spot out to replay the whole")
    if states is None and not isinstance(source, str | os.PathLike):
        raise UsageError("a spot check needs the prover's states", "name their file or the device's server: --states")
    return Spot(count, source_of(beside(source) if states is None else states, bundle), also)


def own_key(home: str | os.PathLike[str] | None) -> str | None:
    """The key of the device of ``home``, if it has one: none is made."""
    folder = find(home)
    return DeviceKey.load(folder).id if (folder / KEY_FILE).exists() else None


def check_nonce(issued: Issued | None, nonce: str | None) -> None:
    """Raise UsageError where a request has no nonce yet, or another than the one given."""
    if issued is None:
        return
    if issued.nonce is None:
        raise UsageError("the request has no nonce yet", "verify with the one that `verity nonce --reveal` wrote")
    if nonce not in (None, issued.nonce.hex()):
        raise UsageError("the nonce is not the one in the request", "give one of them")
