"""llama.cpp built again with one flag changed: from the pinned source package, with the Makefile's other flags.

Only ``ggml-cpu``, the library that computes, is compiled (a minute): the flag is read nowhere else. It takes its place
in a copy of the installed build.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from verity.engines.library import default_threads, describe_library, library

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".verity"


def build(flag: str, value: str) -> Path:
    """The folder of a build in which ``flag`` is ``value``, for LLAMA_CPP_LIB_PATH. Made once, kept in CACHE.

    Needs pip, and cmake and ninja beside this interpreter (requirements/build.txt, which `make setup` installs).
    """
    flags = _makefile_flags()
    assert f"-D{flag}=" in " ".join(flags), f"the Makefile does not set {flag}"
    flags = [f"-D{flag}={value}" if f.startswith(f"-D{flag}=") else f for f in flags]
    kept = CACHE / f"build-{_stamp(flags)}"
    if not kept.is_dir():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _make(Path(folder), flags).rename(kept)
    return kept


def _makefile_flags() -> list[str]:
    line = re.search(r"^LLAMA_FLAGS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line is not None
    return line[1].split()


def _stamp(flags: list[str]) -> str:
    hasher = hashlib.sha256(" ".join(flags).encode())
    for name in ("llama.txt", "build.txt"):
        hasher.update((ROOT / "requirements" / name).read_bytes())
    hasher.update(describe_library()["library"].encode())
    return hasher.hexdigest()[:16]


def _make(folder: Path, flags: list[str]) -> Path:
    """Download (pip checks the hash), compile, and put the new ggml-cpu into a copy of the installed libraries."""
    tools = Path(sys.executable).parent
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--require-hashes", "--no-deps"]
    pip += ["--no-cache-dir", "--no-build-isolation", "--no-binary", "llama-cpp-python", "--dest", str(folder)]
    _run([*pip, "-r", str(ROOT / "requirements/llama.txt")])
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "source", filter="data")
    source = next((folder / "source").iterdir())
    built, made = folder / "build", folder / "made"
    release = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}", "-DCMAKE_BUILD_TYPE=Release"]
    nowhere = f"-DSKBUILD_PLATLIB_DIR={folder / 'nowhere'}"  # where it would be installed, which is not done
    _run([str(tools / "cmake"), "-S", str(source), "-B", str(built), *release, nowhere, *flags])
    _run([str(tools / "cmake"), "--build", str(built), "--target", "ggml-cpu", "-j", str(default_threads())])
    shutil.copytree(Path(library()._lib._name).parent, made)
    replaced = [path for path in made.iterdir() if path.name.startswith("libggml-cpu.")]
    assert replaced
    for path in replaced:
        path.unlink()
        shutil.copy(built / "bin" / "libggml-cpu.so", path)
    return made


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
