"""Give up, for good, what a process that runs a stranger's model does not need.

Everywhere: limits on memory, CPU time and file size. On Linux also Landlock (Documentation/userspace-api/landlock.rst):
nothing can be opened but the files named, for reading. On Linux x86-64 also a seccomp filter (seccomp_filter.rst):
no sockets, no new programs or processes, no signals to others, no way to change a file's name, mode, owner or
attributes. None of it can be undone by the process, nor by what takes it over.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_ALL_ACCESS = (1 << 13) - 1  # what version 1 knows: run, write, read, list, remove, make
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3

_SYS_SECCOMP = 317
_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1  # threads that a library has already started are filtered too
_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x10000
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_CLONE, _CLONE3, _TGKILL, _PRLIMIT64 = 56, 435, 234, 302
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
    *range(188, 200), 463, 464, 465, 466,  # extended attributes
    161, 165, 166, 155, *range(428, 434), 442,  # chroot, mount and its successors
    248, 249, 250, *range(425, 428), 437, 304,  # keys, io_uring, openat2, open_by_handle_at
)  # fmt: skip


def lock_down(*, memory_bytes: int, cpu_s: int, readable: Iterable[Path]) -> str:
    """Apply what this platform has; under ``readable`` files may still be read. Returns what was applied, in words."""
    for kind, amount in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        limit = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(kind, (limit, limit))
    applied = ["own process, limits on memory and time"]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            if _restrict_files(libc, readable):
                applied.append("no files but the model's and the library's")
            if platform.machine() == "x86_64" and _filter_system_calls(libc):
                applied.append("no network, no writing, no other processes")
    return "; ".join(applied)


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    attributes = struct.pack("Q", _ALL_ACCESS)
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
