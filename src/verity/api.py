"""The functions that a program starts with: ``verity.open``, ``verity.verify`` and ``verity.dispute``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # imported in the functions instead: `import verity` stays cheap
    from verity.engines.numerics import NumericsStore
    from verity.node import Node
    from verity.statements.bundle import Bundle
    from verity.statements.request import Issued
    from verity.statements.verdict import SignedVerdict
    from verity.store.blobs import Blobs
    from verity.store.reading import Progress
    from verity.verify.calibration import Calibration
    from verity.verify.dispute import Verdict
    from verity.verify.kinds import AnyClaim
    from verity.verify.policy import Policy
    from verity.verify.replay import Replayed
    from verity.verify.report import Report
    from verity.verify.spot import StateSource
    from verity.verify.verifier import Replayer


def open(home: str | os.PathLike[str] | None = None, **options: Any) -> Node:  # noqa: A001
    """Open this device: its key, log and models in ``home`` (default: ``$VERITY_HOME``, or the per-user folder).

    Options: ``engine`` (instead of llama.cpp, such as ScriptedEngine), ``threads``, ``context_size`` (tokens),
    ``micro_batch`` (tokens), ``require_release`` (instead of what the owner's config.toml says) and
    ``progress(done, total, label)``. Raises StoreError.
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
    witnesses: Sequence[str] = (),
    threshold: int | None = None,
    spot: int | None = None,
    states: str | os.PathLike[str] | StateSource | None = None,
    replay: bool | None = None,
    replayer: Replayer | None = None,
    calibration: Calibration | str | os.PathLike[str] | None = None,
    key_events: Sequence[str | os.PathLike[str]] = (),
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
    witnesses   whose cosignatures of the log's head count: ``OPERATOR=KEY``; an operator may have several
    threshold   how many operators must have cosigned; unless given, so many that fewer than a third cannot split views
    spot        replay only so many segments, drawn now at random, instead of the whole (``replay`` true: beside it)
    states      where the prover's states are for that: a file (default: the one beside the bundle's file), the address
                of the device's server, or a function like ``Node.states``
    replay      run the model again (in a process of its own, at most ``limit_s`` seconds); the model must be in this
                device's store, and be one that you or the policy name, the catalogue's, or one that this device ran
    replayer    makes the replay instead, for other engines
    calibration what honest margins look like (a Calibration or its file), for the statistical check of other models
                than the default one

    key_events  files of what is known about keys: recovery keys, successors, revocations. Those that the policy lists
                and those that the device of ``home`` knows count too

    The device of ``home`` trusts itself. Without a replay nothing is written, and no home is needed.
    Raises FormatError or SignatureError when there is nothing to check, UsageError, StoreError.
    """
    from verity import expecting
    from verity.sampling.noise import read_nonce
    from verity.statements.keys import parse_key
    from verity.store.bundles import read_bundle, read_request
    from verity.verify.operators import named
    from verity.verify.policy import Expected, Policy, read_policy
    from verity.verify.verifier import verify as verify_bundle

    bundle = read_bundle(source)
    folder, rules = Path(), policy if isinstance(policy, Policy) else Policy()
    if policy is not None and not isinstance(policy, Policy):
        folder, rules = Path(policy).parent, read_policy(Path(policy))
    issued = read_request(request) if request is not None else None
    if key is not None:
        parse_key(key)
    if nonce is not None:
        nonce = read_nonce(nonce.lower()).hex()
    expecting.check_nonce(issued, nonce)
    challenge = expecting.challenge_of(spot, states, source, bundle, also=bool(replay))
    replay = replay if replay is not None else spot is None
    events = expecting.known_events(home, key_events, rules, folder)
    expected = Expected(
        device=key or expecting.itself(home, rules, bundle, events),
        model=expecting.digest_of(model, home) or (issued.request.model if issued else None),
        adapters=expecting.adapter_digests(adapters, home),
        prompt=prompt,
        system=system,
        nonce=nonce,
        request=issued,
        issuer=expecting.own_key(home) if issued is not None else None,
        checkpoint=checkpoint,
        previous=read_bundle(previous) if previous is not None else None,
        spot=challenge,
        witnesses=named(witnesses, threshold),
        calibrations=expecting.calibrations_of(calibration),
        key_events=events,
        releases=expecting.releases_of(rules, home),
    )
    if not (replay or spot) or (replayer is not None and not isinstance(replayer, Shared)):
        return verify_bundle(bundle, rules, expected, replayer if replay or spot else None)
    with contextlib.nullcontext(replayer) if replayer else sharing(home, 2, threads, limit_s, progress) as shared:
        vouched = [*rules.models, *expected.adapters, *([expected.model] if expected.model else [])]
        return verify_bundle(bundle, rules, expected, shared.consenting(vouched))


class Shared(NamedTuple):
    """What replays of one device's bundles share: its stores and a process. No verifier's own: it asks no consent."""

    blobs: Blobs
    numerics: NumericsStore
    replayer: Replayer

    def __call__(self, claim: AnyClaim) -> Replayed:
        return self.replayer(claim)

    def consenting(self, vouched: Sequence[str]) -> Replayer:
        from verity.replayer import consenting

        return consenting(self.replayer, self.blobs, self.numerics, vouched)


@contextlib.contextmanager
def sharing(
    home: str | os.PathLike[str] | None, most: int, threads: int | None, limit_s: float, progress: Progress | None
) -> Iterator[Shared]:
    """For at most ``most`` replays, all of bundles by one device (see ProcessReplayer.together)."""
    from verity import expecting
    from verity.replayer import ProcessReplayer

    with expecting.stores(home) as (blobs, numerics):
        apart = ProcessReplayer(blobs, numerics, threads=threads, limit_s=limit_s, progress=progress)
        with apart.together(most) as replayer:
            yield Shared(blobs, numerics, replayer)


def dispute(
    a: Bundle | bytes | str | os.PathLike[str],
    b: Bundle | bytes | str | os.PathLike[str],
    *,
    states_a: str | os.PathLike[str] | StateSource | None = None,
    states_b: str | os.PathLike[str] | StateSource | None = None,
    model: str | None = None,
    replayer: Replayer | None = None,
    home: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    limit_s: float = 900.0,
    progress: Progress | None = None,
) -> tuple[Verdict, SignedVerdict]:
    """Find out which of two bundles answers their request wrongly, as the device of ``home``, which signs the verdict.

    ``states_a`` and ``states_b`` are where each party's states are (see ``verify``); ``model`` is consent to run
    one that nobody here knows. The other options are those of ``verify``. See verity/verify/dispute.py for the steps.

    Raises UsageError for answers to different requests or that are not opened, FormatError, StoreError.
    """
    from verity import expecting
    from verity.node import Node
    from verity.referee import party_of
    from verity.replayer import ProcessReplayer, consenting

    parties = party_of(a, states_a), party_of(b, states_b)
    vouched = [digest] if (digest := expecting.digest_of(model, home)) else []
    with Node(home) as node:
        if replayer is None:
            apart = ProcessReplayer(node.blobs, node.numerics, threads=threads, limit_s=limit_s, progress=progress)
            replayer = consenting(apart, node.blobs, node.numerics, vouched)
        return node.referee.settle(*parties, replayer)
