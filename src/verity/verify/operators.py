"""Whose cosignatures count, and how many: witnesses by the operators who run them.

Ten witnesses of one operator are one opinion. So operators are counted, never keys, and no key may stand under two.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from verity.errors import UsageError
from verity.log.note import COSIGNATURE, VerifierKey, parse_key

MAX_KEYS = 256


class Operators(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``operators`` maps names to the keys (words of kind 4) of their witnesses; ``threshold`` is how many operators
    must have cosigned; if it is not given, so many that fewer than a third of them cannot split views.

    Raises UsageError, FormatError for what cannot be counted.
    """

    threshold: int | None = None
    operators: dict[str, list[str]] = {}

    def __post_init__(self) -> None:
        seen: dict[bytes, str] = {}
        for operator, keys in self.keys().items():
            if not keys:
                raise UsageError(f"the operator {operator!r} has no witness", "list the keys of its witnesses")
            for key in keys:
                if key.kind != COSIGNATURE:
                    raise UsageError(f"the key {key.name} is not that of a witness", "`verity witness key` prints one")
                if (other := seen.setdefault(key.public, operator)) != operator or keys.count(key) > 1:
                    raise UsageError(f"the key of {key.name} counts for {other!r} already", "list each key once")
            if len({key.public for key in keys}) < len(keys):
                raise UsageError(f"one key of {operator!r} stands under two names", "list each key once")
        if len(seen) > MAX_KEYS:
            raise UsageError(f"at most {MAX_KEYS} keys of witnesses can be listed", "leave some out")
        if self.threshold is not None and not 1 <= self.threshold <= len(self.operators):
            raise UsageError(
                f"{self.threshold} of {len(self.operators)} operators cannot cosign",
                "lower the threshold, or list more",
            )

    def keys(self) -> dict[str, list[VerifierKey]]:
        """The keys of each operator."""
        return {operator: [parse_key(word) for word in words] for operator, words in self.operators.items()}

    @property
    def needed(self) -> int:
        """How many operators must have cosigned. Two sets of k of n have 2k - n in common at least: a log that shows
        two histories needs all of these on its side. By default they are a third of all, or more."""
        count = len(self.operators)
        return self.threshold if self.threshold is not None else (count + (count - 1) // 3) // 2 + 1

    @property
    def split_needs(self) -> int:
        """How many operators must lie to let a log show two histories, each with enough cosignatures."""
        return max(0, 2 * self.needed - len(self.operators))


def named(pairs: Iterable[str], threshold: int | None) -> Operators | None:
    """Operators from ``OPERATOR=KEY`` pairs, None if there are none. Raises UsageError, FormatError."""
    operators: dict[str, list[str]] = {}
    for pair in pairs:
        operator, equals, key = pair.partition("=")
        if not operator or not equals:
            raise UsageError(f"{pair[:100]!r} does not name an operator's witness", "write OPERATOR=KEY")
        operators.setdefault(operator, []).append(key)
    if not operators:
        if threshold is not None:
            raise UsageError("a number of witnesses needs witnesses", "name them with --witness OPERATOR=KEY")
        return None
    return Operators(threshold, operators)
