"""Field ``adapters`` of an intent: which adapters changed the model, by how much, in order. See spec/receipt.md."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from verity.errors import FormatError
from verity.statements.strict import decode_hex

MAX_ADAPTERS = 8
SMALLEST_SCALE, LARGEST_SCALE = 1e-6, 16.0
"""Magnitudes: an engine computes with float32, in which anything much smaller is nothing."""


class AdapterUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One adapter in use: digests in lower-case hex, size in bytes, ``base`` the BLAKE3 digest of the model that it
    fits, ``scale`` the factor for what it changes. The digest decides, never the name."""

    base: str
    blake3: str
    name: str
    scale: int | float
    sha256: str
    size: int


def check_adapters(adapters: Sequence[AdapterUse], model: str) -> None:
    """Whether they may be used together, on the model of this BLAKE3 digest. Raises FormatError."""
    if len(adapters) > MAX_ADAPTERS:
        raise FormatError(f"at most {MAX_ADAPTERS} adapters are used at once", "use fewer")
    if len({adapter.blake3 for adapter in adapters}) < len(adapters):
        raise FormatError("one adapter is used twice", "add up its scales")
    for adapter in adapters:
        for digest in (adapter.blake3, adapter.sha256, adapter.base):
            decode_hex(digest, 32, "digest of an adapter")
        if adapter.size < 1:
            raise FormatError("an adapter has no size")
        if not SMALLEST_SCALE <= abs(adapter.scale) <= LARGEST_SCALE:
            raise FormatError(
                f"an adapter cannot be scaled by {adapter.scale}",
                f"scales are from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}, or the same below 0",
            )
        if adapter.base != model:
            raise FormatError(
                f"the adapter {adapter.name} fits the model {adapter.base}, not {model}",
                "use it with that model, or an adapter that was trained on this one",
            )
