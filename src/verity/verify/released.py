"""Step 10, second half: whether model and adapters were released by a publisher whom the policy trusts, and not
revoked.

The releases are those that the verifier has (``verity release add``); the receipt carries none. What their publisher
says of a file, its bytes decide: SHA-256, as it was signed. That the receipt's two digests are of one file is what a
replay checks.
"""

from __future__ import annotations

from typing import Any

from verity.statements.release import Kind, Known
from verity.verify.claims import Fields
from verity.verify.policy import Expected, Policy
from verity.verify.replay import ModelName
from verity.verify.report import Check

NAME = "released"


def released(fields: Fields, policy: Policy, expected: Expected) -> Check:
    """Raises Withheld, FormatError."""
    if not policy.trust.publishers:
        return Check(NAME, "not made", "The policy names no publishers of models.")
    model = fields.read("model", ModelName)
    known = [release for release in expected.releases if release.publisher in policy.trust.publishers]
    wanted: list[tuple[Kind, str, str, str | None]] = [("model", model.name, model.sha256, None)]
    wanted += [("adapter", adapter.name, adapter.sha256, adapter.base) for adapter in fields.adapters()]
    checks = [_of(*each, known) for each in wanted]
    worst = min(checks, key=lambda check: ("failed", "not made", "passed").index(check.status))
    if worst.status != "passed":
        return worst
    evidence = {"releases": [check.evidence for check in checks]}
    return Check(NAME, "passed", " ".join(check.sentence for check in checks), evidence)


def _of(kind: Kind, name: str, sha256: str, base: str | None, known: list[Known]) -> Check:
    """Of one file; ``base`` is the model that an adapter was used with."""
    found = [release for release in known if release.holds(sha256)]
    for release in found:
        if release.revoked is not None:
            said = f"The publisher of the {kind} {name} revoked its release {_called(release)} at {release.revoked.at}"
            return Check(NAME, "failed", f"{said}: {release.revoked.reason}", _evidence(release))
    fitting = [release for release in found if release.kind == kind]
    if not fitting:
        hint = "get one and add it: verity release add FOLDER"
        said = f"No release of the {kind} {name} by a publisher whom the policy names is known here; {hint}."
        return Check(NAME, "not made", said, {"sha256": sha256, "hint": hint})
    for release in fitting:
        if base is None or release.base in (None, base):
            said = f"The {kind} {name} is in the release {_called(release)} of {release.publisher[:16]}…."
            return Check(NAME, "passed", said, _evidence(release))
    said = f"The adapter {name} was released for another model than the one that it was used with."
    return Check(NAME, "failed", said, _evidence(fitting[0]))


def _called(release: Known) -> str:
    return f"{release.name} {release.version}".rstrip()


def _evidence(release: Known) -> dict[str, Any]:
    return {
        "release": release.name,
        "version": release.version,
        "root": release.root,
        "publisher": release.publisher,
        "revoked": release.revoked._asdict() if release.revoked is not None else None,
    }
