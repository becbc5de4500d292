"""Step 19: could the device choose the randomness, or anything else that decides the answer?

With a nonce of the verifier's own a device can still vary everything else until it likes what comes out: 0.80001 for
0.8, another date in the template, a system prompt, a context size. So ``seed-origin`` passes only when an exact replay
passed and nothing is left to vary: each handle below is fixed by a request that the receipt answers, pinned by the
policy, or settled by the replay (which accepts one template, one numerics and one set of engine options only).
"""

from __future__ import annotations

from collections.abc import Mapping

from verity.statements.receipt import INTENT_FIELDS
from verity.statements.request import Issued
from verity.verify.claims import Fields, Nonce
from verity.verify.expectations import pinned
from verity.verify.policy import Expected, Policy
from verity.verify.report import Check, Status

NAME = "seed-origin"
HANDLES = frozenset(f for f in INTENT_FIELDS if f.startswith(("sampling/", "limits/"))) | {
    "adapters", "choice", "context", "grammar", "model", "numerics", "template", "tools",
}  # fmt: skip
"""And every input."""

SETTLED_BY_REPLAY = {"numerics": None, "template": "template/clock", "context": "context/size"}
"""Handles that an exact replay leaves no choice in, with the member that must be pinned besides."""

_ENDED = ("end", "stop", "length")
"""How an answer ends without the device's choosing."""


def seed_origin(
    fields: Fields, policy: Policy, expected: Expected, known: Issued | None, device: str, before: Mapping[str, Status]
) -> Check:
    """``known`` is the request that counts as the caller's own, ``before`` what the checks before this one gave."""
    own = {expected.nonce} if expected.nonce is not None else set()
    own |= {known.nonce.hex()} if known is not None and known.nonce is not None else set()
    if not own:
        return Check(NAME, "not made", "The prover could choose: no nonce of the verifier's own was given.")
    if {fields.read("nonce", Nonce).hex} != own:
        return Check(NAME, "failed", "The nonce is not the one given, so the prover chose the randomness.")
    if policy.pin and pinned(fields, policy).status != "passed":
        return Check(NAME, "failed", "The nonce is yours, but the request is not the one that the policy pins.")
    wanted = {"nonce": "the seed does not follow from the nonce", "replayed-exact": "no exact replay passed"}
    if known is not None:
        wanted["request"] = "the receipt does not answer the request"
        if known.issuer == device:
            return Check(NAME, "not made", "The device asked itself: nobody else chose the randomness.")
    for name, reason in wanted.items():
        if before[name] != "passed":
            return Check(NAME, before[name], f"The nonce is the one given, but {reason}.")
    if fields.read("output/finish", str) not in _ENDED:
        return Check(NAME, "not made", "The answer was cut off, on the device's word: stopping is a choice too.")
    loose = sorted(_loose(fields, policy, expected, known))
    if loose:
        sentence = f"The nonce is the one given, but the prover could vary what nothing pins: {', '.join(loose)}."
        return Check(NAME, "not made", sentence, {"not_pinned": loose})
    whose = f"issuer {known.issuer[:16]}…" if known is not None else "verifier"
    return Check(NAME, "passed", f"The nonce and everything that decides the answer were fixed by the {whose}.")


def _loose(fields: Fields, policy: Policy, expected: Expected, known: Issued | None) -> set[str]:
    fixed = set(policy.pin)
    handles = HANDLES | set(fields.inputs())
    if known is not None:
        fixed |= {"context/size", "template/clock", *(handles - set(SETTLED_BY_REPLAY))}
    if expected.model is not None or len(policy.models) == 1 or "model/blake3" in fixed:
        fixed.add("model")
    fixed |= {handle for handle, member in SETTLED_BY_REPLAY.items() if member is None or member in fixed}
    return set(handles - fixed)
