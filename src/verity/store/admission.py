"""Whether this device loads a file: what its owner's rules (config.py) say of a model or an adapter, asked before it is
opened, and every time.

    no rule                   everything may be loaded but what was revoked
    require_release           only what is in a release of the right kind, by a publisher who is trusted
    revoked                   never, while its publisher is trusted

A file counts as revoked if any release that it is in was: the same bytes in another release are no better. A revocation
says that the files must not be used; a mistake in what is said of them is mended by another release.
"""

from __future__ import annotations

from verity.errors import ReleaseRefused
from verity.statements.adapters import AdapterUse
from verity.statements.release import Kind, Known
from verity.store.blobs import Blobs
from verity.store.config import Models, read_config
from verity.store.releases import Releases


class Admission:
    """The rules of the device that these blobs are of. ``require_release`` goes before the file. Raises FormatError,
    for every method, when that cannot be read."""

    def __init__(self, blobs: Blobs, require_release: bool | None = None) -> None:
        self._home = blobs.folder.parent
        self._releases = Releases(blobs.database)
        self._require_release = require_release

    def model(self, name: str, sha256: str) -> None:
        """Raise ReleaseRefused unless a model with these bytes may be loaded."""
        rules = self._rules()
        found = self._unrevoked(name, sha256, rules)
        if rules.require_release and not any(release.kind == "model" for release in found):
            raise _missing("model", name, rules)

    def adapter(self, use: AdapterUse) -> None:
        """Raise ReleaseRefused unless this adapter may be loaded, for the base that it is used with."""
        rules = self._rules()
        found = [r for r in self._unrevoked(use.name, use.sha256, rules) if r.kind == "adapter"]
        if found and not any(release.base in (None, use.base) for release in found):
            hint = f"use it with that model, or remove the release: verity release remove {found[0].root[:12]}"
            raise ReleaseRefused(f"the adapter {use.name} was released for another model, {found[0].base}", hint)
        if rules.require_release and not found:
            raise _missing("adapter", use.name, rules)

    def revoked(self, sha256: str) -> Known | None:
        """The release of a trusted publisher, revoked, that a file with these bytes is in; if there is one."""
        found = self._releases.holding(sha256, self._rules().publishers)
        return next((release for release in found if release.revoked is not None), None)

    def released(self, sha256: str, kind: Kind) -> bool:
        """Whether a trusted publisher vouches for these bytes, and did not revoke them."""
        found = self._releases.holding(sha256, self._rules().publishers)
        return any(r.kind == kind for r in found) and all(r.revoked is None for r in found)

    def _rules(self) -> Models:
        return read_config(self._home, require_release=self._require_release).models

    def _unrevoked(self, name: str, sha256: str, rules: Models) -> list[Known]:
        found = self._releases.holding(sha256, rules.publishers) if rules.publishers else []
        for release in found:
            if release.revoked is not None:
                said = f"its publisher revoked the release {release.name} {release.version} at {release.revoked.at}"
                hint = "use another release; whose word counts here is what `verity release trust` and `distrust` say"
                raise ReleaseRefused(f"{name} must not be used: {said}: {release.revoked.reason}", hint)
        return found


def _missing(what: str, name: str, rules: Models) -> ReleaseRefused:
    if not rules.publishers:
        hint = "trust a publisher: `verity release trust publisher.pub.pem`, then `verity release add FOLDER`"
    else:
        hint = "get its release and `verity release add FOLDER`; or sign one yourself (docs/releases.md)"
    said = f"this device loads only what a trusted publisher released, and the {what} {name} is in no such release"
    return ReleaseRefused(said, hint)
