"""``$VERITY_HOME/config.toml``: what the owner of a device decided. Not there: the defaults.

    [models]
    require_release = true            # a model or adapter is loaded only with a release of a publisher who is trusted
    publishers = ["<64 hex digits>"]  # who: SHA-256 of each key's SubjectPublicKeyInfo in DER (`verity release trust`)

An argument goes before the environment (``VERITY_REQUIRE_RELEASE``, 1 or 0), and that before the file. Keys that this
version does not know are refused: a rule that is misspelt must not be a rule that is not there.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import msgspec

from verity.errors import FormatError, UsageError
from verity.statements.strict import decode_hex
from verity.store.home import guarded, write_atomically

CONFIG_FILE = "config.toml"
REQUIRE_RELEASE = "VERITY_REQUIRE_RELEASE"
MAX_CONFIG = 1 << 16
_HINT = f"docs/releases.md describes {CONFIG_FILE}"
_LIST = re.compile(r"^[ \t]*publishers[ \t]*=[ \t]*\[[^\]]*\]", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\[models\][^\n]*$", re.MULTILINE)


class Models(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which models and adapters this device loads."""

    require_release: bool = False
    publishers: list[str] = []


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module."""

    models: Models = Models()


def read_config(home: Path, *, require_release: bool | None = None) -> Config:
    """What holds for the device of ``home``. Raises FormatError for a file, UsageError for an environment, that cannot
    be read."""
    config = _parse(_read(home))
    if require_release is None:
        require_release = _from_environment()
    if require_release is None:
        return config
    return msgspec.structs.replace(
        config, models=msgspec.structs.replace(config.models, require_release=require_release)
    )


def write_publishers(home: Path, publishers: list[str]) -> None:
    """Make these the publishers of the file, and leave the rest of it as the owner wrote it. Raises FormatError,
    UsageError when the list stands in the file in a form that cannot be edited, StoreError."""
    text = _read(home)
    before = _parse(text)
    listed = "publishers = [{}]".format("".join(f'\n    "{publisher}",' for publisher in publishers) + "\n")
    if _LIST.search(text):
        edited = _LIST.sub(listed, text, count=1)
    elif _TABLE.search(text):
        edited = _TABLE.sub(lambda table: f"{table.group()}\n{listed}", text, count=1)
    else:
        edited = f"{text.rstrip()}\n\n[models]\n{listed}\n".lstrip()
    wanted = msgspec.structs.replace(before, models=msgspec.structs.replace(before.models, publishers=publishers))
    try:
        fits = _parse(edited) == wanted
    except FormatError:
        fits = False
    if not fits:
        hint = f"write them yourself, under [models]: publishers = {publishers}"
        raise UsageError(f"the list of publishers in {home / CONFIG_FILE} cannot be edited", hint)
    with guarded(home / CONFIG_FILE):
        write_atomically(home / CONFIG_FILE, edited.encode())


def _read(home: Path) -> str:
    path = home / CONFIG_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.is_symlink():
            return ""
        raise FormatError(f"{path} cannot be read: {error.strerror}", _HINT) from error
    if len(data) > MAX_CONFIG:
        raise FormatError(f"{path} is larger than {MAX_CONFIG:,} bytes", _HINT)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8", _HINT) from error


def _parse(text: str) -> Config:
    if not text:
        return Config()
    try:
        config = msgspec.convert(tomllib.loads(text), Config, strict=True)
    except (ValueError, RecursionError) as error:  # TOML's and msgspec's
        raise FormatError(f"{CONFIG_FILE} cannot be used: {str(error)[:300]}", _HINT) from error
    for publisher in config.models.publishers:
        decode_hex(publisher, 32, f"publisher in {CONFIG_FILE}")
    return config


def _from_environment() -> bool | None:
    said = os.environ.get(REQUIRE_RELEASE) or None
    if said not in (None, "0", "1"):
        raise UsageError(f"{REQUIRE_RELEASE} is neither 0 nor 1", "unset it to let the file decide")
    return None if said is None else said == "1"
