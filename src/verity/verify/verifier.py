"""Verify one bundle. The steps, in this order; each adds one check to the report:

     1  receipt       both envelopes hold the statements they must; no unknown critical field
     2  signed        a trusted device, or whom it named as its successor, signed intent and result
        key-current   and no event about its key that is known here says that this receipt comes too late
     3  logged        both stand in the device's log, under a checkpoint that the device signed
     4  consistent    that log only grew since the checkpoint that the caller kept
     5  intent        the result names this intent, which stands before it in the same log
     6  intent-first  whoever chose the nonce had the signed intent in hand before
     7  disclosure    every opened field and token is the one that the receipt committed to
     8  output        text, tokens and finish reason belong together
     9  engine        a model engine ran, not the scripted fake
    10  model         the model, and each adapter, is one that the caller or the policy names
        released      … and is in a release, not revoked, of a publisher whom the policy names
    11  prompt        the prompt is the one that the caller names
    12  request       the receipt answers the request of the caller, or of an issuer whom the policy trusts
    13  previous-turn the receipt goes on from the turn before that the caller has
    14  nonce         the seed follows from the nonce, which is the caller's if one is given
    15  pinned        fields that the policy pins have their values
    16  numerics, finish      the policy accepts the claimed numerics, and how the answer ended
    17  replayed-exact        the model gives the same tokens again, bit for bit
    18  replayed-statistical  where numerics differ: the tokens are as near as honest rounding leaves them
    19  spot-checked  a few segments, drawn by the verifier, come out again from the states committed before them
    20  seed-origin   the device could choose neither the randomness nor anything that decides the answer
    21  witnessed     operators whom the caller or the policy names saw this head of the log, by a time that is stated
    22  hardware-bound        a TPM's key vouched for the device's key and this checkpoint, on a registrar's word; made
                      where the bundle carries a quote, or the policy asks for one
        … and a line, `not made`, for every other grade that the policy requires

Nothing here opens a model: the replay is made by a ``Replayer`` that the caller hands in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import UNSET

from verity.errors import FormatError, SignatureError, VerityError
from verity.statements.bundle import Bundle, Disclosure
from verity.statements.commitments import SEGMENT_FIELD
from verity.statements.dsse import Envelope
from verity.statements.receipt import INTENT, RESULT, Statement, read_statement
from verity.statements.request import Issued, read_request
from verity.verify import content, expectations, hardware, key_events, logged, released, spot, turns
from verity.verify.claims import Fields, Withheld
from verity.verify.kinds import OF_CHANCE, AnyClaim, Kind, kind_of
from verity.verify.operators import Operators
from verity.verify.origin import NAME, seed_origin
from verity.verify.policy import Expected, Policy
from verity.verify.replay import CannotReplay, Claim, Replayed
from verity.verify.report import Check, Report
from verity.verify.standing import Said
from verity.verify.statistical import NAME as STATISTICAL
from verity.verify.statistical import statistical
from verity.verify.witnessed import NAME as WITNESSED
from verity.verify.witnessed import witnessed

_REPLAYS = ("replayed-exact", STATISTICAL)
_SPOT = "segments of it were asked for instead"
_NOT_OPENED = "the disclosure is missing or does not hold"


class Replayer(Protocol):
    def __call__(self, claim: AnyClaim) -> Replayed:
        """Replay ``claim`` apart from this process. Raises CannotReplay, or another VerityError: it was not made."""


def verify(bundle: Bundle, policy: Policy, expected: Expected, replayer: Replayer | None) -> Report:
    """Make every check that can be made. Raises FormatError when the bundle cannot be read at all."""
    intent, result = statements(bundle)
    device = bundle.receipt.intent.device()
    asked, now_s = policy.asked(expected), time.time()
    events = key_events.said_by(expected.key_events, asked, now_s)
    checks = [expectations.known(intent, result), _signed(bundle, policy, expected, device, events)]
    current = key_events.key_current
    checks.append(_try(key_events.NAME, lambda: current(bundle, result, device, events, asked, now_s)))
    checks.append(_try("logged", lambda: logged.in_the_log(bundle, intent, result, device, policy)))
    checks.append(_try("consistent", lambda: logged.consistent(bundle, device, expected.checkpoint)))
    checks.append(_try("intent", lambda: logged.intent_before_result(bundle, intent, result)))
    carried = expected.request or _carried(bundle)
    known = carried if carried is not None and carried.issuer in {*policy.trust.issuers, expected.issuer} else None
    checks.append(_try("intent-first", lambda: logged.intent_first(bundle, intent, known.intent if known else None)))
    opened = content.open_fields(bundle, intent, result)
    checks.append(opened.check)
    kind = kind_of(intent.predicate.kind)
    checks += _content_checks(kind, opened, policy, expected, known, carried, device)
    checks += _replay_checks(kind, opened, policy, expected, known, device, checks, replayer)
    if asked or _is_cosigned(bundle):
        checks.append(_try(WITNESSED, lambda: _witnessed(bundle, opened, asked, device, checks, now_s, events)))
    if kind.not_drawn:
        checks = [_not_made(c.name, kind.not_drawn) if c.name in OF_CHANCE else c for c in checks]
    whole = replayer is not None and (expected.spot is None or expected.spot.also)
    required = policy.required(expected, replay=whole, ended=key_events.ended(device, events))
    if hardware.NAME in required or bundle.log.hardware is not UNSET:
        checks.append(_try(hardware.NAME, lambda: hardware.hardware_bound(bundle, device, policy)))
    for name in required:
        if all(c.name != name for c in checks):
            checks.append(_not_made(name, f"this version cannot make the check {name!r}"))
    return Report(checks=checks, required=required, receipt=intent.predicate.id, device=device)


def _is_cosigned(bundle: Bundle) -> bool:
    return bundle.log.checkpoint.count("\n\N{EM DASH} ") > 1


def _witnessed(
    bundle: Bundle,
    opened: content.Opened,
    asked: list[Operators],
    device: str,
    before: list[Check],
    now_s: float,
    events: Sequence[Said],
) -> Check:
    """Step 21. Fields count only if what was committed to is what is disclosed."""
    is_logged = any(check.name == "logged" and check.status == "passed" for check in before)
    fields = opened.fields if opened.check.status == "passed" else Fields({})
    earlier = key_events.earlier_keys(device, events)
    return witnessed(bundle.log.checkpoint, is_logged, fields, asked, device, now_s, earlier)


def _carried(bundle: Bundle) -> Issued | None:
    """The request that came with the disclosure, if its signature holds. It counts for nothing unless it is trusted."""
    if not isinstance(bundle.disclosure, Disclosure) or not isinstance(bundle.disclosure.request, Envelope):
        return None
    try:
        return read_request(bundle.disclosure.request)
    except VerityError:
        return None


def _replay_checks(
    kind: Kind,
    opened: content.Opened,
    policy: Policy,
    expected: Expected,
    known: Issued | None,
    device: str,
    before: list[Check],
    replayer: Replayer | None,
) -> list[Check]:
    """Steps 17 to 20."""
    if opened.check.status != "passed":
        replays = [_not_made(name, _NOT_OPENED) for name in _REPLAYS]
        checked = _not_made(spot.NAME, _NOT_OPENED)
        origin = _not_made(NAME, _NOT_OPENED)
    else:
        if expected.spot is not None and not expected.spot.also:
            replays = [_not_made(name, _SPOT) for name in _REPLAYS]
        else:
            replays = _replayed(kind, opened, replayer, expected)
        checked = _try(spot.NAME, lambda: _spot_checked(opened, expected.spot, replayer))
        said = {check.name: check.status for check in (*before, *replays)}
        origin = _try(NAME, lambda: seed_origin(opened.fields, policy, expected, known, device, said))
    return [*replays, checked, origin]


def statements(bundle: Bundle) -> tuple[Statement, Statement]:
    """The intent and the result. Raises FormatError."""
    intent = read_statement(bundle.receipt.intent.payload_bytes(), INTENT)
    result = read_statement(bundle.receipt.result.payload_bytes(), RESULT)
    return intent, result


def _signed(bundle: Bundle, policy: Policy, expected: Expected, device: str, events: Sequence[Said]) -> Check:
    try:
        bundle.receipt.intent.check(device)
        bundle.receipt.result.check(device)
    except (SignatureError, FormatError) as error:
        return Check("signed", "failed", f"A signature does not hold: {error}.")
    wanted = [keys for keys in (policy.trust.devices, [expected.device] if expected.device else []) if keys]
    if not wanted:
        hint = "name the key you expect with --key, or in the policy"
        sentence = f"The signatures hold, but device {device[:16]}… is unknown: {hint}."
        return Check("signed", "not made", sentence, {"device": device})
    return key_events.trusted(device, wanted, events)


def _content_checks(
    kind: Kind,
    opened: content.Opened,
    policy: Policy,
    expected: Expected,
    known: Issued | None,
    carried: Issued | None,
    device: str,
) -> list[Check]:
    """Steps 8 to 16: what the disclosed fields say. Without a disclosure that holds they say nothing."""
    fields = opened.fields
    nonces = {n for n in (expected.nonce, known.nonce.hex() if known and known.nonce else None) if n is not None}
    steps: dict[str, Callable[[], Check]] = {
        "output": lambda: kind.output(opened),
        "engine": lambda: expectations.engine(fields),
        "model": lambda: expectations.model(fields, policy, expected),
        released.NAME: lambda: released.released(fields, policy, expected),
        "prompt": lambda: expectations.prompt(fields, expected),
        "request": lambda: expectations.request(fields, known, carried),
        turns.NAME: lambda: turns.previous_turn(fields, expected.previous, device),
        "nonce": lambda: expectations.nonce(fields, nonces),
        "pinned": lambda: expectations.pinned(fields, policy),
        "numerics": lambda: expectations.numerics(fields, policy),
        "finish": lambda: expectations.finish(fields, policy),
    }
    if opened.check.status != "passed":
        return [_not_made(name, _NOT_OPENED) for name in steps]
    return [_try(name, step) for name, step in steps.items()]


def _try(name: str, step: Callable[[], Check]) -> Check:
    """A withheld field makes a check impossible; a malformed one makes it fail."""
    try:
        return step()
    except Withheld as field:
        return _not_made(name, f"the field {str(field)!r} was not disclosed")
    except VerityError as error:
        return Check(name, "failed", _sentence(str(error)))


def _replayed(kind: Kind, opened: content.Opened, replayer: Replayer | None, expected: Expected) -> list[Check]:
    """Steps 17 and 18, which one run of the model answers."""
    name = _REPLAYS[0]
    if replayer is None:
        return [_not_made(name, "no replay was asked for") for name in _REPLAYS]
    try:
        claim = kind.claim(opened)
        replayed = replayer(claim)
    except Withheld as field:
        exact = _not_made(name, f"the field {str(field)!r} was not disclosed")
    except CannotReplay as reason:
        exact = _not_made(name, str(reason), hint=reason.hint)
    except FormatError as error:
        exact = Check(name, "failed", _sentence(str(error)))
    except VerityError as error:  # a caller's own replayer: the engine could not follow what the receipt says
        exact = _not_made(name, str(error), hint=error.hint)
    else:
        if isinstance(claim, Claim):
            return [judge(name, claim, replayed), statistical(claim, replayed, expected.calibrations)]
        return [judge(name, claim, replayed), _not_made(STATISTICAL, "nothing was drawn token by token")]
    return [exact, _not_made(STATISTICAL, "there was no replay")]


def _spot_checked(opened: content.Opened, asked: spot.Spot | None, replayer: Replayer | None) -> Check:
    """Step 19. Raises Withheld, VerityError."""
    if asked is None or replayer is None:
        return _not_made(spot.NAME, "no segments were asked for; --spot K asks for K")
    if opened.segments is None:
        committed = opened.fields.value(SEGMENT_FIELD) is not None if SEGMENT_FIELD in opened.fields.names() else False
        said = "the segments were not disclosed" if committed else "the receipt commits to no segments"
        return _not_made(spot.NAME, said)
    count = opened.segments.root.count
    picked = spot.draw(count, asked.count)
    try:
        chunks = asked.source(opened.receipt, picked)
    except FormatError:
        raise
    except VerityError as error:  # a file that is not there, a server that cannot be reached: nobody said anything
        return _not_made(spot.NAME, f"nobody could be asked for the states: {error}", hint=error.hint, asked=picked)
    try:
        if (silent := spot.unanswered(opened, picked, chunks)) is not None:
            return silent
        claim = spot.spot_claim(opened, opened.segments, picked, chunks)
        check = judge(spot.NAME, claim, replayer(claim))
    except CannotReplay as reason:
        return _not_made(spot.NAME, str(reason), hint=reason.hint, asked=picked)
    except FormatError:
        raise
    except VerityError as error:  # as in step 17
        return _not_made(spot.NAME, str(error), hint=error.hint, asked=picked)
    return spot.passed(check, picked, count) if check.status == "passed" else check


def judge(name: str, claim: AnyClaim, replayed: Replayed) -> Check:
    """What a replay that was made means for the check ``name``."""
    evidence = {
        "fingerprint": replayed.numerics.fingerprint,
        "claimed_fingerprint": claim.numerics.fingerprint,
        "same_build": replayed.engine == claim.engine,
    }
    outcome = replayed.outcome
    if outcome is None:
        reason = "the receipt's numerics differ from this host's"
        if not replayed.numerics.exact:
            reason = "on this host one-by-one and batched evaluation disagree"
        return _not_made(name, f"{reason}: only a statistical check can be made", **evidence)
    evidence |= outcome.evidence
    if outcome.matches:
        by = "" if evidence["same_build"] else " Another build of the engine than the named one did it."
        return Check(name, "passed", outcome.sentence + by, evidence)
    if not evidence["same_build"]:
        # Equal fingerprints make a mismatch unlikely to be honest, yet no verdict before the named build has been run.
        hint = "the receipt names another build of the engine: replay it with that build before you judge"
        return _not_made(name, outcome.sentence.rstrip("."), **evidence, hint=hint)
    return Check(name, "failed", outcome.sentence, evidence)


def _not_made(name: str, reason: str, **evidence: Any) -> Check:
    hint = evidence.get("hint")
    return Check(name, "not made", _sentence(f"{reason}; {hint}" if hint else reason), evidence)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
