"""What a target is: a parser, the errors that it may raise, and the seeds that its inputs are made from."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from verity.errors import VerityError

VECTORS = Path(__file__).parents[1] / "spec" / "vectors"
LONGEST_MESSAGE = 4096
"""Characters: what a stranger wrote may be quoted in an error, not poured over the reader's terminal."""


class Target(NamedTuple):
    """``run`` is given any bytes and may raise nothing but ``errors``; it asserts what must hold for what it accepts.

    ``structured`` inputs are JSON, and are edited as such. Sizes in bytes, times in seconds.
    """

    name: str
    about: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    errors: tuple[type[Exception], ...]
    structured: bool = False
    max_bytes: int = 1 << 14
    timeout_s: int = 5
    rss_mb: int = 1024


def feed(target: Target, data: bytes) -> bool:
    """Run one input; whether it was accepted. Whatever comes out of this as an exception is a finding."""
    try:
        target.run(data)
    except target.errors as error:
        _check_words(error)
        return False
    return True


def _check_words(error: Exception) -> None:
    said = [str(error), error.hint] if isinstance(error, VerityError) else [str(error)]
    assert max(map(len, said)) <= LONGEST_MESSAGE, f"an error of {max(map(len, said)):,} characters"


@functools.cache
def vectors(name: str) -> Any:
    """One file of spec/vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text())


def dump(value: Any) -> bytes:
    """JSON as bytes, short."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


@functools.cache
def scratch() -> Path:
    """A folder for the files that parsers read; gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="verity-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def written(name: str, data: bytes) -> Path:
    """``data`` as a file of that name in the scratch folder."""
    path = scratch() / name
    path.write_bytes(data)
    return path
