"""llama.cpp built again with other flags: from the pinned source package, with the Makefile's flags otherwise.

Only ``ggml-cpu``, the library that computes, is compiled (one to four minutes): these flags are read nowhere else. It
takes its place in a copy of the installed build, which LLAMA_CPP_LIB_PATH selects for a process.

    python benchmarks/builds.py [--json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from verity.engines.library import default_threads, describe_library, library

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".verity"

_NO_AVX = {f"GGML_{name}": "OFF" for name in ("AVX", "AVX2", "FMA", "F16C", "BMI2")}
VARIANTS: dict[str, dict[str, str]] = {
    "portable": {},
    "native": {"GGML_NATIVE": "ON"},
    "sse": _NO_AVX,
    "generic": {"CMAKE_SYSTEM_NAME": "Linux", "CMAKE_SYSTEM_PROCESSOR": "generic"},
}
"""Builds that compute differently, by name: as installed (AVX2); all that this processor has (AVX-512 where it does);
SSE4.2 and no more; and the C code for processors that ggml does not know."""


def variant(name: str) -> Path:
    """The folder of the build of this name in VARIANTS."""
    return build(VARIANTS[name]) if VARIANTS[name] else installed()


def installed() -> Path:
    """The folder of the build in use here."""
    return Path(library()._lib._name).parent


def build(changed: Mapping[str, str]) -> Path:
    """The folder of a build with these CMake flags, for LLAMA_CPP_LIB_PATH. Made once, kept in CACHE.

    Needs pip, and cmake and ninja beside this interpreter (requirements/build.txt, which `make setup` installs).
    """
    flags = {**_makefile_flags(), **changed}
    kept = CACHE / f"build-{_stamp(flags)}"
    if not kept.is_dir():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _make(Path(folder), flags).rename(kept)
    return kept


def _makefile_flags() -> dict[str, str]:
    line = re.search(r"^LLAMA_FLAGS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line is not None
    return dict(re.findall(r"-D(\w+)=(\S+)", line[1]))


def _stamp(flags: Mapping[str, str]) -> str:
    hasher = hashlib.sha256(" ".join(_defined(flags)).encode())
    for name in ("llama.txt", "build.txt"):
        hasher.update((ROOT / "requirements" / name).read_bytes())
    hasher.update(describe_library()["library"].encode())
    return hasher.hexdigest()[:16]


def _defined(flags: Mapping[str, str]) -> list[str]:
    return [f"-D{name}={value}" for name, value in flags.items()]


def _make(folder: Path, flags: Mapping[str, str]) -> Path:
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
    told = _run([str(tools / "cmake"), "-S", str(source), "-B", str(built), *release, nowhere, *_defined(flags)])
    unused = told.partition("variables were not used")[2]
    assert not [flag for flag in flags if flag in unused], f"CMake does not know some of {flags}"
    _run([str(tools / "cmake"), "--build", str(built), "--target", "ggml-cpu", "-j", str(default_threads())])
    shutil.copytree(installed(), made)
    replaced = [path for path in made.iterdir() if path.name.startswith("libggml-cpu.")]
    assert replaced
    for path in replaced:
        path.unlink()
        shutil.copy(built / "bin" / "libggml-cpu.so", path)
    return made


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    folders = {name: str(variant(name)) for name in VARIANTS}
    print(json.dumps(folders) if as_json else "\n".join(f"{name:<10}{path}" for name, path in folders.items()))


if __name__ == "__main__":
    main()
