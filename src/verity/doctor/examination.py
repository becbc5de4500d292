"""Examine this computer and this device. The checks, in the order they are made and shown:

python platform processor sqlite llama.cpp build extras sandbox clock     the computer (host.py)
tpm                                                                       its TPM (tpm.py)
home permissions disk key database answers log revocation models numerics     the device (device.py)

docs/platforms.md explains each. No model is loaded, and nothing is made. Whatever goes wrong in a check is that
check's finding, and the next one is made all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from verity.doctor import host
from verity.doctor.device import Device
from verity.doctor.finding import Diagnosis, Finding, Outcome
from verity.doctor.tpm import tpm
from verity.errors import VerityError
from verity.store.reading import Progress


class Check(NamedTuple):
    """A check's name, and whether `ask` or `verify` needs what it looks at."""

    name: str
    needed: bool
    make: Callable[[Device], Outcome]


def _of_host(make: Callable[[], Outcome]) -> Callable[[Device], Outcome]:
    return lambda _: make()


CHECKS = (
    Check("python", True, _of_host(host.python)),
    Check("platform", True, _of_host(host.system)),
    Check("processor", True, _of_host(host.processor)),
    Check("sqlite", True, _of_host(host.database_library)),
    Check("llama.cpp", True, _of_host(host.llama)),
    Check("build", False, _of_host(host.build)),
    Check("extras", False, _of_host(host.extras)),
    Check("sandbox", False, _of_host(host.sandbox)),
    Check("clock", False, _of_host(host.clock)),
    Check("tpm", False, _of_host(tpm)),
    Check("home", True, Device.home),
    Check("permissions", False, Device.permissions),
    Check("disk", True, Device.disk),
    Check("key", True, Device.key),
    Check("database", True, Device.database),
    Check("answers", False, Device.answers),
    Check("log", True, Device.log),
    Check("revocation", False, Device.revocation),
    Check("models", True, Device.models),
    Check("numerics", False, Device.numerics),
)


def examine(
    home: str | os.PathLike[str] | None = None, *, full: bool = False, progress: Progress | None = None
) -> Diagnosis:
    """Make every check of the device of ``home`` (default: ``$VERITY_HOME``, or the per-user folder) and its computer.

    ``full`` also reads every byte of every model. Raises nothing that a check raises.
    """
    device = Device(home, full=full, progress=progress)
    return Diagnosis([_find(check, device) for check in CHECKS])


def _find(check: Check, device: Device) -> Finding:
    try:
        outcome = check.make(device)
    except VerityError as error:
        outcome = Outcome("does not work", str(error), error.hint)
    except Exception as error:
        said = f"the check itself failed: {type(error).__name__}: {error}"
        outcome = Outcome("does not work", said, "if what it says does not help, report it as an error in Verity")
    return Finding(check.name, outcome.status, check.needed, outcome.sentence, outcome.hint)
