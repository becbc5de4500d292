"""Step 18: could the device choose the randomness, or anything else that decides the answer?

With a nonce of the verifier's own a device can still vary everything else until it likes what comes out: 0.80001 for
0.8, another date in the template, a system prompt, a context size. So ``seed-origin`` passes only when nothing is left
to vary: each handle below is fixed by a request that the receipt answers, pinned by the policy, or settled by an exact
replay here (which accepts one template, one numerics and one set of engine options only).
"""

from __future__ import annotations

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


def seed_origin(
    fields: Fields, policy: Policy, expected: Expected, known: Issued | None, request: Status, replayed: Status
) -> Check:
    """``known`` is the request that counts as the caller's own, ``request`` and ``replayed`` what these checks gave."""
    own = known.nonce.hex() if known is not None and known.nonce is not None else expected.nonce
    if own is None:
        return Check(NAME, "not made", "The prover could choose: no nonce of the verifier's own was given.")
    if fields.read("nonce", Nonce).hex != own:
        return Check(NAME, "failed", "The nonce is not the one given, so the prover chose the randomness.")
    if known is not None and request != "passed":
        return Check(NAME, "failed" if request == "failed" else "not made", "The receipt does not answer the request.")
    if policy.pin and pinned(fields, policy).status != "passed":
        return Check(NAME, "failed", "The nonce is yours, but the request is not the one that the policy pins.")
    loose = sorted(_loose(fields, policy, expected, known, replayed == "passed"))
    if loose:
        sentence = f"The nonce is yours, but the prover could vary what nothing pins: {', '.join(loose)}."
        if replayed != "passed" and set(loose) <= set(SETTLED_BY_REPLAY):
            sentence = f"The nonce is yours, but without an exact replay the prover could vary {', '.join(loose)}."
        return Check(NAME, "not made", sentence, {"not_pinned": loose})
    return Check(NAME, "passed", "The nonce and every field of the request are the verifier's own.")


def _loose(fields: Fields, policy: Policy, expected: Expected, known: Issued | None, replayed: bool) -> set[str]:
    fixed = set(policy.pin)
    handles = HANDLES | set(fields.inputs())
    if known is not None:
        fixed |= {"context/size", "template/clock", *(handles - set(SETTLED_BY_REPLAY))}
    if expected.model is not None or len(policy.models) == 1 or "model/blake3" in fixed:
        fixed.add("model")
    if replayed:
        fixed |= {handle for handle, member in SETTLED_BY_REPLAY.items() if member is None or member in fixed}
    return set(handles - fixed)
