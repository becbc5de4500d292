"""Which parts of the replay's sandbox (engines/lockdown.py) this computer has. Asks the kernel and locks nothing."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import platform
import sys

_LANDLOCK_CREATE = 444  # the same number on every architecture
_LANDLOCK_VERSION = 1
_SECCOMP_X86_64 = 317
_SECCOMP_ACTION_AVAILABLE = 2
_REFUSE = 0x00050000  # SECCOMP_RET_ERRNO


def available() -> dict[str, str | None]:
    """By part of the sandbox: None where this computer has it, else why not."""
    return {"limits": _limits(), "Landlock": _landlock(), "seccomp": _seccomp()}


def _limits() -> str | None:
    if importlib.util.find_spec("resource") is None:
        return "this system has no resource limits"
    return "the limit on memory is advisory on this system" if sys.platform == "darwin" else None


def _landlock() -> str | None:
    """landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION returns the ABI's version, and makes nothing."""
    if sys.platform != "linux":
        return "only Linux has it"
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION)
    if libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), *arguments) > 0:
        return None
    return _refused(ctypes.get_errno(), "this kernel has none (Linux 5.13 and later can)", "it is switched off at boot")


def _seccomp() -> str | None:
    """seccomp(2) with SECCOMP_GET_ACTION_AVAIL says whether a filter could refuse a call, and installs none."""
    if sys.platform != "linux":
        return "only Linux has it"
    if platform.machine() != "x86_64":
        return f"the filter is not written for {platform.machine()}"
    libc = ctypes.CDLL(None, use_errno=True)
    action = ctypes.c_uint32(_REFUSE)
    arguments = ctypes.c_uint(_SECCOMP_ACTION_AVAILABLE), ctypes.c_uint(0), ctypes.byref(action)
    if libc.syscall(ctypes.c_long(_SECCOMP_X86_64), *arguments) == 0:
        return None
    return _refused(ctypes.get_errno(), "this kernel has no filters", "this kernel does not know the action")


def _refused(number: int, unknown: str, off: str) -> str:
    known = {errno.ENOSYS: unknown, errno.EOPNOTSUPP: off}
    return known.get(number, f"the kernel refuses ({errno.errorcode.get(number, number)}); a container may forbid it")
