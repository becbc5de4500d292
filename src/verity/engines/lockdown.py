"""Give up, for good, what a process that runs a stranger's model does not need.

Everywhere: limits on memory, CPU time, open files and file size. On Linux also Landlock
(Documentation/userspace-api/landlock.rst): nothing can be opened but the files named, for reading, and as far as the
kernel's version goes no TCP and no signals to others. On Linux x86-64 also a seccomp filter (seccomp_filter.rst): no
sockets, no new programs or processes, no signals to others, no way to change a file's name, mode, owner or attributes,
nor the clock or the kernel if root runs it. None of it can be undone by the process, nor by what takes it over.
docs/sandbox.md is the whole list.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_MAX_FILES = 64

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_WHICH_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""By the version of Landlock that knows them: run, write, read, list, remove, make; link; truncate; device controls."""
_TCP_SINCE, _TCP_RIGHTS = 4, 0b11
_SCOPES_SINCE, _SCOPES = 6, 0b11
"""No TCP port is bound or connected to; no abstract Unix socket and no signal reaches another process."""

_SYS_SECCOMP = 317
_SET_MODE_FILTER, _ACTION_AVAILABLE = 1, 2
_FLAG_TSYNC = 1  # threads that a library has already started are filtered too
_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x10000
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_CLONE, _CLONE3, _TGKILL, _PRLIMIT64, _FCNTL, _PRCTL = 56, 435, 234, 302, 72, 157
_SET_OWNER = (8, 15)  # F_SETOWN and F_SETOWN_EX: whom a pipe's signals go to, which could be another process
_OPENS = {2: 1, 257: 2}
"""open and openat, with the position of the flags among their arguments."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_REFUSED = (
    *range(29, 32), *range(64, 72), *range(240, 246),  # System V and POSIX queues, shared memory, semaphores
    *range(41, 56), 288, 299, 307,  # sockets
    57, 58, 59, 322, 101, 310, 311, 312, 438,  # fork, vfork, execve, execveat, ptrace, process_vm, kcmp, pidfd_getfd
    62, 129, 200, 297, 424, 434,  # kill, sigqueue, tkill, pidfd_send_signal, pidfd_open
    109, 112, 272, 308, 135, 298, 321, 323,  # setpgid, setsid, unshare, setns, personality, perf, bpf, userfaultfd
    76, 77, *range(82, 95), 132, 133, 235, *range(258, 262), *range(263, 267), 268, 280, 285, 316, 452,  # names, modes
    *range(188, 200), 463, 464, 465, 466, 469,  # extended attributes
    161, 165, 166, 155, *range(428, 434), 442, 457, 458, 467,  # chroot, mount and its successors
    248, 249, 250, *range(425, 428), 437, 304, 319, 447,  # keys, io_uring, openat2, open_by_handle_at, memory files
    141, 142, 144, 203, 251, 256, 279, 314,  # priority, scheduling, processors and memory of other processes
    103, 153, 154, 159, 163, 164, *range(167, 174), 175, 176, 179, 227, 246, 300, 305, 313, 320, 443,  # root's own
)  # fmt: skip


def lock_down(*, memory_bytes: int, cpu_s: int, readable: Iterable[Path], mapped_bytes: int = 0) -> str:
    """Apply what this platform has; under ``readable`` files may still be read. Returns what was applied, in words.

    ``memory_bytes`` bounds what the process writes to; ``mapped_bytes`` more of address space are for files that it
    maps to read. ``cpu_s`` are seconds of CPU time, over all threads. On Linux, when memory runs out all the same, the
    kernel ends this process before others, and it ends with its parent.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
    _limit(memory_bytes, mapped_bytes, cpu_s)
    applied = ["own process, limits on memory and time"]
    if sys.platform == "linux":
        libc = _libc()
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            if _restrict_files(libc, readable):
                applied.append("no files but the model's and the library's")
            if platform.machine() == "x86_64" and _filter_system_calls(libc):
                applied.append("no network, no writing, no other processes")
    return "; ".join(applied)


def available() -> dict[str, str | None]:
    """What ``lock_down`` would find here: ``rlimits``, ``landlock`` and ``seccomp``, each with None or with the reason,
    in words, why this host lacks it. Asks the kernel and changes nothing."""
    return {"rlimits": _no_rlimits(), "landlock": _no_landlock(), "seccomp": _no_seccomp()}


