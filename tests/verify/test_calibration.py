"""A calibration's file: read strictly, and whatever is in it makes a calibration or a FormatError."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import calibration

from fit import EDGES
from verity.errors import FormatError
from verity.sampling.parameters import SamplingParameters
from verity.store import catalogue
from verity.verify.calibration import Calibration, open_calibration, read_calibration, shipped
from verity.verify.statistics import judge


def plain() -> dict[str, Any]:
    value: dict[str, Any] = msgspec.to_builtins(calibration())
    return value


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(encoded(plain()))
    assert open_calibration(path) == calibration()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        open_calibration(tmp_path / "none.json")


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update({name: value})


def _in(name: str, index: int, member: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields[name][index].update({member: value})


@pytest.mark.parametrize(
    "edit",
    [
        _set("format", 2),
        _set("models", ["AB" * 32]),
        _set("models", []),
        _set("edges", [0.1, 0.2]),
        _set("edges", [0.0, 0.0]),
        _set("edges", [0.0, 1e9]),
        _set("nulls", []),
        _set("alternatives", []),
        _set("threshold", 0.0),
        _set("threshold", 0.4),
        _set("false_alarm_rate", 0.9),
        _set("typical_edit", -1.0),
        _set("unknown", 1),
        _in("alternatives", 0, "missed", [1e9] * len(EDGES)),
        _in("alternatives", 0, "drawn", [0.0]),
        _in("nulls", 0, "rate", 0.0),
        _in("nulls", 0, "rate", 2.0),
        _in("nulls", 0, "tokens", 0),
        _in("nulls", 0, "tokens", 32),
        _in("nulls", 0, "scores", [1.0]),
        _in("nulls", 0, "chances", [2.0] * 9),
        lambda fields: fields["nulls"][0]["scores"].reverse(),
        lambda fields: fields["nulls"][0]["chances"].reverse(),
        lambda fields: fields.pop("covered"),
    ],
)
def test_what_cannot_be_is_refused(edit: Callable[[dict[str, Any]], None]) -> None:
    fields = plain()
    edit(fields)
    with pytest.raises(FormatError):
        read_calibration(encoded(fields))


def test_large_files_are_refused() -> None:
    with pytest.raises(FormatError, match="larger"):
        read_calibration(encoded(plain()) + b" " * (1 << 18))


@settings(max_examples=60)
@given(st.data())
def test_any_bytes_make_a_calibration_that_judges_or_a_format_error(data: st.DataObject) -> None:
    """Some bytes of a real one are replaced by others."""
    original = bytearray(encoded(plain()))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(original) - 1))
        original[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    try:
        found = read_calibration(bytes(original))
    except FormatError:
        return
    assert 0.0 <= judge([-1.0, 3.0] * 40, found).p_value <= 1.0


def test_what_it_covers() -> None:
    found, model = calibration(), "ab" * 32
    assert found.uncovered(model, SamplingParameters()) == ""
    assert found.uncovered(model, SamplingParameters(temperature=0.0)) == ""
    assert "another model" in found.uncovered("cd" * 32, SamplingParameters())
    for temperature in (0.1, 1.5):
        assert "temperature" in found.uncovered(model, SamplingParameters(temperature=temperature))
    penalised = (
        SamplingParameters(repetition_penalty=1.3),
        SamplingParameters(presence_penalty=0.1),
        SamplingParameters(frequency_penalty=-0.1),
    )
    assert all("penalties" in found.uncovered(model, parameters) for parameters in penalised)


def test_the_shipped_one_is_of_the_default_model_and_states_what_is_promised() -> None:
    found: Calibration = shipped()
    default = next(entry for entry in catalogue.entries() if entry.name == catalogue.DEFAULT)
    assert found.models == [default.blake3]
    assert (found.window, found.threshold, found.false_alarm_rate) == (32, 2e-5, 1e-3)
    assert found.uncovered(default.blake3, SamplingParameters()) == ""
