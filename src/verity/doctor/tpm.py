"""The check of the computer's TPM: is there one, may this user ask it, and is the library for it here.

It looks at files and asks the TPM nothing; `verity tpm status` does.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from verity.doctor.finding import Outcome
from verity.identity.tpm.chip import VARIABLE

_DEVICE, _MANAGED = "dev/tpm0", "dev/tpmrm0"
_VERSION = "sys/class/tpm/tpm0/tpm_version_major"
_EVENTS = "sys/kernel/security/tpm0/binary_bios_measurements"
_SEE = "docs/hardware.md says what a TPM is good for"
_LIBRARY = "pip install 'verity-ai[tpm]' (it needs a C compiler and libtss2-dev)"
_GROUP = "let your user into the group that owns the device (often `tss`)"


def tpm() -> Outcome:
    return judge_tpm(Path("/"), os.environ.get(VARIABLE), importlib.util.find_spec("tpm2_pytss") is not None)


def judge_tpm(root: Path, named: str | None, library: bool) -> Outcome:
    """What the files below ``root`` say of a TPM; ``named`` is what ``$VERITY_TCTI`` says."""
    lacks = "" if library else "; tpm2-pytss is not installed"
    if named:
        return Outcome("works" if library else "note", f"${VARIABLE} names {named}{lacks}", "" if library else _LIBRARY)
    device = next((root / part for part in (_MANAGED, _DEVICE) if (root / part).exists()), None)
    if device is None:
        return Outcome("note", "this computer shows no TPM: devices here are files", _SEE)
    version = _version(root)
    if version != "2":
        return Outcome("note", f"the TPM is of version {version or 'unknown'}; 2.0 is needed", _SEE)
    if not os.access(device, os.R_OK | os.W_OK):
        return Outcome("note", f"a TPM 2.0 is here, and this user may not ask it ({device}){lacks}", _GROUP)
    events = "its event log can be read" if os.access(root / _EVENTS, os.R_OK) else "its event log cannot be read"
    sentence = f"a TPM 2.0 at {device}, {events}{lacks}"
    return Outcome("works", sentence) if library else Outcome("note", sentence, _LIBRARY)


def _version(root: Path) -> str:
    try:
        return (root / _VERSION).read_text().strip()[:8]
    except (OSError, ValueError):
        return ""
