"""The two functions that a program starts with: ``verity.open`` and ``verity.verify``."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported in the functions instead: `import verity` stays cheap
    from verity.engines.numerics import NumericsStore
    from verity.node import Node
    from verity.statements.bundle import Bundle
    from verity.statements.request import Issued
    from verity.store.blobs import Blobs
    from verity.store.reading import Progress
    from verity.verify.calibration import Calibration
    from verity.verify.kinds import AnyClaim
    from verity.verify.policy import Expected, Policy
    from verity.verify.report import Report
    from verity.verify.spot import Spot, StateSource
    from verity.verify.verifier import Replayer

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def open(home: str | os.PathLike[str] | None = None, **options: Any) -> Node:  # noqa: A001
    """Open this device: its key, log and models in ``home`` (default: ``$VERITY_HOME``, or the per-user folder).

    Options: ``engine`` (instead of llama.cpp, such as ScriptedEngine), ``threads``, ``context_size`` (tokens),
    ``micro_batch`` (tokens) and ``progress(done, total, label)``. Raises StoreError.
    """
    from verity.node import Node

    return Node(home, **options)


def verify(
    source: Bundle | bytes | str | os.PathLike[str],
    *,
    key: str | None = None,
    model: str | None = None,
    adapters: Sequence[str] = (),
    nonce: str | None = None,
    prompt: str | None = None,
    system: str | None = None,
    request: Issued | bytes | str | os.PathLike[str] | None = None,
    checkpoint: str | None = None,
    previous: Bundle | bytes | str | os.PathLike[str] | None = None,
    policy: Policy | str | os.PathLike[str] | None = None,
    spot: int | None = None,
    states: str | os.PathLike[str] | StateSource | None = None,
    replay: bool | None = None,
    replayer: Replayer | None = None,
    calibration: Calibration | str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    limit_s: float = 900.0,
    progress: Progress | None = None,
) -> Report:
    """Check a bundle (or its bytes, or its file) and return the report. See verity/verify/verifier.py for the steps.

    key         the device key that you expect (64 hex digits), as its owner told you
    model       the model that you expect: a digest, or a name that this device or the catalogue knows
    adapters    all the adapters that you expect to have changed the model, in order: digests, or names on this device
    nonce       the nonce (hex) that you gave out
    prompt      the prompt that you expect; with system, the system message before it. No other message may be there
    request     the request (or its file) that you issued from ``home``, or an issuer whom the policy lists; it names
                prompt, nonce, model and parameters
    checkpoint  a checkpoint of the device's log that you kept from before
    previous    the bundle of the turn before, which you verify by itself: this one must go on from it
    policy      a Policy or the path of one. What it requires, and whatever you name here, must pass
    spot        replay only so many segments, drawn now at random, instead of the whole (``replay`` true: beside it)
    states      where the prover's states are for that: a file (default: the one beside the bundle's file), the address
                of the device's server, or a function like ``Node.states``
    replay      run the model again (in a process of its own, at most ``limit_s`` seconds); the model must be in this
                device's store, and be one that you or the policy name, the catalogue's, or one that this device ran
    replayer    makes the replay instead, for other engines
    calibration what honest margins look like (a Calibration or its file), for the statistical check of other models
                than the default one

    The device of ``home`` trusts itself. Without a replay nothing is written, and no home is needed.
    Raises FormatError or SignatureError when there is nothing to check, UsageError, StoreError.
    """
    from verity.sampling.noise import read_nonce
    from verity.statements.keys import parse_key
    from verity.store.bundles import read_bundle, read_request
    from verity.verify.policy import Expected, Policy, read_policy
    from verity.verify.verifier import verify as verify_bundle

    bundle = read_bundle(source)
    rules = policy if isinstance(policy, Policy) else read_policy(Path(policy)) if policy is not None else Policy()
    issued = read_request(request) if request is not None else None
    if key is not None:
        parse_key(key)
    if nonce is not None:
        nonce = read_nonce(nonce.lower()).hex()
    _agree(issued, nonce)
    challenge = _challenge(spot, states, source, also=bool(replay))
    replay = replay if replay is not None else spot is None
    expected = Expected(
        device=key or _itself(home, rules, bundle),
        model=_digest_of(model, home) or (issued.request.model if issued else None),
        adapters=_adapter_digests(adapters, home),
        prompt=prompt,
        system=system,
        nonce=nonce,
        request=issued,
        issuer=_own_key(home) if issued is not None else None,
        checkpoint=checkpoint,
        previous=read_bundle(previous) if previous is not None else None,
        spot=challenge,
        calibrations=_calibrations(calibration),
    )
    if not (replay or spot) or replayer is not None:
        return verify_bundle(bundle, rules, expected, replayer if replay or spot else None)
    with _store(home) as (blobs, numerics):
        from verity.replayer import ProcessReplayer

        apart = ProcessReplayer(blobs, numerics, threads=threads, limit_s=limit_s, progress=progress)
        return verify_bundle(bundle, rules, expected, _consenting(apart, blobs, numerics, rules, expected))


def _calibrations(given: Calibration | str | os.PathLike[str] | None) -> list[Calibration]:
    from verity.verify.calibration import Calibration, open_calibration

    if given is None:
        return []
    return [given if isinstance(given, Calibration) else open_calibration(Path(given))]


def _challenge(
    count: int | None, states: str | os.PathLike[str] | StateSource | None, source: Any, *, also: bool
) -> Spot | None:
    from verity.challenge import beside, source_of
    from verity.errors import UsageError
    from verity.verify.spot import Spot

    if count is None:
        if states is not None:
            raise UsageError("states are for a spot check", "say how many segments to check: --spot K")
        return None
    if type(count) is not int or count < 1:
        raise UsageError("a spot check is of one segment or more", "leave --spot out to replay the whole")
    if states is None and not isinstance(source, str | os.PathLike):
        raise UsageError("a spot check needs the prover's states", "name their file or the device's server: --states")
    return Spot(count, source_of(beside(source) if states is None else states), also)


def _own_key(home: str | os.PathLike[str] | None) -> str | None:
    from verity.identity.device_key import KEY_FILE, DeviceKey
    from verity.store.home import find

    folder = find(home)
    return DeviceKey.load(folder).id if (folder / KEY_FILE).exists() else None


def _agree(issued: Issued | None, nonce: str | None) -> None:
    from verity.errors import UsageError

    if issued is None:
        return
    if issued.nonce is None:
        raise UsageError("the request has no nonce yet", "verify with the one that `verity nonce --reveal` wrote")
    if nonce not in (None, issued.nonce.hex()):
        raise UsageError("the nonce is not the one in the request", "give one of them")


def _consenting(
    replayer: Replayer, blobs: Blobs, numerics: NumericsStore, rules: Policy, expected: Expected
) -> Replayer:
    """Replays only what somebody here vouches for: files of models and adapters are strangers' (docs/sandbox.md)."""
    from verity.store import catalogue
    from verity.store.adapters import Adapters, add_command
    from verity.verify.replay import CannotReplay, Replayed

    def replay(claim: AnyClaim) -> Replayed:
        digests = {claim.model.blake3, claim.model.sha256}
        named = digests & {*rules.models, expected.model} or any(catalogue.find(digest) for digest in digests)
        if not named and not numerics.declared(claim.model.blake3):
            hint = f"if you mean to run it, name it: --model {claim.model.blake3}"
            raise CannotReplay(f"nobody that you trust released the model {claim.model.name}", hint)
        for adapter in claim.adapters:
            known = {adapter.blake3, adapter.sha256} & {*rules.models, *expected.adapters}
            if not known and not Adapters(blobs).knows(adapter.blake3):
                hint = f"if you mean to run it, get its file and add it: {add_command(adapter.blake3, adapter.base)}"
                raise CannotReplay(f"the adapter {adapter.name} is not among this device's", hint)
        return replayer(claim)

    return replay


