"""The check `released`, and whose files are replayed without being asked for consent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from forger import forge
from in_process import REPLY, in_process
from releasing import OTHER, SIGNER, publish

import verity
from verity.engines.scripted import ScriptedEngine
from verity.errors import FormatError
from verity.node import Node
from verity.replayer import consenting
from verity.statements.bundle import Bundle
from verity.statements.revocation import revoke
from verity.store.config import write_publishers
from verity.store.importing import add_release, add_revocation
from verity.verify.policy import Policy, read_policy
from verity.verify.report import Check, Report

NOW = "2026-11-27T12:00:00Z"
ADAPTER = b"what an adapter is to a script"


@pytest.fixture
def bundle(home: Path) -> Bundle:
    """By somebody else's device."""
    with verity.open(home / "maker", engine=ScriptedEngine(REPLY)) as maker:
        return maker.ask("Why?", temperature=0.0, max_tokens=4).bundle


@pytest.fixture
def verifier(home: Path) -> Iterator[Node]:
    with Node(home / "verifier") as node:
        yield node


def policy(*publishers: str) -> Policy:
    return msgspec.convert({"trust": {"publishers": list(publishers or (SIGNER.public.id,))}}, Policy)


def report(bundle: Bundle, verifier: Node, *publishers: str) -> Report:
    return verity.verify(bundle, policy=policy(*publishers), replay=False, home=verifier.home)


def released(bundle: Bundle, verifier: Node, *publishers: str) -> Check:
    return report(bundle, verifier, *publishers).check("released")


def add(verifier: Node, folder: Path, signer: Any = SIGNER, files: Any = None, **said: Any) -> str:
    manifest = publish(folder, files or {"script": REPLY.encode()}, signer, **said)
    add_release(verifier.blobs, folder, signer.public)
    return manifest.root


def test_a_policy_without_publishers_asks_for_no_release(bundle: Bundle, verifier: Node) -> None:
    found = verity.verify(bundle, replay=False, home=verifier.home)
    assert found.check("released").status == "not made"
    assert "released" not in found.required


def test_a_release_that_is_known_by_a_publisher_who_is_named_passes(
    bundle: Bundle, verifier: Node, tmp_path: Path
) -> None:
    missing = report(bundle, verifier)
    assert (missing.check("released").status, "released" in missing.required) == ("not made", True)
    assert "verity release add" in missing.check("released").sentence
    assert "released" in {check.name for check in missing.unmade}
    add(verifier, tmp_path / "theirs", OTHER)
    assert released(bundle, verifier).status == "not made"
    root = add(verifier, tmp_path / "script")
    check = released(bundle, verifier)
    assert check.status == "passed"
    assert check.evidence["releases"] == [
        {"release": "small", "version": "1.0", "root": root, "publisher": SIGNER.public.id, "revoked": None}
    ]
    assert released(bundle, verifier, OTHER.public.id).status == "passed"


def test_one_that_was_revoked_fails_the_whole(bundle: Bundle, verifier: Node, tmp_path: Path) -> None:
    root = add(verifier, tmp_path / "script")
    add_revocation(verifier.blobs, revoke(root, "small", "a back door", NOW, SIGNER))
    found = report(bundle, verifier)
    assert found.exit_code == 1
    assert f"at {NOW}: a back door" in found.check("released").sentence
    assert found.check("released").evidence["revoked"] == {"reason": "a back door", "at": NOW}
    add(verifier, tmp_path / "theirs", OTHER)
    assert released(bundle, verifier, OTHER.public.id).status == "passed"


def test_a_dataset_is_no_model(bundle: Bundle, verifier: Node, tmp_path: Path) -> None:
    add(verifier, tmp_path / "script", kind="dataset")
    assert released(bundle, verifier).status == "not made"


def test_an_adapter_must_be_released_too_and_for_the_base_in_use(verifier: Node, home: Path, tmp_path: Path) -> None:
    base = ScriptedEngine(REPLY).model["blake3"]
    digests = {"blake3": blake3(ADAPTER).hexdigest(), "sha256": hashlib.sha256(ADAPTER).hexdigest()}
    use = {"name": "calm", "size": len(ADAPTER), "base": base, "scale": 1, **digests}
    with verity.open(home / "maker", engine=ScriptedEngine(REPLY)) as maker:
        changed = forge(maker, intent=lambda fields: fields.update(adapters=[use]))
    add(verifier, tmp_path / "script")
    assert released(changed, verifier).status == "not made"
    assert "calm" in released(changed, verifier).sentence
    _keep_adapter(verifier, tmp_path / "other", "ab" * 32, "2.0")
    assert released(changed, verifier).status == "failed"
    _keep_adapter(verifier, tmp_path / "right", base, "1.0")
    check = released(changed, verifier)
    assert (check.status, len(check.evidence["releases"])) == ("passed", 2)


def _keep_adapter(verifier: Node, folder: Path, base: str, version: str) -> None:
    """As one would be kept whose file llama.cpp reads."""
    from verity.statements.release import Known
    from verity.store.releases import write_publisher, write_release

    manifest = publish(folder, {"calm": ADAPTER}, kind="adapter", name="calm", base=base, version=version)
    known = Known(manifest.root, SIGNER.public.id, "calm", "adapter", version, base, tuple(manifest.files), None)
    with verifier.blobs.database.transaction() as connection:
        write_publisher(connection, SIGNER.public)
        write_release(connection, known, None, b"", {file.path: "ab" * 32 for file in manifest.files})


def test_without_a_home_nothing_is_made_and_no_release_is_known(bundle: Bundle, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    found = verity.verify(bundle, policy=policy(), replay=False, home=nowhere)
    assert found.check("released").status == "not made"
    assert not nowhere.exists()


@pytest.mark.parametrize("said", ["ab", "AB" * 32, "", "../x"])
def test_a_publisher_in_a_policy_is_a_digest(said: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f"[trust]\npublishers = ['{said}']\n")
    with pytest.raises(FormatError):
        read_policy(path)


def test_a_trusted_release_is_consent_and_a_revoked_one_needs_it_named(
    bundle: Bundle, verifier: Node, tmp_path: Path
) -> None:
    model = ScriptedEngine(REPLY).model

    def replay(*vouched: str) -> str:
        replayer = consenting(in_process, verifier.blobs, verifier.numerics, vouched)
        found = verity.verify(bundle, replayer=replayer, home=verifier.home)
        return found.check("replayed-exact").sentence

    assert "nobody that you trust" in replay().lower()
    root = add(verifier, tmp_path / "script")
    assert "nobody that you trust" in replay().lower()  # its publisher is not trusted
    write_publishers(verifier.home, [SIGNER.public.id])
    assert "came out again" in replay()
    add_revocation(verifier.blobs, revoke(root, "small", "a back door", NOW, SIGNER))
    assert "a back door" in replay()
    assert model["blake3"] in replay()
    assert "came out again" in replay(model["sha256"])
