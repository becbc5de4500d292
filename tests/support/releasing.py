"""Releases for tests: keys, folders, and `model_signing`, which checks them independently, in its own environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from verity.statements.manifests import Manifest
from verity.statements.publishers import PublisherSigner, new_signer
from verity.statements.release import Release
from verity.store.release_folders import sign_release

MODEL_SIGNING = Path(os.environ.get("VERITY_MODEL_SIGNING") or Path(__file__).parents[2] / ".venv-model-signing")
SIGNER = new_signer()
OTHER = new_signer()


def about(**said: Any) -> Release:
    """What a publisher says, but for what is given."""
    plain: dict[str, Any] = {
        "kind": "model",
        "name": "small",
        "version": "1.0",
        "licence": "Apache-2.0",
        "base": None,
        "training": {},
        "evaluations": [],
        "made_at": "2026-11-27T12:00:00Z",
        "publisher": "Example Lab",
    }
    return Release(**{**plain, **said})


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """These files in a new folder."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def publish(out: Path, files: Mapping[str, bytes], signer: PublisherSigner = SIGNER, **said: Any) -> Manifest:
    """A release of these files as the folder ``out``."""
    source = write(out.with_name(f"{out.name}-source"), files)
    return sign_release(about(**said), [source], out, signer)


def key_files(folder: Path, signer: PublisherSigner = SIGNER) -> tuple[Path, Path]:
    """The private and the public half, as files."""
    private, public = folder / "publisher.pem", folder / "publisher.pub.pem"
    private.write_bytes(signer.pem())
    public.write_bytes(signer.public.pem)
    return private, public


def model_signing(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The reference implementation. Skips the test where it is not installed; in CI it has to be."""
    program = MODEL_SIGNING / "bin/model_signing"
    if not program.exists():
        said = f"model_signing is not installed in {MODEL_SIGNING.name} (`make test` tries to)"
        (pytest.fail if "CI" in os.environ else pytest.skip)(said)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
