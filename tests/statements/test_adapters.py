"""Which adapters may be used together, and on which model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from verity.errors import FormatError
from verity.statements.adapters import MAX_ADAPTERS, AdapterUse, check_adapters

MODEL = "ab" * 32


def use(number: int = 1, **other: Any) -> AdapterUse:
    digest = f"{number:064x}"
    made = AdapterUse(base=MODEL, blake3=digest, name=f"a{number}", scale=1.0, sha256=digest, size=1000)
    return msgspec.structs.replace(made, **other)


@pytest.mark.parametrize("scale", [1, 1.0, 0.5, -0.5, 16, -16, 1e-6])
def test_scales_that_are_possible(scale: float) -> None:
    check_adapters([use(scale=scale)], MODEL)


def test_as_many_as_there_may_be() -> None:
    check_adapters([], MODEL)
    check_adapters([use(n) for n in range(MAX_ADAPTERS)], MODEL)


@pytest.mark.parametrize(
    ("adapters", "said"),
    [
        ([use(n) for n in range(MAX_ADAPTERS + 1)], "at most 8"),
        ([use(), use(scale=0.5)], "twice"),
        ([use(base="cd" * 32)], "fits the model cdcd"),
        ([use(blake3="x")], "digest"),
        ([use(sha256="AB" * 32)], "digest"),
        ([use(base="")], "digest"),
        ([use(size=0)], "no size"),
        *[([use(scale=s)], "cannot be scaled") for s in (0, 0.0, 16.1, -17, 1e-7, float("nan"), float("inf"))],
    ],
)
def test_what_is_refused(adapters: list[AdapterUse], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        check_adapters(adapters, MODEL)
