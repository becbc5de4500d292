"""All targets, in the order in which ``make fuzz`` runs them."""

from __future__ import annotations

from fuzz import documents, files, hardware, logs, proofs, releases, states, tensors, texts, verification, witnesses
from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (documents, states, proofs, logs, texts, files, tensors, hardware, verification, witnesses, releases)
    for target in module.TARGETS
}