@contextlib.contextmanager
def _store(home: str | os.PathLike[str] | None) -> Iterator[tuple[Blobs, NumericsStore]]:
    from verity.engines.numerics import NumericsStore
    from verity.store.blobs import Blobs
    from verity.store.database import Database
    from verity.store.home import locate

    folder = locate(home)
    with Database.open(folder) as database:
        yield Blobs(folder, database), NumericsStore(database)


def _itself(home: str | os.PathLike[str] | None, rules: Policy, bundle: Bundle) -> str | None:
    """This device's own name, when nobody else is named and it signed this; verifying never makes a key."""
    own = _own_key(home) if not rules.trust.devices else None
    return own if own == bundle.receipt.intent.device() else None


def _adapter_digests(adapters: Sequence[str], home: str | os.PathLike[str] | None) -> list[str]:
    from verity.store.adapters import Adapters

    if all(_DIGEST.fullmatch(adapter) for adapter in adapters):
        return list(adapters)
    with _store(home) as (blobs, _):
        return [a if _DIGEST.fullmatch(a) else Adapters(blobs).resolve(a).blake3 for a in adapters]


def _digest_of(model: str | None, home: str | os.PathLike[str] | None) -> str | None:
    from verity.store import catalogue

    if model is None or _DIGEST.fullmatch(model):
        return model
    known = catalogue.find(model)
    if known is not None:  # the catalogue's names mean its digests everywhere
        return known.blake3
    with _store(home) as (blobs, _):
        return blobs.resolve(model)[1].blake3
