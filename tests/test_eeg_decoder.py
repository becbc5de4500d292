"""Real signals: the example's decoder on the UCI eye-state data, every window on record and replayed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("VERITY_SHARED", ROOT.parent / "shared")) / "data/eeg/uci_eye_state/EEG Eye State.arff"


def example() -> Any:
    spec = importlib.util.spec_from_file_location("eeg_decoder", ROOT / "examples/eeg_decoder.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the EEG data are not here: VERITY_SHARED names the folder that has them")
def test_a_decoder_of_real_signals(home: Path) -> None:
    made = example().decode(DATA, home)
    whole, one = made["reports"]
    assert whole.passed, str(whole)
    assert one.passed, str(one)
    assert whole.check("replayed-exact").evidence["steps"] == made["windows"] == 234
    assert one.check("replayed-exact").sentence == "The opened step of 234 came out again, bit for bit."
    assert 0.55 < made["right"] < 0.8  # a little above chance beside what it was trained on, and no more
