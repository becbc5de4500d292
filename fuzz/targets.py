"""All targets, in the order in which ``make fuzz`` runs them."""

from __future__ import annotations

from fuzz import documents, files, hardware, proofs, states, tensors, texts, verification
from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (documents, states, proofs, texts, files, tensors, hardware, verification)
    for target in module.TARGETS
}
