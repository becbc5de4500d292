"""What a model or adapter may be called here, and the error for one that is not here."""

from __future__ import annotations

import re
import shlex

from verity.errors import ModelNotFound, UsageError
from verity.store import catalogue

PREFIX = re.compile(r"[0-9a-f]{8,64}")
"""A digest or the beginning of one; no name looks like that."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def normal_name(name: str, what: str = "a model") -> str:
    """``name`` as it is stored, in lower case. Raises UsageError when it could be taken for a path or a digest."""
    normal = name.lower()
    if not _NAME.fullmatch(normal) or PREFIX.fullmatch(normal):
        raise UsageError(
            f"{name[:80]!r} cannot be the name of {what}",
            "use letters, digits, '.', '_' and '-', beginning with a letter or digit, and not a hex number",
        )
    return normal


def not_found(wanted: str, message: str = "", command: str = "") -> ModelNotFound:
    """The error for a model that is not here, with the command that fetches it where one is known."""
    known = catalogue.find(wanted)
    if known is not None:
        command = f"verity pull {known.name}"
    elif not command and ("/" in wanted or wanted.endswith(".gguf")):
        command = f"verity pull {shlex.quote(wanted)}"
    hint = f"run `{command}`" if command else "`verity models` lists what is here, `verity pull` fetches more"
    return ModelNotFound(message or f"there is no model {wanted[:200]!r} on this device", hint)
