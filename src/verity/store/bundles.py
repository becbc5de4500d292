"""Bundles as files: read with a size limit, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from verity.errors import FormatError
from verity.statements.bundle import MAX_BUNDLE_BYTES, SUFFIX, Bundle, decode_bundle
from verity.store.home import guarded, write_atomically


def save_bundle(bundle: Bundle, path: str | os.PathLike[str]) -> Path:
    """Write ``bundle``, disclosure included, readable by its owner alone (0600). Raises StoreError."""
    target = Path(path)
    with guarded(target):
        write_atomically(target, bundle.encode())
    return target


def read_bundle(source: Bundle | bytes | str | os.PathLike[str]) -> Bundle:
    """Take a bundle as it is, from bytes, or from a file. Raises FormatError."""
    if isinstance(source, Bundle):
        return source
    if isinstance(source, bytes):
        return decode_bundle(source)
    path = Path(source)
    hint = f"give the path of a *{SUFFIX} file, as `verity ask --save FILE` writes it"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BUNDLE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", hint) from error
    if not data.strip():
        raise FormatError(f"{path} is empty", hint)
    return decode_bundle(data)
