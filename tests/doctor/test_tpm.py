"""The check of the computer's TPM, on computers whose files are put here."""

from __future__ import annotations

from pathlib import Path

import pytest

from verity.doctor.tpm import judge_tpm, tpm


def computer(
    root: Path, *, version: str | None = "2\n", device: str | None = "dev/tpmrm0", events: bool = True
) -> Path:
    for name, text in (
        (device, ""),
        ("sys/class/tpm/tpm0/tpm_version_major", version),
        ("sys/kernel/security/tpm0/binary_bios_measurements", "" if events else None),
    ):
        if name is not None and text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


def test_a_tpm_in_order(tmp_path: Path) -> None:
    outcome = judge_tpm(computer(tmp_path), None, True)
    assert (outcome.status, outcome.hint) == ("works", "")
    assert "event log can be read" in outcome.sentence


@pytest.mark.parametrize(
    ("version", "device", "library", "words"),
    [
        ("2\n", None, True, "shows no TPM"),
        ("1\n", "dev/tpm0", True, "version 1; 2.0 is needed"),
        (None, "dev/tpm0", True, "version unknown"),
        ("2\n", "dev/tpm0", False, "tpm2-pytss is not installed"),
    ],
)
def test_what_is_to_be_known(
    version: str | None, device: str | None, library: bool, words: str, tmp_path: Path
) -> None:
    outcome = judge_tpm(computer(tmp_path, version=version, device=device), None, library)
    assert outcome.status == "note"
    assert words in outcome.sentence
    assert outcome.hint


def test_a_device_that_this_user_may_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    outcome = judge_tpm(computer(tmp_path), None, True)
    assert outcome.status == "note"
    assert "may not ask it" in outcome.sentence
    assert "group" in outcome.hint


def test_an_event_log_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in judge_tpm(computer(tmp_path, events=False), None, True).sentence


def test_another_tpm_is_named(tmp_path: Path) -> None:
    assert judge_tpm(tmp_path, "swtpm:port=2321", True) == ("works", "$VERITY_TCTI names swtpm:port=2321", "")
    assert judge_tpm(tmp_path, "swtpm:port=2321", False).status == "note"


def test_this_computer_is_never_broken_by_it() -> None:
    assert tpm().status in ("works", "note")
