"""The checks of the computer, on this one and on others whose answers are put in its mouth."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import sqlite3
import sys

import pytest

from verity.doctor import host
from verity.engines import library, lockdown
from verity.errors import EngineError

PORTABLE = "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | OPENMP = 1 | "


def test_a_portable_build() -> None:
    assert host.judge_build(PORTABLE, "x86_64").status == "works"


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ("LLAMAFILE = 1 | ", "does not work", "llamafile"),
        ("LLAMAFILE = 1 | REPACK = 1 | AVX512 = 1 | ", "does not work", "llamafile"),
        ("LLAMAFILE = 0 | ", "works", "portable"),
        ("REPACK = 1 | ", "note", "repacking"),
        ("AVX512 = 1 | AMX_INT8 = 1 | ", "note", "AMX_INT8, AVX512"),
    ],
)
def test_builds_that_are_not_portable(more: str, status: str, words: str) -> None:
    outcome = host.judge_build(PORTABLE + more, "x86_64")
    assert outcome.status == status
    assert words in outcome.sentence
    assert bool(outcome.hint) == (status != "works")


def test_a_build_for_another_processor() -> None:
    assert host.judge_build("CPU : NEON = 1 | ARM_FMA = 1 | DOTPROD = 1 | ", "aarch64").status == "works"
    assert host.judge_build("CPU : NEON = 1 | LLAMAFILE = 1 | ", "aarch64").status == "does not work"
    assert host.judge_build("", "x86_64").status == "note"


@pytest.mark.model
def test_the_build_that_is_here() -> None:
    """`make setup` makes a portable one; the digest is the one that receipts name."""
    assert host.build().status == "works"
    assert library.describe_library()["library"][:16] in host.llama().sentence


def test_without_llama(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EngineError("llama.cpp is not installed here", "run `make setup`")

    monkeypatch.setattr(host, "library", missing)
    assert host.build() == ("note", "llama.cpp is not here, so there is no build to look at", "")


def test_versions_of_python() -> None:
    assert host.judge_python((3, 10), "3.10.9").status == "does not work"
    assert host.judge_python((3, 11), "3.11.2") == ("works", "3.11.2, tested", "")
    assert "expected" in host.judge_python((3, 14), "3.14.0").sentence
    assert host.python().status == "works"


@pytest.mark.parametrize(
    ("name", "machine", "status"),
    [
        ("linux", "x86_64", "works"),
        ("linux", "aarch64", "note"),
        ("darwin", "arm64", "note"),
        ("win32", "AMD64", "does not work"),
        ("linux", "riscv64", "does not work"),
    ],
)
def test_platforms(name: str, machine: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", name)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    outcome = host.system()
    assert outcome.status == status
    assert ("platforms.md" in outcome.hint) == (status != "works")


@pytest.mark.parametrize(
    ("machine", "flags", "status"),
    [
        ("x86_64", {"avx", "avx2"}, "works"),
        ("x86_64", {"avx", "sse4_2"}, "does not work"),
        ("x86_64", set(), "note"),
        ("aarch64", {"asimd"}, "note"),
    ],
)
def test_processors(machine: str, flags: set[str], status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(host, "processor_flags", lambda: frozenset(flags))
    assert host.processor().status == status


def test_an_sqlite_that_cannot_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.database_library() == ("works", sqlite3.sqlite_version, "")

    class Old:
        def execute(self, statement: str) -> None:
            if "STRICT" in statement:
                raise sqlite3.OperationalError('near "STRICT": syntax error')

        def close(self) -> None:
            pass

    monkeypatch.setattr(sqlite3, "connect", lambda _: Old())
    outcome = host.database_library()
    assert outcome.status == "does not work"
    assert "STRICT" in outcome.sentence


def test_extras_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["click>=8.1", "numpy==1.0; extra == 'llama'", 'no-such-thing>=2; extra == "server"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: listed)
    outcome = host.extras()
    found = importlib.metadata.version("numpy")
    assert outcome.sentence == f"llama: numpy is {found}, not 1.0; server: no-such-thing is not installed"
    assert outcome.hint == "pip install 'verity-ai[llama,server]'"
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: [f"numpy=={found} ; extra == 'llama'"])
    assert host.extras() == ("works", "all here: llama", "")


def test_from_the_source_there_are_no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", unknown)
    assert host.extras().status == "note"


def test_a_clock_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.clock().status == "works"

    class Early(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Early:
            return cls(1970, 1, 1, tzinfo=tz)

    monkeypatch.setattr(datetime, "datetime", Early)
    outcome = host.clock()
    assert outcome == (
        "does not work",
        "the clock says 1970-01-01T00:00:00Z, before this version was made",
        "set the clock",
    )


def test_parts_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockdown, "available", lambda: {"rlimits": None, "landlock": "too old", "seccomp": "not here"})
    outcome = host.sandbox()
    assert outcome.status == "does not work"
    assert outcome.sentence == "no landlock: too old; no seccomp: not here; here: rlimits"
    assert "--no-replay" in outcome.hint