def _no_rlimits() -> str | None:
    return "macOS takes the limit of memory for advice" if sys.platform == "darwin" else None


def _no_landlock() -> str | None:
    if sys.platform != "linux":
        return "Landlock is a part of Linux"
    version = _landlock_version(_libc())
    if version > 0:
        return None
    reasons = {
        errno.ENOSYS: "this kernel has no Landlock (Linux 5.13 and later can have it)",
        errno.EOPNOTSUPP: "this kernel has Landlock, but it was not started with it (boot parameter lsm=)",
    }
    return reasons.get(-version, f"this host does not allow Landlock ({os.strerror(-version)})")


def _no_seccomp() -> str | None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "the system-call filter is written for Linux on x86-64"
    libc = _libc()
    for action in (_ALLOW, _KILL, _REFUSE & ~0xFFFF):
        if libc.syscall(_SYS_SECCOMP, _ACTION_AVAILABLE, 0, struct.pack("I", action)) != 0:
            return f"this host does not allow system-call filters ({os.strerror(ctypes.get_errno())})"
    return None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _limit(memory_bytes: int, mapped_bytes: int, cpu_s: int) -> None:
    for kind, amount in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_AS, memory_bytes + mapped_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        limit = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(kind, (limit, limit))


def _landlock_version(libc: ctypes.CDLL) -> int:
    """The kernel's version of Landlock; a negative errno where it has none."""
    version = int(libc.syscall(_LANDLOCK_CREATE, None, 0, _WHICH_VERSION))
    return version if version > 0 else -ctypes.get_errno()


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    """Landlock's rights are refused as far as this kernel's version knows them, but for reading what is named."""
    version = _landlock_version(libc)
    if version <= 0:
        return False
    files = _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= version)]
    tcp = (_TCP_RIGHTS,) if version >= _TCP_SINCE else ()
    scopes = (_SCOPES,) if version >= _SCOPES_SINCE else ()
    attributes = struct.pack(f"={1 + len(tcp) + len(scopes)}Q", files, *tcp, *scopes)
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    with _closing(ruleset):
        for path in readable:
            access = _READ_FILE | (_READ_FOLDER if path.is_dir() else 0)
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            with _closing(descriptor):
                rule = struct.pack("=Qi", access, descriptor)
                libc.syscall(_LANDLOCK_ADD, ruleset, _PATH_BENEATH, rule, 0)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _filter_system_calls(libc: ctypes.CDLL) -> bool:
    program = _program()
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    return bool(libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _FLAG_TSYNC, header) == 0)


def _program() -> bytes:
    """The filter in classic BPF: one instruction is (code, jump if true, jump if false, operand)."""
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, _ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _REFUSE),
        (_EQUAL, 0, 1, _CLONE3),  # its flags are in memory, where a filter cannot look: glibc falls back on clone
        (_RETURN, 0, 0, _UNKNOWN),
    ]
    for number in _REFUSED:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    for number, argument in _OPENS.items():
        code += _when(number, argument, (_ANY_BIT, 0, 1, _WRITING), refuse=True)
    code += _when(_CLONE, 0, (_ANY_BIT, 0, 1, _CLONE_THREAD), refuse=False)  # threads, not processes
    code += _when(_TGKILL, 0, (_EQUAL, 0, 1, os.getpid()), refuse=False)  # abort() of its own
    code += _when(_PRLIMIT64, 0, (_EQUAL, 0, 1, 0), refuse=False)  # its own limits
    code += _unless(_FCNTL, 1, _SET_OWNER)
    code += _unless(_PRCTL, 0, (_PR_SET_PDEATHSIG,))  # it goes on ending with its parent
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def _when(
    number: int, argument: int, test: tuple[int, int, int, int], *, refuse: bool
) -> list[tuple[int, int, int, int]]:
    """For one system call: look at the low half of an argument, and refuse (or allow only) if the test holds."""
    if_true, if_false = (_REFUSE, _ALLOW) if refuse else (_ALLOW, _REFUSE)
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument),
        test,
        (_RETURN, 0, 0, if_true),
        (_RETURN, 0, 0, if_false),
    ]


def _unless(number: int, argument: int, values: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """For one system call: refuse it if the low half of an argument is one of ``values``."""
    count = len(values)
    tests = [(_EQUAL, count - i, 0, value) for i, value in enumerate(values)]
    body = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), *tests, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return [(_EQUAL, 0, len(body), number), *body]
