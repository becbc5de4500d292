"""The ranges of spec/sampling.md, "Parameters"."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from tests.sampling import reference

from verity.errors import UsageError
from verity.sampling.parameters import SamplingParameters

RANGES: list[tuple[str, list[float], list[float]]] = [
    ("temperature", [0.0, 1e-6, 10.0], [-0.1, 9.9e-7, 5e-324, 10.001]),
    ("top_k", [0, 1, 1 << 20], [-1, (1 << 20) + 1]),
    ("top_p", [5e-324, 0.5, 1.0], [-0.1, 0.0, 1.0000001]),
    ("min_p", [0.0, 5e-324, 1.0], [-1e-9, 1.0000001]),
    ("repetition_penalty", [0.01, 1.0, 100.0], [-1.0, 0.0, 0.0099, 100.1]),
    ("presence_penalty", [-100.0, 100.0], [-100.1, 100.1]),
    ("frequency_penalty", [-100.0, 100.0], [-100.1, 100.1]),
]
ALLOWED = [(name, value) for name, inside, _ in RANGES for value in inside]
REFUSED = [(name, value) for name, _, outside in RANGES for value in [*outside, math.nan, math.inf, -math.inf]]


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_values_in_range(name: str, value: float) -> None:
    values: dict[str, Any] = {name: value}
    assert getattr(SamplingParameters(**values), name) == value


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_values_out_of_range(name: str, value: float) -> None:
    values: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=name) as caught:
        SamplingParameters(**values)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", [b'{"temperature": 11}', b'{"top_p": 0}', b'{"temperature": 1e-310}'])
def test_decoding_checks_ranges_too(text: bytes) -> None:
    with pytest.raises(UsageError):
        msgspec.json.decode(text, type=SamplingParameters)


@pytest.mark.parametrize(
    "text", [b'{"top_k": 1.5}', b'{"temperature": "1"}', b'{"typical_p": 0.9}', b'{"min_p": null}']
)
def test_decoding_refuses_other_types_and_fields(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=SamplingParameters)


def test_every_field_has_a_range_and_the_defaults_of_the_specification() -> None:
    assert [name for name, _, _ in RANGES] == list(SamplingParameters.__struct_fields__)
    assert msgspec.structs.asdict(SamplingParameters()) == vars(reference.Parameters())


def test_round_trip() -> None:
    p = SamplingParameters(temperature=0.1, top_k=3, min_p=0.05, frequency_penalty=-0.3)
    assert msgspec.json.decode(msgspec.json.encode(p), type=SamplingParameters) == p


def test_greedy_is_temperature_0() -> None:
    assert SamplingParameters(temperature=0.0).greedy
    assert SamplingParameters(temperature=-0.0).greedy
    assert not SamplingParameters(temperature=1e-6).greedy
