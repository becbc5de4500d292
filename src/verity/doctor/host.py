"""The checks of the computer: its Python, processor, libraries, sandbox and clock. None of them needs a home."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import re
import sqlite3
import sys

from verity.doctor.finding import Outcome
from verity.engines import lockdown
from verity.engines.library import describe_library, library
from verity.engines.numerics import processor_flags
from verity.errors import EngineError
from verity.store.clock import written

PLATFORMS = {
    ("linux", "x86_64"): "Linux x86-64, tested",
    ("linux", "aarch64"): "Linux ARM64, untested",
    ("darwin", "arm64"): "macOS ARM64, untested",
    ("darwin", "x86_64"): "macOS x86-64, untested",
}
"""By ``sys.platform`` and machine; docs/platforms.md says what works where."""

_SEE = "docs/platforms.md says what works where"
_BUILD_HINT = "build it as docs/platforms.md says (`make setup` does)"
_PORTABLE = {"SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2"}
_OF_NO_CONSEQUENCE = {"OPENMP", "ACCELERATE"}
_FEATURE = re.compile(r"(\w+) = (\d+)")
_EXTRA = re.compile(r"([\w.-]+)\s*(?:==\s*([^\s;]+))?[^;]*;.*\bextra\s*==\s*['\"]([\w.-]+)['\"]")
_OLDEST_YEAR = 2026
_TESTED_PYTHON = (3, 11)


def python() -> Outcome:
    return judge_python(sys.version_info[:2], platform.python_version())


def judge_python(version: tuple[int, int], shown: str) -> Outcome:
    """What is known of this version of Python; older ones lack what the package imports."""
    if version < _TESTED_PYTHON:
        return Outcome("does not work", f"Python {shown} is too old", "install Python 3.11 or newer")
    return Outcome("works", f"{shown}, {'tested' if version == _TESTED_PYTHON else 'expected to work'}")


def system() -> Outcome:
    where = sys.platform, platform.machine()
    known = PLATFORMS.get(where)
    if known is None:
        return Outcome("does not work", f"{' '.join(where)} is not supported", _SEE)
    return Outcome("works", known) if known.endswith(", tested") else Outcome("note", known, _SEE)


def processor() -> Outcome:
    """AVX2, which the portable build of llama.cpp is made for."""
    flags = processor_flags()
    if platform.machine() not in ("x86_64", "AMD64"):
        return Outcome("note", f"{platform.machine()}: AVX2 is a matter of x86-64 only", _SEE)
    if not flags:
        return Outcome("note", "this system does not tell whether the processor has AVX2")
    if "avx2" not in flags:
        hint = "x86-64 processors since 2013 have it; `verity verify --no-replay` works here"
        return Outcome("does not work", "this processor has no AVX2, so models cannot run", hint)
    return Outcome("works", "has AVX2")


def database_library() -> Outcome:
    """What the device's database asks of SQLite, tried in memory."""
    version = sqlite3.sqlite_version
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE TABLE t (a TEXT NOT NULL) STRICT")
        connection.execute("SELECT json_extract('{\"a\": 1}', '$.a')")
    except sqlite3.OperationalError as error:
        return Outcome("does not work", f"SQLite {version} is too old: {error}", "3.37 or newer is needed, with JSON")
    finally:
        connection.close()
    return Outcome("works", version)


def llama() -> Outcome:
    """llama.cpp loads; its version and the digest that receipts name. Raises EngineError."""
    library()
    described = describe_library()
    return Outcome("works", f"{described['version']}, library {described['library'][:16]}…")


def build() -> Outcome:
    try:
        features = library().llama_print_system_info().decode("utf-8", "replace")
    except EngineError:
        return Outcome("note", "llama.cpp is not here, so there is no build to look at")
    return judge_build(features, platform.machine())


def judge_build(features: str, machine: str) -> Outcome:
    """What llama.cpp says it was built with (``AVX2 = 1 | …``), against what makes replays exact between hosts."""
    on = {name for name, value in _FEATURE.findall(features) if value != "0"}
    if not on:
        return Outcome("note", "llama.cpp does not tell how it was built", _BUILD_HINT)
    if "LLAMAFILE" in on:
        sentence = "built with llamafile: with F16 weights, batches do not give the bits of single tokens"
        return Outcome("does not work", sentence, _BUILD_HINT)
    if "REPACK" in on:
        return Outcome("note", "built with repacking, which Verity leaves off", _BUILD_HINT)
    more = sorted(on - _PORTABLE - _OF_NO_CONSEQUENCE) if machine in ("x86_64", "AMD64") else []
    if more:
        sentence = (
            f"built for more than AVX2 ({', '.join(more)}): other computers' answers will not replay exactly here"
        )
        return Outcome("note", sentence, _BUILD_HINT)
    return Outcome("works", "portable, without llamafile and repacking")


def extras() -> Outcome:
    """The optional parts of the package, and which of their libraries are missing."""
    try:
        requirements = importlib.metadata.requires("verity-ai") or []
    except importlib.metadata.PackageNotFoundError:
        return Outcome("note", "Verity runs from its source, not as an installed package")
    names: set[str] = set()
    lacking: dict[str, list[str]] = {}
    for match in filter(None, map(_EXTRA.match, requirements)):
        library_name, version, extra = match.groups()
        names.add(extra)
        if problem := _lacks(library_name, version):
            lacking.setdefault(extra, []).append(problem)
    if lacking:
        told = "; ".join(f"{extra}: {', '.join(problems)}" for extra, problems in sorted(lacking.items()))
        return Outcome("note", told, f"pip install 'verity-ai[{','.join(sorted(lacking))}]'")
    return Outcome("works", f"all here: {', '.join(sorted(names))}")


def _lacks(name: str, version: str | None) -> str | None:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is not installed"
    return f"{name} is {found}, not {version}" if version not in (None, found) else None


def sandbox() -> Outcome:
    """What locks the process of a replay down."""
    parts = lockdown.available()
    missing = {part: why for part, why in parts.items() if why is not None}
    here = [part for part in parts if part not in missing]
    if not missing:
        return Outcome("works", f"the process of a replay has all of it: {', '.join(here)}")
    told = "; ".join(f"no {part}: {why}" for part, why in missing.items())
    hint = "replays run with less protection: replay what strangers send elsewhere, or use `verity verify --no-replay`"
    return Outcome("does not work", f"{told}; here: {', '.join(here) or 'nothing'}", hint)


def clock() -> Outcome:
    """Receipts say when; encrypted connections and templates ask for the date too."""
    now = datetime.datetime.now(datetime.UTC)
    shown = written(now)
    if now.year < _OLDEST_YEAR:
        return Outcome("does not work", f"the clock says {shown}, before this version was made", "set the clock")
    return Outcome("works", shown)
