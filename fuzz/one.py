"""Run one target under atheris: ``python -m fuzz.one NAME [options of libFuzzer] FOLDER…``.

The first folder gets the target's seeds and keeps what the fuzzer adds to them. Give a file instead of a folder to run
that one input. Verity and the pure-Python parsers below it are instrumented.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["verity", "tomllib", "zipfile", "rfc8785", "jinja2"]):
    from fuzz.edits import edit_json
    from fuzz.target import Target, feed
    from fuzz.targets import TARGETS

    for seed in TARGETS[sys.argv[1]].seeds():  # what is imported where it is used must be instrumented as well
        with contextlib.suppress(Exception):
            feed(TARGETS[sys.argv[1]], seed)


def _plain(data: bytes, most: int) -> bytes:
    return bytes(atheris.Mutate(data, most)) if most else b""


def main() -> None:
    """See the module. libFuzzer ends the process: 0 nothing found, otherwise a finding."""
    target = TARGETS[sys.argv[1]]
    folders = [Path(argument) for argument in sys.argv[2:] if not argument.startswith("-")]
    if folders and not folders[0].is_file():
        _seed(target, folders[0])
    limits = [f"-max_len={target.max_bytes}", f"-timeout={target.timeout_s}", f"-rss_limit_mb={target.rss_mb}"]
    arguments = [sys.argv[0], *limits, *sys.argv[2:]]
    options = {}
    if target.structured:
        options["custom_mutator"] = lambda data, most, seed: edit_json(data, most, seed, _plain)
    atheris.Setup(arguments, lambda data: feed(target, data), **options)
    atheris.Fuzz()


def _seed(target: Target, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        if len(seed) <= target.max_bytes:
            (folder / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}").write_bytes(seed)


if __name__ == "__main__":
    main()
