"""What a locked-down process can no longer do, tried in a real one."""

from __future__ import annotations

import errno
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import alive

from verity.engines import lockdown

ATTEMPTS = """
import ctypes, fcntl, os, resource, signal, socket, subprocess, sys, threading
from pathlib import Path
from verity.engines.lockdown import lock_down

folder, parent = sys.argv[1], os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
kept = os.open(folder + "/kept", os.O_RDONLY)
lists = os.listdir
attempts = {
    "socket": lambda: socket.socket(),
    "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
    "socketpair": lambda: socket.socketpair(),
    "run": lambda: subprocess.run(["/bin/true"]),
    "fork": lambda: os.fork(),
    "setsid": lambda: os.setsid(),
    "write": lambda: open(folder + "/new", "w"),
    "append": lambda: open(folder + "/kept", "a"),
    "unlink": lambda: os.unlink(folder + "/kept"),
    "rename": lambda: os.rename(folder + "/kept", folder + "/moved"),
    "chmod": lambda: os.chmod(folder + "/kept", 0o777),
    "fchmod": lambda: os.fchmod(kept, 0o777),
    "utime": lambda: os.utime(kept, (0, 0)),
    "xattr": lambda: os.setxattr(kept, "user.a", b"b"),
    "kill": lambda: os.kill(parent, 0),
    "pidfd": lambda: os.pidfd_open(parent),
    "signal by a pipe": lambda: fcntl.fcntl(kept, fcntl.F_SETOWN, parent),
    "priority of others": lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
    "processors of others": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)),
    "file in memory": lambda: os.memfd_create("hidden"),
    "truncate": lambda: os.truncate(folder + "/kept", 0),
    "limits of others": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
    "memory": lambda: bytearray(3 << 30),
    "secret": lambda: open(folder + "/secret/key").read(),
    "list": lambda: lists(folder + "/secret"),
}
print(lock_down(memory_bytes=2 << 30, cpu_s=20, readable=[Path(folder, "kept"), Path(sys.prefix), Path("/usr")]))

def refused(attempt):
    try:
        attempt()
    except (OSError, MemoryError):
        return True
    return False

print([name for name, attempt in attempts.items() if not refused(attempt)])
calls = (234, parent, parent, 0), (435, 0, 0), (29, 0, 4096, 0o1600)
print(*(libc.syscall(*call) for call in calls), libc.prctl(1, 0))
thread = threading.Thread(target=lambda: print("threads go on"))
thread.start()
thread.join()
print(open(folder + "/kept").read())
"""

linux = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the system-call filter is for Linux on x86-64"
)


@linux
def test_no_network_no_programs_no_writing_no_other_files(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("still readable")
    (tmp_path / "kept").chmod(0o600)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("of the device")
    command = [sys.executable, "-B", "-c", ATTEMPTS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said, succeeded, raw, thread, content = done.stdout.splitlines()
    assert "no network" in said
    if "no files but" not in said:
        pytest.skip("this kernel has no Landlock")
    assert succeeded == "[]"
    assert raw == "-1 -1 -1 -1"
    assert (thread, content) == ("threads go on", "still readable")
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600


def test_cpu_time_is_limited() -> None:
    code = (
        "from verity.engines.lockdown import lock_down\n"
        "lock_down(memory_bytes=1 << 31, cpu_s=1, readable=[])\n"
        "while True: pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode < 0


WITHOUT_FILTER = """
import os, platform, signal, socket, sys
from verity.engines import lockdown

parent = os.getppid()
lockdown.platform.machine = lambda: "aarch64"
said = lockdown.lock_down(memory_bytes=2 << 30, cpu_s=20, readable=[])

def refused(attempt):
    try:
        attempt()
    except PermissionError:
        return True
    except OSError:
        return False
    return False

print(lockdown._landlock_version(lockdown._libc()), "system calls" in said or "no network" in said)
print(refused(lambda: open("/etc/passwd")), refused(lambda: socket.create_connection(("127.0.0.1", 9))))
print(refused(lambda: os.kill(parent, 0)))
"""


@pytest.mark.skipif(lockdown.available()["landlock"] is not None, reason="this host has no Landlock")
def test_landlock_alone_where_there_is_no_filter() -> None:
    """As on Linux for ARM: files always, TCP and signals as far as the kernel's version goes."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_FILTER], capture_output=True, text=True, timeout=60)
    version, filtered, files, tcp, signals = done.stdout.split()
    assert (filtered, files) == ("False", "True"), done.stderr
    assert tcp == str(int(version) >= 4)
    assert signals == str(int(version) >= 6)


def test_memory_that_is_written_to_is_limited_beside_what_is_mapped() -> None:
    code = (
        "import mmap\n"
        "from verity.engines.lockdown import lock_down\n"
        "lock_down(memory_bytes=1 << 30, cpu_s=20, readable=[], mapped_bytes=4 << 30)\n"
        "print(len(mmap.mmap(-1, 2 << 30, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, mmap.PROT_READ)))\n"
        "try: bytearray(2 << 30)\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(2 << 30), "refused"], done.stderr


def test_what_is_available_is_what_is_applied() -> None:
    code = "from verity.engines.lockdown import lock_down; print(lock_down(memory_bytes=1 << 31, cpu_s=9, readable=[]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    found = lockdown.available()
    assert list(found) == ["rlimits", "landlock", "seccomp"]
    assert ("no files" in done.stdout) == (found["landlock"] is None)
    assert ("no network" in done.stdout) == (found["seccomp"] is None)


def test_asking_locks_nothing(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; import os, resource, sys\n"
        "from verity.engines.lockdown import available\n"
        "limits = lambda: [resource.getrlimit(kind) for kind in range(16)]\n"
        "before = limits(); available()\n"
        "assert limits() == before\n"
        "Path(sys.argv[1], 'new').write_text('written'); assert os.system('true') == 0"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / "new").read_text() == "written"


def test_every_lack_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for refusal, words in (
        (errno.ENOSYS, "no Landlock"),
        (errno.EOPNOTSUPP, "not started with it"),
        (errno.EPERM, "does not allow Landlock (Operation not permitted)"),
    ):
        monkeypatch.setattr(lockdown, "_landlock_version", lambda _, number=refusal: -number)
        monkeypatch.setattr(sys, "platform", "linux")
        assert words in (lockdown.available()["landlock"] or "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "x86-64" in (lockdown.available()["seccomp"] or "")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert all(lockdown.available().values())


@linux
def test_it_ends_with_its_parent() -> None:
    """The parent is killed, and has no chance to end its child."""
    child = (
        "from verity.engines.lockdown import lock_down; import os, time\n"
        "lock_down(memory_bytes=1 << 31, cpu_s=60, readable=[])\n"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    until = time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(pid)
